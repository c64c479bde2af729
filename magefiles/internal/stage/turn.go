package stage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/progress"
)

// turn is a stage's turn in a round.
type turn struct {
	*Engine
	stage Stage
	round int
	wait  func() error // returns when what the stage needs has been applied
	next  func()       // lets the stages go on that need this one; may be called more than once
}

func (e *Engine) turn(s Stage, round int) turn {
	return turn{Engine: e, stage: s, round: round, wait: func() error { return nil }, next: func() {}}
}

// run looks whether the stage has something to do, and does it: prepare, wait for what it needs, apply, look again.
func (t turn) run(ctx context.Context) (err error) {
	start := time.Now()
	job, err := t.job(ctx)
	if err != nil {
		return t.failed(ctx, err, start)
	}
	if len(job.Unmet) == 0 {
		t.next()
		if t.round == 0 {
			t.nothing(ctx, job)
		}
		return nil
	}
	t.Report.Started(t.stage.Name, check.Summary(job.Unmet))
	ctx, end := progress.Begin(ctx, progress.Stage, t.stage.Name)
	defer func() {
		end(err)
		if err != nil {
			err = t.failed(ctx, err, start)
		}
	}()
	if err := t.do(ctx, "prepare", t.stage.Prepare, job); err != nil {
		return err
	}
	if err := progress.Do(ctx, progress.Step, "wait", func(context.Context) error { return t.wait() }); err != nil {
		return err
	}
	// What it needed may have changed something, or have made it possible to look.
	t.lookIfBlind(ctx)
	if job, err = t.job(ctx); err != nil {
		return err
	}
	if len(job.Unmet) > 0 {
		if err := t.do(ctx, "apply", t.stage.Apply, job); err != nil {
			return err
		}
		if !t.stage.Settled {
			t.next()
		}
		if err := t.again(ctx, t.stage); err != nil {
			return err
		}
	}
	t.next()
	return t.done(ctx, start)
}

// lookIfBlind looks again at machines whose Docker didn't answer the last look, and at etcd's where the datastore couldn't be read: nothing
// can be applied there otherwise.
func (t turn) lookIfBlind(ctx context.Context) {
	f := t.Facts()
	blind := slices.DeleteFunc(slices.Clone(t.stage.machines(t.Env.Lab)), func(m lab.Machine) bool {
		seen, ok := f.Machine(m.Name)
		return !ok || seen.Docker.Unknown == ""
	})
	if t.stage.Datastore && f.Datastore.Unknown != "" {
		blind = append(slices.DeleteFunc(blind, func(m lab.Machine) bool { return m.Role == lab.RoleEtcd }), t.Env.Lab.Members()...)
	}
	if len(blind) > 0 {
		t.learn(t.Look.Look(ctx, blind, nil))
	}
}

// done reports what came of the turn.
func (t turn) done(ctx context.Context, start time.Time) error {
	f := t.Facts()
	r := t.evaluate(ctx, []Stage{t.stage}, false)
	if err := refusal(r); err != nil {
		return err
	}
	if left := unmet(r); len(left) > 0 {
		t.Report.Pending(t.stage.Name, check.Summary(left), time.Since(start))
	} else if !r.OK {
		t.Report.Yours(t.stage.Name, check.Summary(r.Unmet()))
	} else {
		t.Report.Done(t.stage.Name, t.stage.Done(t.Env, &f), time.Since(start))
	}
	return nil
}

// job is what there is to do for the stage, by the newest facts; packets that didn't arrive in the round before are among it. The
// error is what only a person can decide.
func (t turn) job(ctx context.Context) (Job, error) {
	f := t.Facts()
	r := t.evaluate(ctx, []Stage{t.stage}, false)
	return Job{Facts: &f, Unmet: append(unmet(r), t.probed(t.stage)...), Round: t.round}, refusal(r)
}

// nothing reports that there is nothing to do: all is done, or what isn't is the user's.
func (t turn) nothing(ctx context.Context, job Job) {
	r := t.evaluate(ctx, []Stage{t.stage}, false)
	if left := r.Unmet(); len(left) > 0 {
		t.Report.Yours(t.stage.Name, check.Summary(left))
		return
	}
	t.Report.Already(t.stage.Name, t.stage.Done(t.Env, job.Facts))
}

func (t turn) do(ctx context.Context, what string, f func(context.Context, *Env, Job) error, job Job) error {
	if f == nil {
		return nil
	}
	return progress.Do(ctx, progress.Step, what, func(ctx context.Context) error { return f(ctx, t.Env, job) })
}

// failed reports an error of the stage's own. When another stage failed, that one has said why; so has an interruption.
func (t turn) failed(ctx context.Context, err error, start time.Time) error {
	var late lateError
	if errors.As(err, &late) && t.round+1 < rounds && context.Cause(ctx) == nil {
		t.Report.Pending(t.stage.Name, err.Error(), time.Since(start))
		return err
	}
	err = fmt.Errorf("%s: %w", t.stage.Name, err)
	reported := err
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, cause) {
		reported = context.Canceled
	}
	t.Report.Failed(t.stage.Name, reported, time.Since(start))
	return err
}

// probed are the stage's conditions on packets that didn't arrive in the round before, where that was all that didn't hold.
func (e *Engine) probed(s Stage) []check.Result {
	if !e.lost {
		return nil
	}
	f := e.Facts()
	conditions := slices.DeleteFunc(Conditions(e.Env, []Stage{s}), func(c check.Condition) bool { return !c.Probe })
	return unmet(check.Run(conditions, &f))
}

// again looks at the datastore and at a stage's machines after it was applied, until its conditions hold or it has had its
// time. What a machine can wait for by itself, it does.
func (e *Engine) again(ctx context.Context, s Stage) error {
	machines := s.machines(e.Env.Lab)
	if s.Datastore { // the etcd machine comes before the others
		machines = slices.DeleteFunc(slices.Clone(machines), func(m lab.Machine) bool { return m.Role == lab.RoleEtcd })
	}
	look := func(ctx context.Context, until func(lab.Machine) *fact.Until) {
		if s.Datastore {
			e.learn(e.Look.Look(ctx, e.Env.Lab.ByRole(lab.RoleEtcd), nil))
		}
		if len(machines) > 0 {
			e.learn(e.Look.Look(ctx, machines, until))
		}
	}
	return progress.Do(ctx, progress.Step, "look", func(ctx context.Context) error {
		look(ctx, func(m lab.Machine) *fact.Until {
			if s.Until == nil {
				return nil
			}
			f := e.Facts()
			u := s.Until(e.Env, m, &f)
			u.Within *= time.Duration(e.Slow)
			return &u
		})
		met := func() bool {
			left := Job{Unmet: unmet(e.evaluate(ctx, []Stage{s}, false))}
			if s.Datastore || !left.On("") { // what holds on a machine needn't be looked at again
				machines = slices.DeleteFunc(slices.Clone(machines), func(m lab.Machine) bool { return !left.On(m.Name) })
			}
			return len(left.Unmet) == 0
		}
		if met() {
			return context.Cause(ctx)
		}
		return e.until(ctx, func() bool { look(ctx, nil); return met() })
	})
}
