package stage

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

// TestApplyOrder: a stage is applied when those that it needs have been, and no sooner; others don't wait for it.
func TestApplyOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, w := toys(t)
		w.made = []string{"up", "there"}
		stages := []Stage{w.toy("up", 0), w.toy("there", 0, "up"), w.toy("slow", 3*time.Second, "up"), w.toy("quick", time.Second, "up"), w.toy("last", time.Second, "slow", "quick", "there")}
		e.learn(w.seen(0))
		start := time.Now()
		changed, err := e.apply(t.Context(), stages, 0)
		if err != nil || !changed {
			t.Fatalf("changed %t, %v", changed, err)
		}
		if diff := cmp.Diff([]string{"up", "there", "quick", "slow", "last"}, w.made); diff != "" {
			t.Errorf("made (-want +got):\n%s", diff)
		}
		if took := time.Since(start); took != 4*time.Second {
			t.Errorf("it took %s", took)
		}
		slices.Sort(w.told)
		want := []string{"already there", "done last", "done quick", "done slow", "started last: there is no last", "started quick: there is no quick", "started slow: there is no slow"}
		if diff := cmp.Diff(want, w.told); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
		w.told, w.looks = nil, nil
		if changed, err := e.apply(t.Context(), stages, 1); changed || err != nil || len(w.looks)+len(w.told) > 0 {
			t.Errorf("nothing is left to do: changed %t, %v, looks %q, told %q", changed, err, w.looks, w.told)
		}
	})
}

// TestPrepare: what needs nothing but the machines is done while others are at work.
func TestPrepare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, w := toys(t)
		start := time.Now()
		second := w.toy("second", time.Second, "first")
		second.Prepare = func(context.Context, *Env, Job) error { time.Sleep(2 * time.Second); return nil }
		if _, err := e.apply(t.Context(), []Stage{w.toy("up", 0), w.toy("first", 2*time.Second, "up"), second}, 0); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("it took %s", took)
		}
	})
}

// TestSettled: a stage whose effect has to be seen holds back those that need it until it was looked at.
func TestSettled(t *testing.T) {
	for settled, want := range map[bool]time.Duration{false: 2 * time.Second, true: 3 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			e, w := toys(t)
			w.takes = time.Second
			first, second := w.toy("first", time.Second, "up"), w.toy("second", 0, "first")
			first.Settled = settled
			applied := make(chan time.Duration, 1)
			start := time.Now()
			apply := second.Apply
			second.Apply = func(ctx context.Context, e *Env, j Job) error {
				time.Sleep(time.Second)
				applied <- time.Since(start)
				return apply(ctx, e, j)
			}
			if _, err := e.apply(t.Context(), []Stage{w.toy("up", 0), first, second}, 0); err != nil {
				t.Fatal(err)
			}
			if got := <-applied; got != want {
				t.Errorf("settled %t: applied after %s, want %s", settled, got, want)
			}
		})
	}
}

// TestApplyFails: what fails ends the others, those that need it aren't applied, and the error names the stage.
func TestApplyFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, w := toys(t)
		bad := w.toy("bad", 0, "up")
		bad.Apply = func(context.Context, *Env, Job) error { time.Sleep(time.Second); return errors.New("no space") }
		start := time.Now()
		changed, err := e.apply(t.Context(), []Stage{w.toy("up", 0), bad, w.toy("after", 0, "bad"), w.toy("long", time.Hour, "up")}, 0)
		if err == nil || err.Error() != "bad: no space" || !changed {
			t.Errorf("changed %t, error %v", changed, err)
		}
		if took := time.Since(start); took != time.Second || len(w.made) > 0 {
			t.Errorf("it took %s, and made %q", took, w.made)
		}
		failed := slices.DeleteFunc(w.told, func(s string) bool { return !strings.HasPrefix(s, "failed") })
		slices.Sort(failed)
		if diff := cmp.Diff([]string{"failed after: context canceled", "failed bad: bad: no space", "failed long: context canceled"}, failed); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// TestDoneByAnother: what was unmet when a stage began may be met by one that it waited for.
func TestDoneByAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, w := toys(t)
		first, second := w.toy("first", time.Second, "up"), w.toy("second", time.Hour, "first")
		apply := first.Apply
		first.Settled = true
		first.Apply = func(ctx context.Context, e *Env, j Job) error {
			w.making("second")
			return apply(ctx, e, j)
		}
		start := time.Now()
		if _, err := e.apply(t.Context(), []Stage{w.toy("up", 0), first, second}, 0); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took != time.Second || !slices.Contains(w.told, "done second") {
			t.Errorf("it took %s; told %q", took, w.told)
		}
	})
}

// TestTakesAMoment: what a stage applied may only show after some looks; it isn't waited for without end.
func TestTakesAMoment(t *testing.T) {
	for name, c := range map[string]struct {
		shown int // the look that shows it
		slow  int
		told  string
		took  time.Duration // at most
	}{
		"at once":       {0, 1, "done late", 0},
		"third look":    {2, 1, "done late", 300 * time.Millisecond},
		"never":         {1000, 1, "pending late: there is no late", settleTime + time.Second},
		"never, slowly": {1000, 3, "pending late: there is no late", 3*settleTime + time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			e, w := toys(t)
			e.Slow = c.slow
			w.seen = func(look int) fact.Lab {
				d := fact.Known(fact.Datastore{})
				if look >= c.shown {
					d.Value.Profiles = []string{"late"}
				}
				return fact.Lab{Datastore: d}
			}
			start := time.Now()
			if _, err := e.apply(t.Context(), []Stage{w.toy("up", 0), w.toy("late", 0, "up")}, 0); err != nil {
				t.Fatal(err)
			}
			took := time.Since(start)
			if w.told[len(w.told)-1] != c.told || took > c.took || took < c.took-time.Second {
				t.Errorf("%s: told %q after %s and %d looks", name, w.told, took, len(w.looks))
			}
		})
	}
}

// TestRounds: packets that didn't arrive in the round before are a reason to apply a stage, and it is told which round it is.
func TestRounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, w := toys(t)
		w.made = []string{"up", "plumb"}
		e.learn(w.seen(0))
		var jobs []Job
		s := w.toy("plumb", 0, "up")
		held := s.Conditions
		s.Conditions = func(e *Env) []check.Condition {
			return append(held(e), check.Condition{ID: "reach", Probe: true, Mend: "again", Test: func(f *fact.Lab) check.Finding {
				if f.Probes["calico1"].Unknown != "" {
					return check.Not("%s", f.Probes["calico1"].Unknown)
				}
				return check.OK("it arrives")
			}})
		}
		s.Apply = func(_ context.Context, _ *Env, j Job) error { jobs = append(jobs, j); return nil }
		e.facts.Probes = map[string]fact.Seen[[]fact.Probe]{"calico1": fact.Unknown[[]fact.Probe]("lost")}
		for round := range 2 {
			e.lost = round == 1 // after the first round nothing but packets was unmet
			if changed, err := e.apply(t.Context(), []Stage{w.toy("up", 0), s}, round); err != nil || changed != (round == 1) {
				t.Errorf("round %d: changed %t, %v", round, changed, err)
			}
		}
		if len(jobs) != 1 || jobs[0].Round != 1 || len(jobs[0].Unmet) != 1 || jobs[0].Unmet[0].ID != "reach" || jobs[0].Unmet[0].Found != "lost" {
			t.Errorf("jobs: %+v", jobs)
		}
	})
}

func TestAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		applied := map[string]chan struct{}{"a": make(chan struct{}), "b": make(chan struct{})}
		done := make(chan error, 1)
		go func() { done <- after(ctx, Stage{Needs: []string{"a", "b"}}, applied) }()
		for _, need := range []string{"b", "a"} {
			synctest.Wait()
			if len(done) > 0 {
				t.Fatalf("it didn't wait for %s", need)
			}
			close(applied[need])
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		go func() {
			done <- after(ctx, Stage{Needs: []string{"c"}}, map[string]chan struct{}{"c": make(chan struct{})})
		}()
		synctest.Wait()
		cause := errors.New("interrupted")
		cancel(cause)
		if err := <-done; !errors.Is(err, cause) {
			t.Errorf("interrupted: %v", err)
		}
	})
}
