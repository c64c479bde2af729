package session

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/calico-cni-lab/lab/magefiles/internal/ansible"
	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
)

// Inventory prints Ansible's inventory of the machines that run, with the artifacts made that the playbooks need.
func (s *Session) Inventory() error {
	s.ReportToStdout()
	l, err := s.Lab()
	if err != nil {
		return err
	}
	if err := s.running(); err != nil {
		return err
	}
	made, err := s.artifacts()
	if err != nil {
		return err
	}
	endpoints, err := s.provider.Endpoints()
	if err != nil {
		return err
	}
	if err := machine.WriteSSHConfig(s.stateDir, endpoints); err != nil {
		return err
	}
	enc := json.NewEncoder(os.Stdout)
	enc.SetIndent("", "  ")
	return enc.Encode(ansible.New(l, s.maker.Pins, made, endpoints, filepath.Join(s.stateDir, machine.SSHConfigFile)))
}

// artifacts makes what the playbooks put on the machines.
func (s *Session) artifacts() (a ansible.Artifacts, err error) {
	g, ctx := errgroup.WithContext(s.ctx)
	for _, part := range []struct {
		dir *string
		get func(context.Context) (string, error)
	}{{&a.Calico, s.maker.Calico}, {&a.CNI, s.maker.CNI}, {&a.Toolchain, s.maker.Toolchain}} {
		g.Go(func() (err error) { *part.dir, err = part.get(ctx); return err })
	}
	g.Go(func() (err error) { a.Images, err = s.maker.Images(ctx); return err })
	if err := g.Wait(); err != nil {
		return a, err
	}
	sums, err := artifact.Sums(a.CNI)
	for name := range sums {
		if name != "cnitool" {
			a.Plugins = append(a.Plugins, name)
		}
	}
	slices.Sort(a.Plugins)
	return a, err
}

// Race measures the targets against the playbooks on the same machines, made and booted anew for each run, and prints
// a table. It destroys the lab.
func (s *Session) Race(rounds int) error {
	if err := ansible.Missing(); err != nil {
		return err
	}
	if rounds < 1 {
		return fmt.Errorf("-rounds=%d: at least one is needed", rounds)
	}
	if _, err := s.Lab(); err != nil {
		return err
	}
	targets := func() error { return s.target(nil, "verify") }
	playbooks := func() error {
		if _, err := s.run.Run(s.ctx, command.Cmd{
			Args: ansible.Command(), Dir: filepath.Join(s.root, "ansible"), Timeout: time.Hour, Env: []string{"ANSIBLE_NOCOLOR=1"},
			Hint: "run it by hand to see more: cd ansible && ansible-playbook site.yml ippool.yml calico_networking.yml",
		}); err != nil {
			return err
		}
		return s.target(nil, "check")
	}
	flows := []struct {
		name        string
		run         func() error
		full, again []time.Duration
	}{{name: "targets", run: targets}, {name: "playbooks", run: playbooks}}
	for round := range rounds {
		for i := range flows {
			f := &flows[(i+round)%2] // each goes first in turn
			s.Console.Notice("round %d of %d: %s", round+1, rounds, f.name)
			for _, name := range []string{"destroy", "up"} {
				if err := s.target(nil, name); err != nil {
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
		}
	}
	if err := s.target(nil, "destroy"); err != nil {
		return err
	}
	var rows [][]string
	for _, part := range []struct {
		what       string
		fast, slow []time.Duration
	}{{"booted to checked", flows[0].full, flows[1].full}, {"again, nothing to do", flows[0].again, flows[1].again}} {
		ratio := fmt.Sprintf("%.1f times", median(part.slow).Seconds()/median(part.fast).Seconds())
		rows = append(rows,
			append(append([]string{part.what, "targets", fmt.Sprint(rounds)}, spread(part.fast, seconds)...), ""),
			append(append([]string{part.what, "playbooks", fmt.Sprint(rounds)}, spread(part.slow, seconds)...), ratio))
	}
	s.Console.Table([]string{"what", "flow", "runs", "min", "median", "max", "longer"}, rows)
	return nil
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

// target runs a target as a user would.
func (s *Session) target(env []string, name string) error {
	_, err := s.run.Run(s.ctx, command.Cmd{Args: []string{"go", "tool", "mage", name}, Env: env, Timeout: time.Hour})
	return err
}
