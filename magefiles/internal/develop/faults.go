package develop

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/fault"
	"github.com/calico-cni-lab/lab/magefiles/internal/run"
)

// FaultOptions are the flags of faults.
type FaultOptions struct {
	Only    string // names of faults, parts of them will do, with commas; "" is all
	Rounds  int    // of all faults
	Destroy bool   // each fault once more: the lab is destroyed as it is then
	Kills   int    // moments at which a run is killed or paused
	Cycles  int    // of up and destroy
	Seed    uint64 // of the order and the moments; 0: another one each time
}

// Faults breaks a lab of its own in every way that is known, looks what check says, mends it, and prints a table. In the end it destroys
// the lab and looks what is left.
func Faults(ctx context.Context, r *run.Run, o FaultOptions) (err error) {
	if o.Seed == 0 {
		o.Seed = rand.Uint64() >> 1 // can be given as a flag
	}
	r.Console.Notice("seed %d: the same order and moments again with -seed=%d", o.Seed, o.Seed)
	l, all, err := faultLab(ctx, r)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, endFaults(ctx, l)) }()
	if all = chosen(all, o.Only); len(all) == 0 {
		return fmt.Errorf("-only=%s: there is no such fault", o.Only)
	}
	m := &matrix{run: r, lab: l, random: rand.New(rand.NewPCG(o.Seed, 0))}
	return errors.Join(m.faults(ctx, all, o.Rounds), m.destroyed(ctx, all, o.Destroy), m.kills(ctx, o.Kills), m.cycles(ctx, o.Cycles))
}

// faultLab is a lab of nspawn containers like the project's own, which isn't made yet, and its faults.
func faultLab(ctx context.Context, r *run.Run) (*fault.Lab, []fault.Fault, error) {
	dir, err := os.MkdirTemp("", "calico-cni-lab-faults.")
	if err != nil {
		return nil, nil, err
	}
	l := &fault.Lab{Name: fmt.Sprintf("faults-%d", os.Getpid()), Root: r.Root, Dir: dir, Mage: []string{filepath.Join(dir, "mage")}, Run: &command.Runner{}}
	data, err := os.ReadFile(filepath.Join(r.Root, "lab.yaml"))
	if err != nil {
		return nil, nil, err
	}
	file := filepath.Join(dir, "lab.yaml")
	if err := os.WriteFile(file, []byte(strings.Replace(string(data), "name: calico-cni-lab", "name: "+l.Name, 1)), 0o644); err != nil {
		return nil, nil, err
	}
	if _, err := r.Exec.Run(ctx, command.Cmd{Args: []string{"go", "tool", "mage", "-compile", l.Mage[0]}, Dir: r.Root, Timeout: 10 * time.Minute}); err != nil {
		return nil, nil, err
	}
	// Of the machines only what is to be on them is asked for.
	own := &run.Run{Console: r.Console, Exec: r.Exec, Root: r.Root, LabFile: file, StateDir: l.StateDir()}
	defined, err := own.Lab(ctx)
	if err != nil {
		return nil, nil, err
	}
	s, err := defined.Spec(ctx)
	if err != nil {
		return nil, nil, err
	}
	return l, append(fault.All(), fault.Files(s)...), own.Reset()
}

// endFaults destroys the lab, also after Ctrl-C, and says what is left of it.
func endFaults(ctx context.Context, l *fault.Lab) error {
	if err := l.Destroy(context.WithoutCancel(ctx)); err != nil {
		return fmt.Errorf("%w; if the lab is still there: LAB_FILE=%s go tool mage destroy", err, filepath.Join(l.Dir, "lab.yaml"))
	}
	return os.RemoveAll(l.Dir)
}

// chosen are the faults of which a part of the name is asked for.
func chosen(all []fault.Fault, only string) []fault.Fault {
	if only == "" {
		return all
	}
	return slices.DeleteFunc(all, func(f fault.Fault) bool {
		return !slices.ContainsFunc(strings.Split(only, ","), func(part string) bool { return strings.Contains(f.Name, part) })
	})
}

// matrix is what becomes of a lab, fault by fault.
type matrix struct {
	run    *run.Run
	lab    *fault.Lab
	random *rand.Rand
}

