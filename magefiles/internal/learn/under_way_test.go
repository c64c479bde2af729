package learn

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/calico-cni-lab/lab/magefiles/internal/baseline"
	"github.com/calico-cni-lab/lab/magefiles/internal/learn/lesson"
	"github.com/calico-cni-lab/lab/magefiles/internal/run"
)

// TestKeptAndResumed: a lesson that was left goes on at its step, with what was captured; no other one begins meanwhile.
func TestKeptAndResumed(t *testing.T) {
	r := &Room{run: &run.Run{StateDir: t.TempDir()}, states: map[string]string{"calico1": "KEY=1"}}
	c := lesson.Chapter{Name: "the-route", Steps: make([]lesson.Step, 4)}
	captured := lesson.Captures{"key": "/var/run/docker/netns/1"}
	if err := r.Keep(t.Context(), c, 2, captured); err != nil {
		t.Fatal(err)
	}
	begun, _, _ := baseline.ReadLesson(r.run.StateDir)
	captured["later"] = "in the step that was left"
	r.states = nil // as for the next process
	step, captures, err := r.begin(t.Context(), c)
	if r.states["calico1"] != "KEY=1" {
		t.Errorf("the shells were %v", r.states)
	}
	if diff := cmp.Diff(lesson.Captures{"key": "/var/run/docker/netns/1"}, captures); step != 2 || diff != "" || err != nil {
		t.Errorf("step %d, %v (-want +got):\n%s", step, err, diff)
	}
	if _, _, err := r.begin(t.Context(), lesson.Chapter{Name: "bgp"}); err == nil || !strings.Contains(err.Error(), `lesson "the-route" is under way (step 3`) {
		t.Errorf("another one: %v", err)
	}
	if err := r.Keep(t.Context(), c, 3, nil); err != nil {
		t.Fatal(err)
	}
	if l, _, _ := baseline.ReadLesson(r.run.StateDir); !l.Started.Equal(begun.Started) || l.Step != 4 {
		t.Errorf("the next step: %+v, begun %v", l, begun.Started)
	}
}

func TestResume(t *testing.T) {
	c := lesson.Chapter{Name: "bgp", Steps: make([]lesson.Step, 2)}
	for kept, want := range map[int]int{0: 0, 1: 0, 2: 1, 3: 1} { // written anew, it may be shorter
		step, captures, err := resume(baseline.Lesson{Chapter: "bgp", Step: kept}, c)
		if step != want || captures == nil || err != nil {
			t.Errorf("kept at %d: %d, %v, %v", kept, step, captures, err)
		}
	}
}

func TestProgress(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	if p, err := ReadProgress(); len(p.Done) != 0 || err != nil {
		t.Errorf("nothing is done: %v, %v", p, err)
	}
	for _, name := range []string{"bgp", "the-lab"} {
		if err := finish(name); err != nil {
			t.Fatal(err)
		}
	}
	p, err := ReadProgress()
	if _, ok := p.Done["bgp"]; len(p.Done) != 2 || !ok || err != nil {
		t.Errorf("%v, %v", p, err)
	}
}
