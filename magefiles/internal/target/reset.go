package target

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/baseline"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/run"
	"github.com/calico-cni-lab/lab/magefiles/internal/stage"
	"github.com/calico-cni-lab/lab/magefiles/internal/ui"
)

// Reset brings the lab back to its baseline, and ends the lesson or the challenge that is under way.
func Reset(ctx context.Context, r *run.Run) error {
	start := time.Now()
	l, b, err := resettable(ctx, r)
	if err != nil {
		return err
	}
	undone, err := restore(ctx, r, l, b, news{r.Console})
	if err != nil {
		return err
	}
	if err := errors.Join(baseline.EndLesson(r.StateDir), giveUp(r), forgetRestoring(r)); err != nil {
		return err
	}
	text := "nothing differed from the baseline"
	if undone > 0 {
		text = fmt.Sprintf("the lab is as it was at %s: %s undone", b.At.Local().Format("15:04 on 2 January"), things(undone))
	}
	r.Console.Notice("%s (%.1fs)", text, time.Since(start).Seconds())
	return nil
}

// restore brings the lab back to its baseline. It returns how many things it undid.
func restore(ctx context.Context, r *run.Run, l *run.Lab, b *baseline.Baseline, tell teller) (undone int, err error) {
	restorer := baseline.Restorer{
		Baseline: b, Lab: l.Lab, Slow: l.Slow,
		Look:  func(ctx context.Context) fact.Lab { return deepLook(ctx, l) },
		Host:  l.Engine().Env.Host,
		Write: writer(l),
		Told:  func(line string) { tell.Notice("- %s", line) },
		Etcd: func(ctx context.Context) error {
			return again(ctx, r, l, b, tell, stage.Goal{Stages: []string{stage.Etcd}})
		},
		StopNodes: l.Engine().Env.StopNodes,
		Stages:    func(ctx context.Context) error { return again(ctx, r, l, b, tell, everything) },
	}
	undone, lost, err := restorer.Run(ctx)
	if ctx.Err() != nil {
		return undone, interrupted(ctx)
	}
	if err != nil || len(lost) == 0 {
		return undone, err
	}
	for _, d := range lost {
		r.Console.Notice("! %s %s is lost: %s; from now on the baseline is without it", d.Machine, d.About, d.Lost)
	}
	return undone, b.Without(lost).Write(r.StateDir)
}

// mostOps is how many operations etcd takes in one transaction (--max-txn-ops).
const mostOps = 128

// writer writes to the datastore, in as few transactions as etcd takes.
func writer(l *run.Lab) func(context.Context, []fact.Op) error {
	return func(ctx context.Context, ops []fact.Op) error {
		for chunk := range slices.Chunk(ops, mostOps) {
			if _, err := l.Observer().Order(ctx, "", fact.Order{Ops: chunk}); err != nil {
				return err
			}
		}
		return nil
	}
}

func things(n int) string {
	if n == 1 {
		return "1 thing"
	}
	return fmt.Sprintf("%d things", n)
}

// resettable refuses a lab that can't be reset, with what to do first; nothing is touched then.
func resettable(ctx context.Context, r *run.Run) (*run.Lab, *baseline.Baseline, error) {
	l, err := existing(ctx, r)
	if err != nil {
		return nil, nil, err
	}
	b, err := baseline.Read(r.StateDir)
	if err != nil {
		return nil, nil, err
	}
	if err := r.Begin(ctx); err != nil {
		return nil, nil, err
	}
	if err := l.Running(ctx); err != nil {
		return nil, nil, err
	}
	s, err := l.Spec(ctx)
	if err != nil {
		return nil, nil, err
	}
	if s.Digest() != b.Definition || b.Partly {
		return nil, nil, fmt.Errorf("%s, or what the lab is made of, has changed since the baseline was recorded; put it back, or bring the lab in line first: go tool mage verify", r.LabFile)
	}
	return l, b, nil
}

// again has the engine mend what lab.yaml says; what is done already is no news.
func again(ctx context.Context, r *run.Run, l *run.Lab, b *baseline.Baseline, tell stage.Reporter, g stage.Goal) error {
	engine := l.Engine()
	engine.Report, engine.Env.Addresses = tell, b.Addresses()
	report, err := engine.Reach(ctx, g)
	if err == nil && !report.OK && len(report.Results) > 0 {
		r.Console.Report(report, false)
		err = unmet(report)
	}
	return err
}

// news is a console without what is done already.
type news struct{ *ui.Console }

func (news) Already(string, string) {}

// teller tells what is undone, and what the stages do.
type teller interface {
	stage.Reporter
	Notice(format string, args ...any)
}

// silent tells nothing.
type silent struct{}

func (silent) Notice(string, ...any)                 {}
func (silent) Already(string, string)                {}
func (silent) Yours(string, string)                  {}
func (silent) Started(string, string)                {}
func (silent) Done(string, string, time.Duration)    {}
func (silent) Pending(string, string, time.Duration) {}
func (silent) Failed(string, error, time.Duration)   {}

// deepLook looks at all machines, for a baseline.
func deepLook(ctx context.Context, l *run.Lab) fact.Lab {
	return l.Observer().Deep().Look(ctx, l.Machines, nil)
}

// lessonLine says that a lesson is under way, in how many things the lab differs from its baseline by it, and how to leave it; "" where none
// is. look is nil where nobody wants to know in how many.
func lessonLine(r *run.Run, look func() fact.Lab) (string, error) {
	lesson, underWay, err := baseline.ReadLesson(r.StateDir)
	if err != nil || !underWay {
		return "", err
	}
	text := lesson.String()
	if b, err := baseline.Read(r.StateDir); err == nil && look != nil {
		f := look()
		n := 0
		for _, d := range baseline.Differences(b, &f) {
			if d.How != baseline.Unseen {
				n++
			}
		}
		verb := "differ"
		if n == 1 {
			verb = "differs"
		}
		text += fmt.Sprintf("; %s %s from the baseline", things(n), verb)
	}
	return text + "; leave it with: go tool mage reset", nil
}
