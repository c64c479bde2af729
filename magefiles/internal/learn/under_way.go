package learn

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/baseline"
	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/learn/lesson"
)

// begin returns the step to begin a chapter with, and what those before it captured: the one where the reader left it, if the lab is in
// that lesson; else the first, and then the lab must be well and as it was. Nothing is changed.
func (r *Room) begin(ctx context.Context, c lesson.Chapter) (step int, captures lesson.Captures, err error) {
	l, underWay, err := baseline.ReadLesson(r.run.StateDir)
	if err != nil {
		return 0, nil, err
	}
	if underWay {
		r.states = l.Shells
		return resume(l, c)
	}
	switch f := r.restored(ctx); f.State {
	case check.Holds:
	case check.Unknown:
		return 0, nil, fmt.Errorf("whether the lab is as it was can't be seen: %s; try: go tool mage verify", f.Found)
	default:
		return 0, nil, fmt.Errorf("the lab isn't as it was after verify: %s; bring it back first: go tool mage reset", f.Found)
	}
	if report, _ := r.report(ctx); !report.Value.OK {
		return 0, nil, errors.New("the lab doesn't work as it should; see: go tool mage check; mend it: go tool mage verify")
	}
	return 0, lesson.Captures{}, nil
}

// resume is where a chapter goes on, if it is the one that is under way. A chapter that was written anew may have fewer steps.
func resume(l baseline.Lesson, c lesson.Chapter) (step int, captures lesson.Captures, err error) {
	if l.Chapter != c.Name {
		return 0, nil, fmt.Errorf("%s; go on with it: go tool mage learn %s, or leave it first: go tool mage reset", l, l.Chapter)
	}
	captures = lesson.Captures(l.Captures)
	if captures == nil {
		captures = lesson.Captures{}
	}
	return max(0, min(l.Step, len(c.Steps))-1), captures, nil
}

// Keep says that a lesson is under way, for every other target, and at which step, from 0, it goes on, with what was captured and what the
// shells have become.
func (r *Room) Keep(ctx context.Context, c lesson.Chapter, step int, captures lesson.Captures) error {
	if err := r.keepShells(ctx); err != nil {
		return err
	}
	l, underWay, err := baseline.ReadLesson(r.run.StateDir)
	if err != nil || !underWay || l.Chapter != c.Name {
		l = baseline.Lesson{Chapter: c.Name, Started: time.Now()}
	}
	l.Step, l.Captures, l.Shells = step+1, captures, r.states
	return l.Write(r.run.StateDir)
}

// end ends a lesson whose reader came to its end. What it left behind all the same is brought back; live has the lines that say what.
func (r *Room) end(ctx context.Context, c lesson.Chapter, live func(string)) error {
	made, err := r.lab.Made(ctx)
	if err != nil || !made { // the last chapter destroys the lab
		return err
	}
	if r.restored(ctx).State != check.Holds {
		if err := r.Reset(ctx, live); err != nil {
			return fmt.Errorf("after %s: %w", c.Name, err)
		}
	}
	return baseline.EndLesson(r.run.StateDir)
}
