package stage

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/progress"
	"github.com/calico-cni-lab/lab/magefiles/internal/spec"
)

// Looker looks at machines.
type Looker interface {
	// Look looks at some machines, all at once; what until returns is waited for on the machine before. A machine that
	// doesn't answer is among the facts' unreached ones.
	Look(ctx context.Context, machines []lab.Machine, until func(lab.Machine) *fact.Until) fact.Lab
	// Probe sends packets from every plumbed workload to all the others.
	Probe(ctx context.Context, f *fact.Lab) map[string]fact.Seen[[]fact.Probe]
}

// Reporter reports what happens.
type Reporter interface {
	Already(stage, text string)
	Yours(stage, why string) // what isn't done is left to the user
	Started(stage, why string)
	Done(stage, text string, took time.Duration)
	Pending(stage, why string, took time.Duration) // applied, and not there yet
	Failed(stage string, err error, took time.Duration)
}

// Engine brings stages about.
type Engine struct {
	Env    *Env
	Look   Looker
	Report Reporter
	// Spec returns the spec with its artifacts, which may have to be made first.
	Spec func(context.Context) (*spec.Spec, error)
	// Slow is how much longer than this computer the machines take for the same work.
	Slow int

	lost bool // whether packets, and nothing else, were what the last round left

	mu    sync.Mutex
	facts fact.Lab
}

const (
	rounds     = 3               // looks and applies before it is given up; fewer where the larger hammer has moved nothing
	settleTime = 8 * time.Second // what BIRD, confd and Felix take to catch up with a change, at most
)

// Goal is what is wanted of a lab.
type Goal struct {
	Stages []string // their names; what they need comes along
	Probe  bool     // whether packets have to arrive too
}

// Reach looks, applies what is unmet, and looks again, until every condition of the goal's stages holds or it is given up. The
// report is the last look's. The error is that of a stage that failed; a condition that doesn't hold is no error here.
func (e *Engine) Reach(ctx context.Context, g Goal) (check.Report, error) {
	start := time.Now()
	stages := Closure(g.Stages...)
	done, up, err := e.first(ctx, stages)
	if err != nil {
		return check.Report{}, err
	}
	if done {
		report := e.evaluate(ctx, stages, false)
		report.Since(start)
		return report, nil
	}
	var report check.Report
	var before []string
	for round := range rounds {
		changed, err := e.apply(ctx, stages, round)
		var late lateError
		if errors.As(err, &late) && round+1 < rounds && context.Cause(ctx) == nil {
			if err := e.look(ctx); err != nil {
				return report, err
			}
			continue
		}
		if err != nil {
			return report, err
		}
		report, err = e.settle(ctx, stages, g.Probe, changed || up)
		up = false
		report.Since(start)
		left := unmet(report)
		if err != nil || len(left) == 0 {
			return report, err
		}
		now := ids(left)
		if round > 0 && slices.Equal(now, before) {
			return report, nil
		}
		before = now
		e.lost = !slices.ContainsFunc(left, func(r check.Result) bool { return !r.Probe })
	}
	return report, nil
}

// ids are what conditions are called.
func ids(results []check.Result) (all []string) {
	for _, r := range results {
		all = append(all, r.ID)
	}
	return all
}

// Facts are the newest.
func (e *Engine) Facts() fact.Lab {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.facts.Clone()
}

func (e *Engine) learn(f fact.Lab) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.facts.Merge(f)
}

// Peek looks once and compares, and changes nothing.
func (e *Engine) Peek(ctx context.Context, g Goal) (check.Report, error) {
	start := time.Now()
	s, err := e.Spec(ctx)
	if err != nil {
		return check.Report{}, err
	}
	e.Env.Spec = s
	if err := e.look(ctx); err != nil {
		return check.Report{}, err
	}
	report := e.evaluate(ctx, Closure(g.Stages...), g.Probe)
	report.Since(start)
	return report, context.Cause(ctx)
}

// look looks at all machines that run.
func (e *Engine) look(ctx context.Context) error {
	machines, err := e.Env.Provider.Status(ctx)
	if err != nil {
		return err
	}
	f := unreached(machines)
	running := slices.DeleteFunc(slices.Clone(e.Env.Lab.Machines), func(m lab.Machine) bool { _, off := f.Unreached[m.Name]; return off })
	if len(running) > 0 {
		f.Merge(e.Look.Look(ctx, running, nil))
	}
	e.learn(f)
	return context.Cause(ctx)
}

// first looks, and does the stage up, which nothing can be done without. What only a person can decide is refused before anything
// is touched. done says that there is nothing more to do: a machine runs and nobody can log in, or something else comes first. up says
// whether the stage had something to do: what the machines see of one another has changed since.
func (e *Engine) first(ctx context.Context, stages []Stage) (done, up bool, err error) {
	if err := progress.Do(ctx, progress.Step, "look", e.look); err != nil {
		return false, false, err
	}
	seen := e.evaluate(ctx, stages, false)
	if err := refusal(seen); err != nil {
		return false, false, err
	}
	f := e.Facts()
	if done = len(f.Unreached) > 0 && len(f.Off) == 0 || seen.Blocked(); !done {
		t := e.turn(stages[0], 0)
		t.wait = func() error { up = true; return nil }
		if err := t.run(ctx); err != nil || len(stages) == 1 {
			return false, up, err
		}
	}
	s, err := e.Spec(ctx)
	if err != nil {
		return false, up, err
	}
	e.Env.Spec = s
	return done, up, refusal(e.evaluate(ctx, stages, false))
}

