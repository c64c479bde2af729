// Package target is what the lab's targets do: one function each, on a run.
package target

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/run"
	"github.com/calico-cni-lab/lab/magefiles/internal/stage"
	"github.com/calico-cni-lab/lab/magefiles/internal/support"
)

// everything is the goal of verify, check and plan: all stages, and packets that arrive.
var everything = stage.Goal{Stages: []string{stage.Plumb}, Probe: true}

// Reach brings a stage about, with all that it needs.
func Reach(ctx context.Context, r *run.Run, name string) error {
	now, err := reach(ctx, r, stage.Goal{Stages: []string{name}})
	if err != nil {
		return err
	}
	if !now.report.OK {
		r.Console.Report(now.report, false)
		support.CollectFailed(ctx, r, now.lab)
		return unmet(now.report)
	}
	return keepBaseline(ctx, r, now.lab, false)
}

// reached is how a lab is that the engine has worked on.
type reached struct {
	lab    *run.Lab // nil where it didn't come to that
	report check.Report
	facts  fact.Lab
}

// reach runs the engine, and collects the logs of a failure once its cause is printed.
func reach(ctx context.Context, r *run.Run, g stage.Goal) (reached, error) {
	l, err := r.Lab(ctx)
	if err == nil {
		err = notDuringChallenge(r, "this would mend what it broke")
	}
	if err == nil {
		err = r.Begin(ctx)
	}
	if err != nil {
		return reached{}, err
	}
	if line := restoring(r); line != "" {
		r.Console.Notice("%s", line)
	}
	if err := keepPlan(ctx, r, l); err != nil {
		return reached{}, err
	}
	if err := lookBefore(ctx, r, l); err != nil {
		return reached{}, err
	}
	l.Expect()
	engine := l.Engine()
	report, err := engine.Reach(ctx, g)
	now := reached{l, report, engine.Facts()}
	if ctx.Err() != nil {
		return now, interrupted(ctx)
	}
	var refused *stage.RefusedError
	if err != nil && !errors.As(err, &refused) { // of a refusal there is nothing to find out
		r.Console.Cause(err)
		var failed *command.Error
		if len(report.Results) > 0 || errors.As(err, &failed) && failed.Where != command.Here { // the machines had to do with it
			byHand(r)
		}
		support.CollectFailed(ctx, r, l)
		return now, &printedError{err}
	}
	if err != nil {
		return now, err
	}
	if report.OK {
		l.Reached()
	}
	return now, l.WriteSSHConfig()
}

// keepPlan: a lab whose plan was lost is there all the same, and how its machines are entered may have changed.
func keepPlan(ctx context.Context, r *run.Run, l *run.Lab) error {
	_, made, err := r.Plan()
	if err == nil && !made {
		made, err = l.Made(ctx)
	}
	if err != nil || !made {
		return err
	}
	return l.KeepPlan()
}

// printedError is an error whose text is on the screen already: its first line is enough for the last one.
type printedError struct{ error }

func (e *printedError) Error() string {
	line, _, _ := strings.Cut(e.error.Error(), "\n")
	return line
}

func (e *printedError) Unwrap() error { return e.error }

// interrupted is why a context ended: Mage's own, on Ctrl-C, has no cause to show.
func interrupted(ctx context.Context) error {
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return run.ErrInterrupted
}

func unmet(r check.Report) error {
	return fmt.Errorf("%s; the first: %s", r.Tally(), r.Unmet()[0].ID)
}

func stageNames() []string {
	var names []string
	for _, s := range stage.All() {
		names = append(names, s.Name)
	}
	return names
}
