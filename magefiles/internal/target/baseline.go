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
	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/keep"
	"github.com/calico-cni-lab/lab/magefiles/internal/run"
	"github.com/calico-cni-lab/lab/magefiles/internal/stage"
)

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
	if s.Artifacts.Missing == "" && s.Digest() == b.Definition && !b.Partly {
		return forgetBefore(r)
	}
	file := filepath.Join(r.StateDir, beforeFile)
	if _, err := os.Stat(file); err == nil {
		return nil // a run before this one didn't get to its end
	}
	if made, err := l.Made(ctx); err != nil || !made {
		return err
	}
	var f fact.Lab
	visible := l.Running(ctx) == nil
	if visible {
		f = deepLook(ctx, l)
		visible = len(unseen(&f)) == 0
	}
	if !visible {
		if _, err := l.Engine().Reach(ctx, stage.Goal{Stages: []string{stage.Etcd}}); err != nil {
			return err
		}
		f = deepLook(ctx, l)
		if why := unseen(&f); len(why) > 0 { // what somebody made there would be taken for the run's
			return fmt.Errorf("%s has changed, and before that is brought about the lab has to be seen as it is: %s\nsee what is wrong: go tool mage check; then verify again", r.LabFile, check.Names(why))
		}
	}
	data, err := f.Write()
	if err != nil {
		return err
	}
	return keep.Write(file, data, 0o600)
}

// keepBaseline records the baseline of a lab that was just verified, unless there is one for what it is to be. One that there is
// follows what a run changed; what somebody made by hand doesn't become part of it. After a run that wasn't to bring about everything
// (whole is false) the baseline is still the old definition's, but for what that run changed.
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
	case b != nil && b.Definition == definition && !b.Partly:
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
	made.Partly = !whole
	if more := made.Beyond(b, s.Resources()...); len(more) > 0 {
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

func forgetBefore(r *run.Run) error { return keep.Remove(filepath.Join(r.StateDir, beforeFile)) }