// unreached are the facts of machines that don't all run.
func unreached(machines []machine.Status) fact.Lab {
	f := fact.Lab{At: time.Now(), Unreached: map[string]string{}, Off: map[string]bool{}, Machines: map[string]fact.Machine{}, Datastore: fact.Unknown[fact.Datastore]("the etcd machine doesn't run")}
	for _, m := range machines {
		if m.State != machine.Running {
			f.Unreached[m.Machine], f.Off[m.Machine] = "the machine is "+string(m.State), true
		}
	}
	return f
}

// RefusedError is what only a person can decide; nothing was touched.
type RefusedError struct{ Results []check.Result }

func (e *RefusedError) Error() string {
	var all []string
	for _, r := range e.Results {
		if r.Machine == "" {
			all = append(all, r.Stage+": "+r.Found)
			continue
		}
		for line := range strings.SplitSeq(r.Found, "\n") { // each a fault of its own
			all = append(all, r.Stage+": "+r.Machine+": "+line)
		}
	}
	return strings.Join(all, "\n")
}

// refusal is the error of a report in which something is refused.
func refusal(r check.Report) error {
	all := slices.DeleteFunc(slices.Clone(r.Results), func(res check.Result) bool { return res.State != check.Refused })
	if len(all) == 0 {
		return nil
	}
	return &RefusedError{all}
}

// evaluate compares the newest facts with the conditions of stages.
func (e *Engine) evaluate(ctx context.Context, stages []Stage, probe bool) check.Report {
	f := e.Facts()
	if probe {
		f.Probes = e.Look.Probe(ctx, &f)
		e.mu.Lock()
		e.facts.Probes = f.Probes
		e.mu.Unlock()
	}
	conditions := slices.DeleteFunc(Conditions(e.Env, stages), func(c check.Condition) bool { return c.Probe && !probe })
	r := check.Run(conditions, &f)
	r.Lab = e.Env.Lab.Name
	return r
}

// apply runs the stages but the first, each as soon as those that it needs have been applied. changed says whether any had
// something to do.
func (e *Engine) apply(ctx context.Context, stages []Stage, round int) (changed bool, err error) {
	if round > 0 { // what is up may have gone down again
		if err := e.turn(stages[0], round).run(ctx); err != nil {
			return true, err
		}
	}
	applied := map[string]chan struct{}{}
	for _, s := range stages {
		applied[s.Name] = make(chan struct{})
	}
	close(applied[stages[0].Name])
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	for _, s := range stages[1:] {
		g.Go(func() error {
			did := false
			t := e.turn(s, round)
			t.wait = func() error {
				did = true
				return after(ctx, s, applied)
			}
			t.next = sync.OnceFunc(func() { close(applied[s.Name]) })
			err := t.run(ctx)
			mu.Lock()
			defer mu.Unlock()
			changed = changed || did
			return err
		})
	}
	err = g.Wait()
	return changed, err
}

// after waits until the stages that s needs have been applied.
func after(ctx context.Context, s Stage, applied map[string]chan struct{}) error {
	for _, need := range s.Needs {
		select {
		case <-applied[need]:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// unmet are the results that a stage is to do something about.
func unmet(r check.Report) []check.Result {
	return slices.DeleteFunc(r.Unmet(), func(res check.Result) bool { return !res.Mendable() })
}

// until calls done until it says so, or for as long as a change takes to arrive everywhere.
func (e *Engine) until(ctx context.Context, done func() bool) error {
	within, cancel := context.WithTimeout(ctx, settleTime*time.Duration(e.Slow))
	defer cancel()
	pause := wait.Backoff{Duration: 100 * time.Millisecond, Factor: 2, Steps: 4, Cap: time.Second}.DelayFunc()
	// An error is that time is over: what doesn't hold is in the report.
	_ = pause.Until(within, true, false, func(context.Context) (bool, error) { return done(), nil })
	return context.Cause(ctx)
}

// concerned are the machines that results are about, and those of the datastore, which most conditions are about as well.
func concerned(l *lab.Lab, results []check.Result) []lab.Machine {
	return slices.DeleteFunc(slices.Clone(l.Machines), func(m lab.Machine) bool {
		return m.Role != lab.RoleEtcd && !slices.ContainsFunc(results, func(r check.Result) bool { return r.Machine == m.Name })
	})
}

// settle returns the report of all stages. Where something was changed it looks at everything once more, and then for a while at what
// doesn't hold and may come by itself.
func (e *Engine) settle(ctx context.Context, stages []Stage, probe, changed bool) (r check.Report, err error) {
	sent, look := 0, e.Env.Lab.Machines
	err = progress.Do(ctx, progress.Step, "look", func(ctx context.Context) error {
		return e.until(ctx, func() bool {
			if changed {
				e.learn(e.Look.Look(ctx, look, nil))
			}
			r = e.evaluate(ctx, stages, false)
			if probe && len(unmet(r)) == 0 { // packets are only worth sending where everything else holds
				r = e.evaluate(ctx, stages, true)
				sent++
			}
			look = concerned(e.Env.Lab, unmet(r))
			// One lost packet may be chance.
			return len(unmet(r)) == 0 || !changed && sent != 1
		})
	})
	if probe && sent == 0 && err == nil {
		r = e.evaluate(ctx, stages, true)
	}
	return r, err
}
