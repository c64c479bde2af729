package run

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
	"github.com/calico-cni-lab/lab/magefiles/internal/stage"
)

// undoPatience is how long a machine may take to let a user in who wants to undo what the lab did there.
const undoPatience = 20 * time.Second

// retire takes away a machine that the lab's file has no more, or what the lab did on one that outlives it; then done is called, and
// the machine is forgotten.
func (l *Lab) retire(ctx context.Context, m machine.Planned, done func(context.Context) error) error {
	if remover, ok := l.Provider.(machine.Remover); ok {
		if err := remover.Remove(ctx, m.Name); err != nil {
			return fmt.Errorf("taking %s away: %w", m.Name, err)
		}
	} else if err := l.undo(ctx, m); err != nil {
		return fmt.Errorf("%s isn't in %s any more, but what the lab did there can't be undone: %w\n"+
			"  mend that, or put it back; if it is gone for good, or was installed anew: go tool mage verify -forget=%[1]s", m.Name, l.run.LabFile, err)
	}
	if err := errors.Join(done(ctx), machine.ForgetHostKey(l.run.StateDir, m.Name)); err != nil {
		return err
	}
	l.Gone = slices.DeleteFunc(l.Gone, func(other machine.Planned) bool { return other.Name == m.Name })
	return l.KeepPlan()
}

// undo takes back what the stages did on a machine, if it still is the lab's.
func (l *Lab) undo(ctx context.Context, m machine.Planned) error {
	plan := machine.NewPlan(l.Provider.Name(), l.Lab)
	plan.Machines = []machine.Planned{m}
	provider, err := l.run.Provider(plan)
	if err != nil {
		return err
	}
	endpoints, err := provider.Endpoints()
	if errors.Is(err, machine.ErrNotUp) {
		return nil
	}
	if err != nil {
		return err
	}
	mark, err := machine.ReadMark(l.run.StateDir)
	if err != nil {
		return err
	}
	return l.run.UndoMachine(ctx, endpoints[0], mark)
}

// UndoMachine undoes what the lab did on a machine, which isn't the lab's any more then.
func (r *Run) UndoMachine(ctx context.Context, e remote.Endpoint, mark machine.Mark) error {
	dialing, cancel := context.WithTimeoutCause(ctx, undoPatience, fmt.Errorf("not after %s", undoPatience))
	defer cancel()
	h, err := remote.DialBooted(dialing, e, r.Exec.Log)
	if err != nil {
		return err
	}
	defer h.Close()
	stays, err := stage.Undo(ctx, h, mark)
	for _, line := range stays {
		r.Console.Notice("%s: %s", e.Machine, line)
	}
	if err != nil {
		return err
	}
	return machine.ForgetHostKey(r.StateDir, e.Machine)
}

// Forget gives up machines that the lab's file has no more and that can't be entered any more: what the lab did there stays.
func (l *Lab) Forget(names ...string) error {
	for _, name := range names {
		if !slices.ContainsFunc(l.Gone, func(m machine.Planned) bool { return m.Name == name }) {
			var gone []string
			for _, m := range l.Gone {
				gone = append(gone, m.Name)
			}
			return fmt.Errorf("-forget: %s isn't a machine that was taken out of %s; those are: %s", name, l.run.LabFile, strings.Join(append(gone, "no others"), ", "))
		}
		if err := machine.ForgetHostKey(l.run.StateDir, name); err != nil {
			return err
		}
	}
	return nil
}
