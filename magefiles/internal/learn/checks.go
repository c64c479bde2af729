package learn

import (
	"context"
	"fmt"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/learn/lesson"
	"github.com/calico-cni-lab/lab/magefiles/internal/learn/predicate"
)

// checks are those of one step. Before its commands they must not hold, or they could not fail.
type checks struct {
	room     *Room
	file     string
	captures lesson.Captures
	before   map[predicate.Counter]fact.Seen[int64]
}

// ahead understands the checks of a step before its commands. One that names a capture of the step's own is about something that isn't
// there yet, and left out.
func (k *checks) ahead(step lesson.Step) (expect []lesson.Expect, all []predicate.Predicate, err error) {
	for _, b := range step.Blocks {
		for _, e := range b.Checks {
			if line, ok := k.captures.Expand(e.Predicate); ok {
				e.Predicate = line
				expect = append(expect, e)
			}
		}
	}
	all, err = k.predicates(expect)
	return expect, all, err
}

// count reads the counters that the step's checks are about, and nothing else.
func (k *checks) count(ctx context.Context, step lesson.Step) error {
	_, all, err := k.ahead(step)
	if err == nil {
		k.before = k.room.Counters(ctx, all)
	}
	return err
}

// premature looks before the step's commands, and returns what holds already or, where it is to hold still, doesn't.
func (k *checks) premature(ctx context.Context, step lesson.Step) ([]error, error) {
	expect, all, err := k.ahead(step)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	var faults []error
	for i, f := range Test(all, k.room.See(ctx, all, nil)) {
		e := expect[i]
		switch {
		case e.Still && f.State != check.Holds:
			faults = append(faults, fmt.Errorf("%s:%d: %s: %s before the step: %s", k.file, e.Line, e.Predicate, state(f.State), f.Found))
		case !e.Still && f.State == check.Holds:
			faults = append(faults, fmt.Errorf("%s:%d: %s: it holds before the step, so it shows nothing (%s); begin it with `still` where that is meant", k.file, e.Line, e.Predicate, f.Found))
		}
	}
	return faults, nil
}

// await waits until a block's checks hold, or it has been long enough, and returns a finding for each line.
func (k *checks) await(ctx context.Context, b lesson.Block) ([]lesson.Expect, []check.Finding, error) {
	expect := make([]lesson.Expect, len(b.Checks))
	for i, e := range b.Checks {
		line, ok := k.captures.Expand(e.Predicate)
		if !ok {
			return nil, nil, fmt.Errorf("%s:%d: %s: nothing was captured by that name before", k.file, e.Line, e.Predicate)
		}
		e.Predicate = line
		expect[i] = e
	}
	all, err := k.predicates(expect)
	if err != nil {
		return nil, nil, err
	}
	return expect, k.room.Await(ctx, all, k.before), nil
}

func (k *checks) predicates(expect []lesson.Expect) ([]predicate.Predicate, error) {
	all, err := k.room.Predicates(expect)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", k.file, err)
	}
	return all, nil
}

// faults says which checks don't hold.
func (k *checks) faults(expect []lesson.Expect, findings []check.Finding) []error {
	var faults []error
	for i, f := range findings {
		if f.State != check.Holds {
			faults = append(faults, fmt.Errorf("%s:%d: %s: %s: %s", k.file, expect[i].Line, expect[i].Predicate, state(f.State), f.Found))
		}
	}
	return faults
}
