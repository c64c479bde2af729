package target

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/baseline"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/run"
	"github.com/calico-cni-lab/lab/magefiles/internal/spec"
	"github.com/calico-cni-lab/lab/magefiles/internal/stage"
	"github.com/calico-cni-lab/lab/magefiles/internal/ui"
)

// Reset brings the lab back to its baseline, and ends the lesson that is under way.
func Reset(ctx context.Context, r *run.Run) error {
	start := time.Now()
	l, b, err := resettable(ctx, r)
	if err != nil {
		return err
	}
	restorer := baseline.Restorer{
		Baseline: b, Lab: l.Lab, EtcdURL: spec.EtcdURL(l.Lab), Slow: l.Slow,
		Look:   func(ctx context.Context) fact.Lab { return deepLook(ctx, l) },
		Host:   l.Engine().Env.Host,
		Told:   func(line string) { r.Console.Notice("- %s", line) },
		Etcd:   func(ctx context.Context) error { return again(ctx, r, l, b, stage.Goal{Stages: []string{stage.Etcd}}) },
		Stages: func(ctx context.Context) error { return again(ctx, r, l, b, everything) },
	}
	undone, lost, err := restorer.Run(ctx)
	if ctx.Err() != nil {
		return interrupted(ctx)
	}
	if err != nil {
		return err
	}
	if len(lost) > 0 {
		for _, d := range lost {
			r.Console.Notice("! %s %s is lost: %s; from now on the baseline is without it", d.Machine, d.About, d.Lost)
		}
		if err := b.Without(lost).Write(r.StateDir); err != nil {
			return err
		}
	}
	if err := baseline.EndLesson(r.StateDir); err != nil {
		return err
	}
	text := "nothing differed from the baseline"
	if undone > 0 {
		text = fmt.Sprintf("the lab is as it was at %s: %s undone", b.At.Local().Format("15:04 on 2 January"), things(undone))
	}
	r.Console.Notice("%s (%.1fs)", text, time.Since(start).Seconds())
	return nil
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
	if s.Digest() != b.Definition {
		return nil, nil, fmt.Errorf("%s, or what the lab is made of, has changed since the baseline was recorded; put it back, or bring the lab in line first: go tool mage verify", r.LabFile)
	}
	return l, b, nil
}

// again has the engine mend what lab.yaml says; what is done already is no news.
func again(ctx context.Context, r *run.Run, l *run.Lab, b *baseline.Baseline, g stage.Goal) error {
	engine := l.Engine()
	engine.Report, engine.Env.Addresses = news{r.Console}, b.Addresses()
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

// deepLook looks at all machines, for a baseline.
func deepLook(ctx context.Context, l *run.Lab) fact.Lab {
	o := l.Observer()
	o.Deep = true
	return o.Look(ctx, l.Machines, nil)
}

// beforeFile keeps the facts of a lab before its definition's change was brought about, until the baseline has followed.
const beforeFile = "before.json"

// lookBefore takes down what the lab is before a run changes it, where there is a baseline of another definition: so what the run
// changes can be told from what somebody else did.
func lookBefore(ctx context.Context, r *run.Run, l *run.Lab) error {
	b, err := baseline.Read(r.StateDir)
	if errors.Is(err, baseline.ErrNone) {
		return nil
	}
	if err != nil {
		return err
	}
	s, err := l.Viewer().Spec(ctx)
	if err != nil {
		return err
	}
	if s.Artifacts.Missing == "" && s.Digest() == b.Definition {
		return forgetBefore(r)
	}
	file := filepath.Join(r.StateDir, beforeFile)
	if _, err := os.Stat(file); err == nil {
		return nil // a run before this one didn't get to its end
	}
	if made, err := l.Made(ctx); err != nil || !made {
		return err
	}
	f := deepLook(ctx, l)
	if len(f.Unreached) > 0 || f.Datastore.Unknown != "" {
		if _, err := l.Engine().Reach(ctx, stage.Goal{Stages: []string{stage.Etcd}}); err != nil {
			return err
		}
		f = deepLook(ctx, l)
	}
	data, err := f.Write()
	if err != nil {
		return err
	}
	return machine.WriteFile(file, data, 0o600)
}

// keepBaseline records the baseline of a lab that was just verified, unless there is one for what it is to be. One that there is
// follows what a run changed; what somebody made by hand doesn't become part of it. After a run that wasn't to bring about everything
// (whole is false) the baseline is still the old definition's.
func keepBaseline(ctx context.Context, r *run.Run, l *run.Lab, whole bool) error {
	b, err := baseline.Read(r.StateDir)
	if err != nil && !errors.Is(err, baseline.ErrNone) {
		return err
	}
	before, err := readBefore(r)
	if err != nil || !whole && (b == nil || before == nil) {
		return err
	}
	s, err := l.Spec(ctx)
	if err != nil {
		return err
	}
	definition, network := s.Digest(), l.Network
	switch {
	case b != nil && b.Definition == definition:
		return nil
	case !whole:
		definition, network = b.Definition, b.Network
	}
	patience := time.Duration(0)
	if whole {
		patience = calmTime
	}
	made, err := calm(ctx, l, patience, func(f *fact.Lab) (*baseline.Baseline, error) {
		if b != nil && before != nil {
			return b.Follow(before, f, definition, network)
		}
		return baseline.New(f, definition, network, l.Provider.Capabilities().Undo)
	})
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if err != nil { // the lab is none the worse for it
		if whole {
			r.Console.Notice("%s; so go tool mage reset has nothing to go back to", err)
		}
		return nil
	}
	if more := made.Beyond(b, l.Pool.Name); len(more) > 0 {
		r.Console.Notice("the baseline, which go tool mage reset goes back to, now has what isn't lab.yaml's: %s", strings.Join(more, ", "))
	}
	if err := made.Write(r.StateDir); err != nil {
		return err
	}
	return forgetBefore(r)
}

// calmTime is how long Calico's processes may take to write what follows from a change.
const calmTime = 5 * time.Second

// calm makes a baseline that two looks in a row agree on: confd may still be rendering.
func calm(ctx context.Context, l *run.Lab, patience time.Duration, make func(*fact.Lab) (*baseline.Baseline, error)) (*baseline.Baseline, error) {
	var last *baseline.Baseline
	deadline := time.Now().Add(patience * time.Duration(l.Slow))
	for {
		f := deepLook(ctx, l)
		b, err := make(&f)
		if cause := context.Cause(ctx); cause != nil {
			return nil, cause
		}
		late := time.Now().After(deadline)
		if err != nil && late {
			return nil, err
		}
		if err == nil && (late || last != nil && reflect.DeepEqual(b.Items, last.Items)) {
			return b, nil
		}
		last = b
	}
}

func readBefore(r *run.Run) (*fact.Lab, error) {
	data, err := os.ReadFile(filepath.Join(r.StateDir, beforeFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var f fact.Lab
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, nil //nolint:nilerr // then nothing is known of what was before
	}
	return &f, nil
}

func forgetBefore(r *run.Run) error {
	err := os.Remove(filepath.Join(r.StateDir, beforeFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
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
