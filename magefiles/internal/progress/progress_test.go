package progress

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// names are what runs, as NAME(PARTS ...).
func names(tasks []Task) string {
	var all []string
	for _, t := range tasks {
		text := t.Name
		if len(t.Parts) > 0 {
			text += "(" + names(t.Parts) + ")"
		}
		all = append(all, text)
	}
	return strings.Join(all, " ")
}

func TestTree(t *testing.T) {
	var told []string
	tree := &Tree{Began: func(name string) { told = append(told, name) }, Ended: func(name string, _ time.Duration, err error) {
		told = append(told, name+" ended")
		if err != nil {
			told = append(told, err.Error())
		}
	}}
	ctx := In(t.Context(), tree)
	runs := func(want string) {
		t.Helper()
		if got := names(tree.Running()); got != want {
			t.Errorf("runs %q, want %q", got, want)
		}
	}
	up, endUp := Begin(ctx, Stage, "up")
	apply, endApply := Begin(up, Step, "apply")
	making, endMaking := Begin(apply, Making, "etcd")
	Report(making, Count{1, 3, "packages", false})
	one := Counter(apply, 2, "machines")
	one()
	runs("up(apply(etcd))")
	if got := tree.Running()[0].Parts[0]; got.Count != (Count{1, 2, "machines", true}) || got.Parts[0].Count != (Count{1, 3, "packages", false}) {
		t.Errorf("counted: %+v", got)
	}
	endApply(nil) // who asked for the artifact has gone; others wait for it
	runs("up(etcd)")
	release := Hold(making)
	runs("")
	release()
	endMaking(errors.New("failed"))
	runs("up")
	endUp(nil)
	runs("")
	if diff := cmp.Diff([]string{"etcd", "etcd ended", "failed"}, told); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestWithoutTree: who works needn't know whether anybody looks.
func TestWithoutTree(t *testing.T) {
	why := errors.New("why")
	err := Do(t.Context(), Stage, "up", func(ctx context.Context) error {
		Report(ctx, Count{What: "x"})
		Counter(ctx, 1, "x")()
		Hold(ctx)()
		return why
	})
	if err != why { //nolint:errorlint // this very one
		t.Error(err)
	}
}

func TestTimeline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tree := &Tree{}
		ctx := In(t.Context(), tree)
		_, end := Begin(ctx, Step, "before")
		end(nil)
		time.Sleep(time.Second)
		begun := time.Now()
		pause := func(ms time.Duration) func(context.Context) error {
			return func(context.Context) error { time.Sleep(ms * time.Millisecond); return nil }
		}
		_ = Do(ctx, Step, "look", pause(50))
		_ = Do(ctx, Stage, "up", func(ctx context.Context) error {
			return Do(ctx, Step, "apply", func(ctx context.Context) error {
				time.Sleep(2 * time.Millisecond)
				return Do(ctx, Machine, "calico1", pause(38))
			})
		})
		_ = Do(ctx, Stage, "etcd", func(ctx context.Context) error { return Do(ctx, Step, "apply", pause(1250)) })
		var b strings.Builder
		if err := tree.Timeline(&b, begun); err != nil {
			t.Fatal(err)
		}
		want := "```mermaid\ngantt\n    dateFormat x\n    axisFormat %M:%S\n" +
			"    section the whole lab\n    look (0.05 s) :0, 50\n" +
			"    section up\n    apply (0.04 s) :50, 90\n    apply calico1 (0.04 s) :52, 90\n" +
			"    section etcd\n    apply (1.25 s) :90, 1340\n```\n"
		if diff := cmp.Diff(want, b.String()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// TestLeft: what is left is told by earlier runs of the same kind, and by what is counted.
func TestLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "times.json")
		// run makes an artifact where make says for how long, then brings up a lab in 8 s. It returns what was left at its beginning, and 2 s later.
		run := func(of string, make time.Duration) (first, then time.Duration) {
			tree := &Tree{}
			tree.Expect(of, ReadTimes(file))
			ctx := In(t.Context(), tree)
			up, end := Begin(ctx, Stage, "up")
			if make > 0 {
				making, done := Begin(up, Making, "compiling")
				first = tree.Left()
				time.Sleep(2 * time.Second)
				Report(making, Count{1, 4, "packages", true})
				then = tree.Left()
				time.Sleep(make - 2*time.Second)
				done(nil)
				time.Sleep(8 * time.Second)
			} else {
				first = tree.Left()
				time.Sleep(2 * time.Second)
				then = tree.Left()
				time.Sleep(6 * time.Second)
			}
			end(nil)
			times, changed := tree.Reached()
			if !changed {
				t.Error("nothing is new")
			}
			if err := times.WriteFile(file); err != nil {
				t.Fatal(err)
			}
			return first, then
		}
		for i, c := range []struct {
			of          string
			make        time.Duration
			first, then time.Duration
		}{
			{"3 machines", 10 * time.Second, 0, 0},
			{"3 machines", 0, 8 * time.Second, 6 * time.Second},
			{"3 machines", 10 * time.Second, 18 * time.Second, 16 * time.Second},
			{"21 machines", 0, 0, 0},
		} {
			if first, then := run(c.of, c.make); first != c.first || then != c.then {
				t.Errorf("run %d: %s left, then %s; want %s, %s", i, first, then, c.first, c.then)
			}
		}
	})
}

// TestExtrapolated: how long a making takes that was never seen is told by its parts, once there are enough of them.
func TestExtrapolated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tree := &Tree{}
		making, _ := Begin(In(t.Context(), tree), Making, "compiling")
		left := func() time.Duration { return tree.Running()[0].Left }
		time.Sleep(time.Minute) // it fetches what it compiles
		Report(making, Count{0, 100, "packages", true})
		time.Sleep(10 * time.Second)
		for _, c := range []struct {
			done, total int
			whole       bool
			want        time.Duration
		}{{0, 0, true, 0}, {1, 100, true, 0}, {25, 100, true, 30 * time.Second}, {25, 100, false, 0}, {100, 100, true, 0}} {
			Report(making, Count{c.done, c.total, "packages", c.whole})
			if got := left(); got != c.want {
				t.Errorf("%d of %d: %s, want %s", c.done, c.total, got, c.want)
			}
		}
	})
}

// TestReadTimes: whatever is in the file, it is no reason to fail.
func TestReadTimes(t *testing.T) {
	file := filepath.Join(t.TempDir(), "times.json")
	for _, text := range []string{"", "{", "[1]", `{"a": "b"}`, `{"a": -1}`} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		tree := &Tree{}
		tree.Expect("a", ReadTimes(file))
		if tree.Left() != 0 {
			t.Errorf("%q: %s left", text, tree.Left())
		}
	}
	if err := (Times{"a": 1}).WriteFile(filepath.Join(file, "none")); err == nil {
		t.Error("no error, and no file")
	}
}
