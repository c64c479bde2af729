package develop

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/ansible"
	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/run"
)

// flow is one way to make a lab of booted machines, proof included.
type flow struct {
	name        string
	run         func() error
	full, again []time.Duration
}

// Race measures the targets against the playbooks on the same machines, made and booted anew for each run, and prints
// a table. It destroys the lab.
func Race(ctx context.Context, r *run.Run, rounds int) error {
	if err := ansible.Missing(); err != nil {
		return err
	}
	if err := atLeastOne(rounds); err != nil {
		return err
	}
	if _, err := r.Lab(ctx); err != nil {
		return err
	}
	flows := []flow{{name: "targets", run: func() error { return mage(ctx, r, nil, "verify") }}, {name: "playbooks", run: func() error { return playbooks(ctx, r) }}}
	for round := range rounds {
		for i := range flows {
			f := &flows[(i+round)%len(flows)] // each goes first in turn
			r.Console.Notice("round %d of %d: %s", round+1, rounds, f.name)
			if err := lap(ctx, r, f); err != nil {
				return err
			}
		}
	}
	if err := mage(ctx, r, nil, "destroy"); err != nil {
		return err
	}
	r.Console.Table([]string{"what", "flow", "runs", "min", "median", "max", "longer"}, raceRows(flows[0], flows[1], rounds))
	return nil
}

// lap runs a flow on new machines, and once more with nothing to do.
func lap(ctx context.Context, r *run.Run, f *flow) error {
	for _, name := range []string{"destroy", "up"} {
		if err := mage(ctx, r, nil, name); err != nil {
			return err
		}
	}
	for _, to := range []*[]time.Duration{&f.full, &f.again} {
		start := time.Now()
		if err := f.run(); err != nil {
			return err
		}
		*to = append(*to, time.Since(start))
	}
	return nil
}

// playbooks runs them, and the check that verify ends with.
func playbooks(ctx context.Context, r *run.Run) error {
	if _, err := r.Exec.Run(ctx, command.Cmd{
		Args: ansible.Command(), Dir: filepath.Join(r.Root, "ansible"), Timeout: time.Hour, Env: []string{"ANSIBLE_NOCOLOR=1"},
		Hint: "run it by hand to see more: cd ansible && ansible-playbook site.yml ippool.yml calico_networking.yml",
	}); err != nil {
		return err
	}
	return mage(ctx, r, nil, "check")
}

func raceRows(targets, playbooks flow, rounds int) [][]string {
	var rows [][]string
	for _, part := range []struct {
		what       string
		fast, slow []time.Duration
	}{{"booted to checked", targets.full, playbooks.full}, {"again, nothing to do", targets.again, playbooks.again}} {
		ratio := fmt.Sprintf("%.1f times", median(part.slow).Seconds()/median(part.fast).Seconds())
		rows = append(rows,
			append(append([]string{part.what, targets.name, fmt.Sprint(rounds)}, spread(part.fast, seconds)...), ""),
			append(append([]string{part.what, playbooks.name, fmt.Sprint(rounds)}, spread(part.slow, seconds)...), ratio))
	}
	return rows
}
