// Package check proves that a lab works: one named condition each, read-only, with one line of what was seen.
package check

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
)

// Subject is the lab that is looked at.
type Subject struct {
	Lab   *lab.Lab
	Pins  artifact.Pins
	Hosts map[string]*remote.Host // by machine name
}

// Condition is one thing that must hold.
type Condition struct {
	Name string // what must hold: "BGP 192.168.4.5 -> 192.168.4.6 is Established"
	Hint string // the command to look further with, when it doesn't
	// Test gives what was seen, and an error when the condition does not hold.
	Test func(ctx context.Context) (seen string, err error)
}

// Result is one condition's outcome. Its JSON form is part of `check -json`.
type Result struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	Seen string `json:"seen"`
	Hint string `json:"hint,omitempty"` // only where OK is false
}

// Report is every condition's outcome, in a fixed order. Its JSON form is what `check -json` prints.
type Report struct {
	Lab     string        `json:"lab"`
	OK      bool          `json:"ok"`
	Results []Result      `json:"results"`
	Took    time.Duration `json:"-"`
	Millis  int64         `json:"milliseconds"`
}

// Failed gives the results that are not OK.
func (r Report) Failed() []Result {
	var failed []Result
	for _, res := range r.Results {
		if !res.OK {
			failed = append(failed, res)
		}
	}
	return failed
}

// Run tests all conditions side by side. One that doesn't hold is looked at again until limit is over: BIRD and
// Felix take a moment.
func Run(ctx context.Context, s Subject, limit time.Duration) Report {
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	conditions := Conditions(s)
	report := Report{Lab: s.Lab.Name, OK: true, Results: make([]Result, len(conditions))}
	var wg sync.WaitGroup
	for i, c := range conditions {
		wg.Go(func() { report.Results[i] = c.poll(ctx) })
	}
	wg.Wait()
	report.OK = len(report.Failed()) == 0
	report.Took = time.Since(start)
	report.Millis = report.Took.Milliseconds()
	return report
}

// poll tests until the condition holds or ctx ends, and keeps the last finding that was not made by ctx's end.
func (c Condition) poll(ctx context.Context) Result {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	r := Result{Name: c.Name, Hint: c.Hint, Seen: "no answer in time"}
	for {
		seen, err := c.Test(ctx)
		if err == nil {
			return Result{Name: c.Name, OK: true, Seen: seen}
		}
		if ctx.Err() == nil {
			r.Seen = err.Error()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return r
		}
	}
}

var errNoWorkload = errors.New("the workload there is not plumbed")
