package check

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

// condition is one whose test finds f, whatever the facts.
func condition(id, stage string, f Finding) Condition {
	return Condition{ID: id, Stage: stage, Machine: "m", Expected: "it is so", Try: "look", Mend: "mends it", Test: func(*fact.Lab) Finding { return f }}
}

func TestRun(t *testing.T) {
	facts := fact.Lab{Unreached: map[string]string{"calico1": "why"}}
	byFacts := condition("machine", "up", Finding{})
	byFacts.Test = func(f *fact.Lab) Finding { return Not("%s", f.Unreached["calico1"]) }
	yours := condition("yours", "up", Not("that"))
	yours.Left = "always yours"
	depends := condition("depends", "up", Finding{State: Broken, Found: "that", Left: "yours this time"})
	depends.Left = "always yours"
	got := Run([]Condition{condition("holds", "up", OK("%d%%", 100)), byFacts, condition("hidden", "up", CantSee("no %s", "answer")), condition("no", "up", Refuse("first %s", "this")), yours, depends}, &facts)
	result := func(id string, s State, found, left string) Result {
		return Result{ID: id, Stage: "up", Machine: "m", State: s, Expected: "it is so", Found: found, Try: "look", Mend: "mends it", Left: left}
	}
	want := Report{Results: []Result{
		{ID: "holds", Stage: "up", Machine: "m", State: Holds, Expected: "it is so", Found: "100%"}, // nothing to try
		result("machine", Broken, "why", ""),
		result("hidden", Unknown, "no answer", ""),
		result("no", Refused, "first this", ""),
		result("yours", Broken, "that", "always yours"),
		result("depends", Broken, "that", "yours this time"),
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, f := range []Finding{Not("x"), CantSee("x"), Refuse("x")} {
		if r := Run([]Condition{condition("a", "up", OK("x")), condition("b", "up", f), condition("c", "up", OK("x"))}, &facts); r.OK {
			t.Errorf("OK with a condition that is %s", f.State)
		}
	}
	if r := Run([]Condition{condition("a", "up", OK("x"))}, &facts); !r.OK {
		t.Error("not OK although everything holds")
	}
}

func TestReport(t *testing.T) {
	r := Run([]Condition{
		condition("a", "up", OK("")), condition("b", "up", Not("")), condition("c", "etcd", OK("")), condition("d", "etcd", OK("")),
		condition("e", "calico", CantSee("")), condition("f", "calico", Not("")), condition("g", "calico", Refuse("")),
	}, nil)
	r.Lab = "lab"
	r.Since(time.Now().Add(-2 * time.Second))
	if r.Took < 2*time.Second || r.Millis != r.Took.Milliseconds() {
		t.Errorf("took %s, %d ms", r.Took, r.Millis)
	}
	for state, n := range map[State]int{Holds: 3, Broken: 2, Unknown: 1, Refused: 1} {
		if got := r.Count(state); got != n {
			t.Errorf("%d are %s, want %d", got, state, n)
		}
	}
	ids := func(all []Result) string {
		s := ""
		for _, res := range all {
			s += res.ID
		}
		return s
	}
	if got := ids(r.Unmet()); got != "befg" || len(r.Results) != 7 || ids(r.Results) != "abcdefg" {
		t.Errorf("unmet: %s of %s", got, ids(r.Results))
	}
	for stage, want := range map[string]struct {
		ids string
		ok  bool
	}{"up": {"ab", false}, "etcd": {"cd", true}, "calico": {"efg", false}, "plumb": {"", true}} {
		if part := r.Of(stage); ids(part.Results) != want.ids || part.OK != want.ok || part.Lab != "lab" || part.Took != r.Took {
			t.Errorf("%s: %+v", stage, part)
		}
	}
}

func TestTally(t *testing.T) {
	for n, want := range []string{"0 of 3 conditions don't hold", "1 of 3 conditions doesn't hold", "2 of 3 conditions don't hold"} {
		all := []Condition{condition("a", "up", OK("")), condition("b", "up", OK("")), condition("c", "up", OK(""))}
		for i := range n {
			all[i] = condition("a", "up", Not(""))
		}
		if r := Run(all, nil); r.Tally() != want {
			t.Errorf("got %q, want %q", r.Tally(), want)
		}
	}
}

func TestMendable(t *testing.T) {
	for _, c := range []struct {
		r    Result
		want bool
	}{
		{Result{State: Broken}, true}, {Result{State: Unknown}, true}, {Result{State: Holds}, false}, {Result{State: Refused}, false},
		{Result{State: Broken, Left: "yours"}, false}, {Result{State: Unknown, Left: "yours"}, false},
	} {
		if got := c.r.Mendable(); got != c.want || c.r.OK() != (c.r.State == Holds) {
			t.Errorf("%+v: mendable %t, OK %t", c.r, got, c.r.OK())
		}
	}
}

// TestJSON: programs read `check -json`.
func TestJSON(t *testing.T) {
	r := Run([]Condition{condition("a/m", "up", OK("fine")), condition("b/m", "up", Not("bad"))}, nil)
	r.Lab, r.Millis = "lab", 12
	got, err := json.MarshalIndent(r, "", "  ")
	const want = `{
  "lab": "lab",
  "ok": false,
  "conditions": [
    {
      "id": "a/m",
      "stage": "up",
      "machine": "m",
      "state": "holds",
      "expected": "it is so",
      "found": "fine"
    },
    {
      "id": "b/m",
      "stage": "up",
      "machine": "m",
      "state": "broken",
      "expected": "it is so",
      "found": "bad",
      "try": "look",
      "mend": "mends it"
    }
  ],
  "milliseconds": 12
}`
	if diff := cmp.Diff(want, string(got)); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if none, err := json.Marshal(Run(nil, nil)); err != nil || string(none) != `{"lab":"","ok":true,"conditions":[],"milliseconds":0}` {
		t.Errorf("nothing to check: %s, %v", none, err)
	}
}