// faults breaks and mends the lab in every way, and prints the table. A lab that wasn't mended is made anew for the next.
func (m *matrix) faults(ctx context.Context, all []fault.Fault, rounds int) error {
	var outcomes []fault.Outcome
	var failed []error
	for range rounds {
		if out, err := m.lab.Target(ctx, "verify"); err != nil {
			return errors.Join(err, errors.New(out))
		}
		order := slices.Clone(all)
		m.random.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		for _, f := range order {
			o := m.lab.Round(ctx, f)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			outcomes = append(outcomes, o)
			m.run.Console.Notice("%s", strings.Join(faultRow(o), "; "))
			if err := o.Err(); err != nil {
				failed = append(failed, fmt.Errorf("%s: %w", f.Name, err))
				m.run.Console.Notice("%v", err)
				if out, err := m.lab.Target(ctx, "destroy", "verify"); err != nil {
					return errors.Join(append(failed, err, errors.New(out))...)
				}
			}
		}
	}
	place := map[string]int{}
	for i, f := range all {
		place[f.Name] = i
	}
	slices.SortStableFunc(outcomes, func(a, b fault.Outcome) int { return place[a.Name] - place[b.Name] })
	var rows [][]string
	for _, o := range outcomes {
		rows = append(rows, faultRow(o))
	}
	if len(rows) > 0 {
		m.run.Console.Table([]string{"fault", "check says first", "mended by", "verify takes"}, rows)
	}
	return errors.Join(failed...)
}

// faultRow is an outcome in the table's words.
func faultRow(o fault.Outcome) []string {
	first := "nothing"
	if len(o.Seen) > 0 {
		first = o.Seen[0].ID + ": " + strings.SplitN(o.Seen[0].Found, "\n", 2)[0]
	}
	by, took := "verify", seconds(o.Mending)
	switch {
	case len(o.Errs) > 0:
		by = "**not as it should be**"
	case o.Left != "":
		by, took = "you, then verify: "+o.Left, seconds(o.Leaving)+" + "+seconds(o.Mending)
	case o.Chance:
		by = "nobody: verify gets along with it, mostly; `reset` takes it away"
	case o.First == "":
		by = "itself, or verify"
	}
	return []string{o.Name, first, by, took}
}

// destroyed destroys the lab in every broken state.
func (m *matrix) destroyed(ctx context.Context, all []fault.Fault, wanted bool) error {
	if !wanted {
		return nil
	}
	var failed []error
	for _, f := range all {
		err := m.lab.DestroyBroken(ctx, f)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("destroyed with %s: %w", f.Name, err))
			m.run.Console.Notice("%v", failed[len(failed)-1])
			continue
		}
		m.run.Console.Notice("destroyed with %s: nothing is left", f.Name)
	}
	m.run.Console.Notice("destroyed while it was broken in %d ways, %d of them with something wrong", len(all), len(failed))
	return errors.Join(failed...)
}

// kills has runs killed and paused at random moments.
func (m *matrix) kills(ctx context.Context, n int) error {
	var failed []error
	for i := range n {
		k := m.lab.RandomKill(ctx, m.random)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		failed = append(failed, k.Errs...)
		m.run.Console.Notice("%d of %d: %s: %s", i+1, n, k, verdict(k.Errs))
		if len(k.Errs) > 0 {
			m.run.Console.Notice("%v", errors.Join(k.Errs...))
		}
	}
	if n > 0 {
		m.run.Console.Notice("%d runs killed or paused: %s", n, verdict(failed))
	}
	return errors.Join(failed...)
}

// cycles makes and destroys the machines.
func (m *matrix) cycles(ctx context.Context, n int) error {
	var failed []error
	start := time.Now()
	for i := range n {
		if i == 0 {
			if err := m.lab.Destroy(ctx); err != nil {
				return err
			}
		}
		if err := m.lab.Cycle(ctx); err != nil {
			failed = append(failed, fmt.Errorf("cycle %d: %w", i+1, err))
			m.run.Console.Notice("%v", failed[len(failed)-1])
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	if n > 0 {
		m.run.Console.Notice("%d cycles of up and destroy in %s: %s", n, time.Since(start).Round(time.Second), verdict(failed))
	}
	return errors.Join(failed...)
}

func verdict(errs []error) string {
	if len(errs) == 0 {
		return "as it should be"
	}
	return fmt.Sprintf("%d times not as it should be", len(errs))
}
