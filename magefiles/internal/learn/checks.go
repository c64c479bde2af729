package learn

import (
	"context"
	"fmt"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/learn/lesson"
	"github.com/calico-cni-lab/lab/magefiles/internal/learn/predicate"
)

// checks are those of one step. Before its commands they must not hold, or they could not fail.
type checks struct {
	room   *Room
	expect []lesson.Expect
	all    []predicate.Predicate
	before map[predicate.Counter]int64
	err    error // what isn't understood
}

func newChecks(r *Room, step lesson.Step) *checks {
	k := &checks{room: r}
	for _, b := range step.Blocks {
		if b.Kind == lesson.Check {
			k.expect = append(k.expect, b.Checks...)
		}
	}
	k.all, k.err = r.Predicates(k.expect)
	return k
}

// begin looks before the step's commands, and returns what holds already or, where it is to hold still, doesn't.
func (k *checks) begin(ctx context.Context, file string) []error {
	if len(k.all) == 0 {
		return nil
	}
	var faults []error
	for i, f := range Test(k.all, k.room.See(ctx, k.all, k.before)) {
		e := k.expect[i]
		switch {
		case e.Still && f.State != check.Holds:
			faults = append(faults, fmt.Errorf("%s:%d: %s: %s before the step: %s", file, e.Line, e.Predicate, state(f.State), f.Found))
		case !e.Still && f.State == check.Holds:
			faults = append(faults, fmt.Errorf("%s:%d: %s: it holds before the step, so it shows nothing (%s); begin it with `still` where that is meant", file, e.Line, e.Predicate, f.Found))
		}
	}
	k.before = k.room.Counters(ctx, k.all) // last, because looking sends packets
	return faults
}

// block waits for the checks of a block, and returns those that don't hold.
func (k *checks) block(ctx context.Context, file string, b lesson.Block) []error {
	all, err := k.room.Predicates(b.Checks)
	if err != nil {
		return []error{fmt.Errorf("%s: %w", file, err)}
	}
	var faults []error
	for i, f := range k.room.Await(ctx, all, k.before) {
		if f.State != check.Holds {
			faults = append(faults, fmt.Errorf("%s:%d: %s: %s: %s", file, b.Checks[i].Line, b.Checks[i].Predicate, state(f.State), f.Found))
		}
	}
	return faults
}
