package stage

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
	"github.com/calico-cni-lab/lab/magefiles/internal/spec"
)

// world is a lab without machines: what a look at it shows, and what was done to it.
type world struct {
	mu     sync.Mutex
	seen   func(look int) fact.Lab // what the look of this number shows; 0 is the first
	probes func(probe int) map[string]fact.Seen[[]fact.Probe]
	takes  time.Duration // each look
	looks  []string      // which machines were looked at, each with how long what was waited for there
	probed int
	states map[string]machine.State // of machines that don't run
	told   []string                 // what the reporter was told
	made   []string                 // by the toy stages
}

// Look implements Looker.
func (w *world) Look(_ context.Context, machines []lab.Machine, until func(lab.Machine) *fact.Until) fact.Lab {
	time.Sleep(w.takes)
	w.mu.Lock()
	defer w.mu.Unlock()
	all := w.seen(len(w.looks))
	part := fact.Lab{At: time.Now(), Machines: map[string]fact.Machine{}, Unreached: map[string]string{}, Datastore: fact.Unknown[fact.Datastore](fact.NotAsked)}
	var what []string
	for _, m := range machines {
		name := m.Name
		part.Machines[name] = all.Machines[name]
		if m.Role == lab.RoleEtcd {
			part.Datastore = all.Datastore
		}
		if until != nil {
			if u := until(m); u != nil {
				name += " " + u.Within.String()
			}
		}
		what = append(what, name)
	}
	w.looks = append(w.looks, strings.Join(what, ", "))
	return part
}

// Probe implements Looker.
func (w *world) Probe(context.Context, *fact.Lab) map[string]fact.Seen[[]fact.Probe] {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.probed++
	return maps.Clone(w.probes(w.probed - 1))
}

func (w *world) tell(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told = append(w.told, fmt.Sprintf(format, args...))
}

// Already and the following implement Reporter.
func (w *world) Already(stage, _ string)                         { w.tell("already %s", stage) }
func (w *world) Yours(stage, why string)                         { w.tell("yours %s: %s", stage, why) }
func (w *world) Started(stage, why string)                       { w.tell("started %s: %s", stage, why) }
func (w *world) Done(stage, _ string, _ time.Duration)           { w.tell("done %s", stage) }
func (w *world) Pending(stage, why string, _ time.Duration)      { w.tell("pending %s: %s", stage, why) }
func (w *world) Failed(stage string, err error, _ time.Duration) { w.tell("failed %s: %v", stage, err) }

// provider is one whose machines run, unless the world says otherwise.
type provider struct {
	machine.Provider
	world *world
	lab   *lab.Lab
}

func (p provider) Status(context.Context) ([]machine.Status, error) {
	var all []machine.Status
	for _, m := range p.lab.Machines {
		s := machine.Status{Machine: m.Name, Role: m.Role, Address: m.Address, State: machine.Running}
		if state, ok := p.world.states[m.Name]; ok {
			s.State = state
		}
		all = append(all, s)
	}
	return all, nil
}

func (p provider) Preflight(context.Context) error { return nil }

// Up boots the machines.
func (p provider) Up(context.Context) error {
	p.world.tell("booted")
	p.world.states = nil
	return nil
}

// newEngine returns an engine on a world that shows the healthy recording.
func newEngine(t *testing.T) (*Engine, *world) {
	t.Helper()
	w := &world{seen: func(int) fact.Lab { return *recording(t, healthyFile) }}
	f := recording(t, healthyFile)
	w.probes = func(int) map[string]fact.Seen[[]fact.Probe] { return f.Probes }
	env := envOf(t, f, "")
	made := env.Spec
	env.Provider = provider{world: w, lab: env.Lab}
	env.Host = func(_ context.Context, name string) (*remote.Host, error) {
		return nil, fmt.Errorf("no connection to %s", name)
	}
	env.Order = func(context.Context, string, fact.Order) (fact.Ordered, error) { return fact.Ordered{}, nil }
	env.Preflight = func() error { return errors.New("nothing is to be made here") }
	env.Spec = &spec.Spec{Lab: made.Lab, Pins: made.Pins} // before the artifacts are there
	return &Engine{Env: env, Look: w, Report: w, Slow: 1, Spec: func(context.Context) (*spec.Spec, error) { return made, nil }}, w
}

// toys makes the engine's world one in which toy stages make things. What is made is among the datastore's profiles.
func toys(t *testing.T) (*Engine, *world) {
	t.Helper()
	e, w := newEngine(t)
	w.seen = func(int) fact.Lab {
		return fact.Lab{Datastore: fact.Known(fact.Datastore{Profiles: slices.Clone(w.made)})}
	}
	return e, w
}

func (w *world) isMade(f *fact.Lab, name string) check.Finding {
	if slices.Contains(f.Datastore.Value.Profiles, name) {
		return check.OK("%s is made", name)
	}
	return check.Not("there is no %s", name)
}

func (w *world) making(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.made = append(w.made, name)
}

// toy is a stage that takes some time to make the thing that it is called after.
func (w *world) toy(name string, takes time.Duration, needs ...string) Stage {
	return Stage{
		Name: name, Needs: needs, Role: lab.RoleEtcd,
		Conditions: func(*Env) []check.Condition {
			return []check.Condition{{ID: name, Expected: name, Mend: "makes it", Test: func(f *fact.Lab) check.Finding { return w.isMade(f, name) }}}
		},
		Done: func(*Env, *fact.Lab) string { return name },
		Apply: func(ctx context.Context, _ *Env, _ Job) error {
			select {
			case <-time.After(takes):
				w.making(name)
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		},
	}
}
