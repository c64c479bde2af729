// Package stage brings the lab from what it is to what it should be, one stage a file.
package stage

import (
	"context"
	"fmt"
	"time"
)

// Stage is one step of the lab, on all the machines it concerns.
type Stage interface {
	// Name is the target's name.
	Name() string
	// Check looks and changes nothing. done says whether the stage has nothing to do, text what was found:
	// for people, "etcd 3.6.16 is healthy" or "no container etcd".
	Check(ctx context.Context) (done bool, text string, err error)
	// Apply does what Check found missing, and returns when it works. It may find a half-finished state.
	Apply(ctx context.Context) error
}

// Reporter is told what happens.
type Reporter interface {
	Already(stage, text string)
	Started(stage, why string)
	Done(stage, text string, took time.Duration)
	Failed(stage string, err error, took time.Duration)
}

// Run checks a stage, applies it where needed, and checks again. A stage that isn't done then has failed.
func Run(ctx context.Context, s Stage, r Reporter) (err error) {
	start := time.Now()
	defer func() {
		if err != nil {
			r.Failed(s.Name(), err, time.Since(start))
		}
	}()
	done, text, err := look(ctx, s, "check")
	if err != nil {
		return err
	}
	if done {
		r.Already(s.Name(), text)
		return nil
	}
	r.Started(s.Name(), text)
	if err := Traced(ctx, s.Name(), "apply", s.Apply); err != nil {
		return err
	}
	done, text, err = look(ctx, s, "check again")
	if err != nil {
		return err
	}
	if !done {
		return fmt.Errorf("still not done after it was applied: %s", text)
	}
	r.Done(s.Name(), text, time.Since(start))
	return nil
}

func look(ctx context.Context, s Stage, what string) (done bool, text string, err error) {
	err = Traced(ctx, s.Name(), what, func(ctx context.Context) (err error) {
		done, text, err = s.Check(ctx)
		return err
	})
	return done, text, err
}
