// Package check compares a lab with what it is to be: named conditions on facts, and the report of what holds and what
// doesn't. It asks the machines nothing.
package check

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

// Condition is one thing that must hold. Its test is a pure function of facts.
type Condition struct {
	ID       string // stable, with the machine behind a slash: "bgp/calico1"
	Stage    string // that owns it: the stage's apply makes it hold
	Machine  string // "" concerns the whole lab
	Expected string // "BGP is Established with every other node"
	Try      string // the command to look further with
	Mend     string // what the stage does about it: "starts the container"
	Left     string // why no stage mends it, and what to do; "" where one does
	Probe    bool   // whether packets have to be sent for it
	Test     func(*fact.Lab) Finding
}

// State is what a condition came to.
type State string

// The states.
const (
	Holds   State = "holds"
	Broken  State = "broken"
	Unknown State = "unknown" // it couldn't be looked at
	Refused State = "refused" // broken, and only a person can decide what to do: nothing is touched before
)

// Finding is what a test found.
type Finding struct {
	State State
	Found string // what was seen, for people
	Left  string // Condition.Left, where it depends on what was seen
	Try   string // Condition.Try, likewise
	// Blocks says that nothing can be mended as long as it is so.
	Blocks bool
}

// OK is the finding of a condition that holds.
func OK(format string, args ...any) Finding {
	return Finding{State: Holds, Found: fmt.Sprintf(format, args...)}
}

// Not is the finding of a condition that doesn't hold.
func Not(format string, args ...any) Finding {
	return Finding{State: Broken, Found: fmt.Sprintf(format, args...)}
}

// CantSee is the finding where the facts are missing.
func CantSee(format string, args ...any) Finding {
	return Finding{State: Unknown, Found: fmt.Sprintf(format, args...)}
}

// Refuse is the finding of what a person has to decide first, with what to do.
func Refuse(format string, args ...any) Finding {
	return Finding{State: Refused, Found: fmt.Sprintf(format, args...)}
}

// Result is one condition's outcome. Its JSON form is part of `check -json`.
type Result struct {
	ID       string `json:"id"`
	Stage    string `json:"stage"`
	Machine  string `json:"machine,omitempty"`
	State    State  `json:"state"`
	Expected string `json:"expected"`
	Found    string `json:"found"`
	Try      string `json:"try,omitempty"` // this and the next two only where it doesn't hold
	Mend     string `json:"mend,omitempty"`
	Left     string `json:"left,omitempty"`
	Blocks   bool   `json:"-"`
	Probe    bool   `json:"-"` // see Condition.Probe
}

// OK says whether the condition holds.
func (r Result) OK() bool { return r.State == Holds }

// Report is every condition's outcome, from the machines up to the workloads: the first that doesn't hold is the cause
// rather than a consequence. Its JSON form is what `check -json` prints.
type Report struct {
	Lab     string   `json:"lab"`
	OK      bool     `json:"ok"`
	Results []Result `json:"conditions"`
	// Challenge is the one that is on: then only what can be seen from outside is among Results.
	Challenge string        `json:"challenge,omitempty"`
	Took      time.Duration `json:"-"`
	Millis    int64         `json:"milliseconds"`
}

// Run tests conditions on facts.
func Run(conditions []Condition, f *fact.Lab) Report {
	r := Report{OK: true, Results: make([]Result, 0, len(conditions))}
	for _, c := range conditions {
		found := c.Test(f)
		res := Result{ID: c.ID, Stage: c.Stage, Machine: c.Machine, State: found.State, Expected: c.Expected, Found: found.Found, Blocks: found.Blocks, Probe: c.Probe}
		if !res.OK() {
			res.Found = cmp.Or(res.Found, "the machine says nothing about it")
			res.Try, res.Mend = cmp.Or(found.Try, c.Try), c.Mend
			if res.State != Unknown { // a stage may be able to do something about what it is unknown for
				res.Left = cmp.Or(found.Left, c.Left)
			}
			r.OK = false
		}
		r.Results = append(r.Results, res)
	}
	return r
}

// Since notes how long it took.
func (r *Report) Since(start time.Time) {
	r.Took = time.Since(start)
	r.Millis = r.Took.Milliseconds()
}

// Unmet are the results that don't hold.
func (r *Report) Unmet() []Result {
	return slices.DeleteFunc(slices.Clone(r.Results), Result.OK)
}

// Blocked says whether nothing can be mended as long as something is so, which the report says.
func (r *Report) Blocked() bool {
	return slices.ContainsFunc(r.Results, func(res Result) bool { return res.Blocks })
}

// Of are the results of one stage.
func (r *Report) Of(stage string) Report {
	part := Report{Lab: r.Lab, OK: true, Took: r.Took, Millis: r.Millis}
	for _, res := range r.Results {
		if res.Stage == stage {
			part.Results = append(part.Results, res)
			part.OK = part.OK && res.OK()
		}
	}
	return part
}

// Count says how many results are in a state.
func (r *Report) Count(s State) int {
	n := 0
	for _, res := range r.Results {
		if res.State == s {
			n++
		}
	}
	return n
}

// Tally says how many don't hold: "2 of 58 conditions don't hold".
func (r *Report) Tally() string {
	verb := "don't"
	n := len(r.Unmet())
	if n == 1 {
		verb = "doesn't"
	}
	return fmt.Sprintf("%d of %d conditions %s hold", n, len(r.Results), verb)
}

// Mendable says whether a stage can do something about a result.
func (r Result) Mendable() bool { return r.State != Holds && r.State != Refused && r.Left == "" }
