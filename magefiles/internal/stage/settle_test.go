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
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/spec"
)

// TestAgain: after a stage the datastore is looked at, where the stage's conditions are about it, and then its machines, once
// what takes a moment there is there.
func TestAgain(t *testing.T) {
	for name, want := range map[string][]string{
		Up:         {"etcd-node 6m0s, calico1 6m0s, calico2 6m0s"},
		Etcd:       {"etcd-node 2m0s"},
		Calico:     {"etcd-node", "calico1 40s, calico2 40s"},
		Golang:     {"calico1, calico2"},
		CNIPlugins: {"calico1, calico2"},
		Cnitool:    {"calico1, calico2"},
		IPPool:     {"etcd-node"},
		Plumb:      {"etcd-node", "calico1 40s, calico2 40s"},
	} {
		e, w := newEngine(t)
		e.Slow = 2
		e.Env.Spec, _ = e.Spec(t.Context())
		stages := Closure(name)
		if err := e.again(t.Context(), stages[len(stages)-1]); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, w.looks); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// settled runs settle on a world, and returns what came of it and how long it took.
func settled(t *testing.T, change func(*Engine, *world), probe, changed bool) (check.Report, *world, time.Duration) {
	t.Helper()
	e, w := newEngine(t)
	e.Env.Spec, _ = e.Spec(t.Context())
	change(e, w)
	e.learn(w.seen(0))
	start := time.Now()
	r, err := e.settle(t.Context(), All(), probe, changed)
	if err != nil {
		t.Fatal(err)
	}
	return r, w, time.Since(start)
}

// down is a lab in which BGP isn't there until the look of some number.
func down(t *testing.T, until int) func(*Engine, *world) {
	return func(_ *Engine, w *world) {
		w.seen = func(look int) fact.Lab {
			f := recording(t, healthyFile)
			if look < until {
				session(func(p *fact.Protocol) { p.State, p.Info = "start", "Connect" })(f)
			}
			return *f
		}
	}
}

func TestSettle(t *testing.T) {
	lost := func(until int) func(*Engine, *world) {
		return func(_ *Engine, w *world) {
			good := w.probes
			w.probes = func(n int) map[string]fact.Seen[[]fact.Probe] {
				all := good(n)
				if n < until {
					all = map[string]fact.Seen[[]fact.Probe]{"calico1": fact.Known([]fact.Probe{{Ping: "no reply"}}), "calico2": all["calico2"]}
				}
				return all
			}
		}
	}
	left := func(e *Engine, w *world) {
		e.Env.Caps.Packages = false
		w.seen = func(int) fact.Lab {
			f := recording(t, healthyFile)
			at("calico1", func(m *fact.Machine) { m.Lacks = []string{"jq"} })(f)
			return *f
		}
	}
	const giveUp = settleTime + time.Second
	for _, c := range []struct {
		name           string
		change         func(*Engine, *world)
		probe, changed bool
		unmet          string
		looks, probes  int
		most           time.Duration
	}{
		{"nothing was changed", down(t, 0), false, false, "", 0, 0, 0},
		{"nothing was changed, packets arrive", down(t, 0), true, false, "", 0, 1, 0},
		{"nothing was changed, and something is broken", down(t, 9), false, false, "bgp/calico1 routes/calico1", 0, 0, 0},
		{"nothing was changed, and something is broken: packets are sent all the same", down(t, 9), true, false, "bgp/calico1 routes/calico1", 0, 1, 0},
		{"changed, and everything holds", down(t, 0), true, true, "", 1, 1, 0},
		{"BGP takes three looks more", down(t, 3), true, true, "", 4, 1, 700 * time.Millisecond},
		{"BGP never comes", down(t, 1000), true, true, "bgp/calico1 routes/calico1", -1, 1, giveUp},
		{"packets take a moment", lost(2), true, true, "", 3, 3, 300 * time.Millisecond},
		{"packets never arrive", lost(1000), true, true, "reach/calico1", -1, -1, giveUp},
		{"what nobody mends isn't waited for", left, true, true, "packages/calico1", 1, 1, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			r, w, took := settled(t, c.change, c.probe, c.changed)
			var unmet []string
			for _, res := range r.Unmet() {
				unmet = append(unmet, res.ID)
			}
			if got := strings.Join(unmet, " "); got != c.unmet {
				t.Errorf("%s: unmet %q, want %q", c.name, got, c.unmet)
			}
			if c.looks >= 0 && len(w.looks) != c.looks || c.probes >= 0 && w.probed != c.probes {
				t.Errorf("%s: %d looks, %d probes", c.name, len(w.looks), w.probed)
			}
			for i, look := range w.looks {
				if all, again := "etcd-node, calico1, calico2", "etcd-node, calico1"; i == 0 && look != all || i > 0 && look != again {
					t.Errorf("%s: look %d is at %s", c.name, i, look)
				}
			}
			if took > c.most || took < c.most-2*time.Second {
				t.Errorf("%s: it took %s", c.name, took)
			}
			if has := slices.ContainsFunc(r.Results, func(res check.Result) bool { return strings.HasPrefix(res.ID, "reach/") }); has != c.probe {
				t.Errorf("%s: conditions on packets are there: %t", c.name, has)
			}
		})
	}
}

// TestSettleInterrupted: a run that is ended doesn't wait on.
func TestSettleInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, w := newEngine(t)
		e.Env.Spec, _ = e.Spec(t.Context())
		down(t, 1000)(e, w)
		ctx, cancel := context.WithCancelCause(t.Context())
		cause := errors.New("interrupted")
		time.AfterFunc(time.Second, func() { cancel(cause) })
		start := time.Now()
		if _, err := e.settle(ctx, All(), true, true); !errors.Is(err, cause) || time.Since(start) != time.Second || w.probed > 0 {
			t.Errorf("after %s and %d probes: %v", time.Since(start), w.probed, err)
		}
	})
}

// TestReachHealthy: where everything holds, nothing is touched: no machine is connected to, and nothing is looked at twice.
func TestReachHealthy(t *testing.T) {
	e, w := newEngine(t)
	r, err := e.Reach(t.Context(), Goal{Stages: []string{Plumb}, Probe: true})
	if err != nil || !r.OK || r.Lab != "calico-cni-lab" {
		t.Errorf("%v; %v", err, r.Unmet())
	}
	if len(w.told) != len(All()) || strings.Count(strings.Join(w.told, "\n"), "already ") != len(All()) || len(w.looks) != 1 || w.probed != 1 {
		t.Errorf("told %q; looks %q, %d probes", w.told, w.looks, w.probed)
	}
}

// TestReachRefused: what only a person can decide is said before anything is touched, also something that could be mended.
func TestReachRefused(t *testing.T) {
	e, w := newEngine(t)
	w.seen = func(int) fact.Lab {
		f := recording(t, healthyFile)
		f.Datastore.Value.Pools[0].BlockSize = 28
		at("calico1", noDocker)(f)
		return *f
	}
	_, err := e.Reach(t.Context(), Goal{Stages: []string{Plumb}})
	if err == nil || !strings.HasPrefix(err.Error(), "ipPool: pool my.ippool-1: blockSize is 28, not 26") || !strings.Contains(err.Error(), "go tool mage unplumb") || len(w.told) > 0 {
		t.Errorf("told %q; %v", w.told, err)
	}
	// It doesn't concern stages that need no pool.
	w.seen = func(int) fact.Lab {
		f := recording(t, healthyFile)
		f.Datastore.Value.Pools[0].BlockSize = 28
		return *f
	}
	if r, err := e.Reach(t.Context(), Goal{Stages: []string{Calico}}); err != nil || !r.OK {
		t.Errorf("calico: %v; %v", err, r.Unmet())
	}
}

// TestReachUp: machines that don't run are booted; what is refused may only be seen then, and nothing more is touched.
func TestReachUp(t *testing.T) {
	for blockSize, want := range map[int]string{26: "", 28: "ipPool: pool my.ippool-1: blockSize is 28, not 26"} {
		e, w := newEngine(t)
		e.Env.Preflight = func() error { return nil }
		w.states = map[string]machine.State{"etcd-node": machine.Stopped, "calico1": machine.Stopped, "calico2": machine.Stopped}
		w.seen = func(int) fact.Lab {
			f := recording(t, healthyFile)
			f.Datastore.Value.Pools[0].BlockSize = blockSize
			return *f
		}
		r, err := e.Reach(t.Context(), Goal{Stages: []string{IPPool}})
		if want == "" && (err != nil || !r.OK) || want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)) {
			t.Errorf("blocks of /%d: %v; %v", blockSize, err, r.Unmet())
		}
		if diff := cmp.Diff([]string{"started up: etcd-node, calico1, calico2: the machine is stopped", "booted", "done up"}, w.told[:3]); diff != "" || want != "" && len(w.told) > 3 {
			t.Errorf("blocks of /%d: told %q (-want +got):\n%s", blockSize, w.told, diff)
		}
	}
	e, w := newEngine(t)
	w.states = map[string]machine.State{"calico1": machine.Absent}
	if _, err := e.Reach(t.Context(), Goal{Stages: []string{Up}}); err == nil || err.Error() != "up: nothing is to be made here" {
		t.Errorf("what would stop the artifacts' making: %v", err)
	}
}

// TestReachFails: what goes wrong says in which stage.
func TestReachFails(t *testing.T) {
	e, w := newEngine(t)
	w.seen = func(int) fact.Lab {
		f := recording(t, healthyFile)
		at("etcd-node", container(fact.PartEtcd, func(c *fact.Container) { c.State.Status = "exited" }))(f)
		return *f
	}
	if _, err := e.Reach(t.Context(), Goal{Stages: []string{Etcd}}); err == nil || err.Error() != "etcd: no connection to etcd-node" {
		t.Errorf("no connection: %v", err)
	}
	if diff := cmp.Diff([]string{"already up", "started etcd: etcd-node: container etcd is exited", "failed etcd: etcd: no connection to etcd-node"}, w.told); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	e, w = newEngine(t)
	e.Spec = func(context.Context) (*spec.Spec, error) { return nil, errors.New("compiling failed") }
	if _, err := e.Reach(t.Context(), Goal{Stages: []string{Etcd}}); err == nil || err.Error() != "compiling failed" || len(w.told) != 1 {
		t.Errorf("no artifacts: %v, told %q", err, w.told)
	}
	e.Env.Provider = noProvider{}
	if _, err := e.Reach(t.Context(), Goal{Stages: []string{Up}}); err == nil || err.Error() != "no status" {
		t.Errorf("no status: %v", err)
	}
}

type noProvider struct{ machine.Provider }

func (noProvider) Status(context.Context) ([]machine.Status, error) {
	return nil, errors.New("no status")
}

// TestPeek: one look, at the machines that run.
func TestPeek(t *testing.T) {
	e, w := newEngine(t)
	w.states = map[string]machine.State{"calico1": machine.Stopped}
	r, err := e.Peek(t.Context(), Goal{Stages: []string{Plumb}})
	unmet := r.Unmet()
	if err != nil || len(unmet) == 0 || unmet[0].ID != "machine/calico1" || unmet[0].Found != "the machine is stopped" || r.Count(check.Broken) != 1 {
		t.Errorf("%v; %+v", err, unmet)
	}
	if diff := cmp.Diff([]string{"etcd-node, calico2"}, w.looks); diff != "" || len(w.told) > 0 || w.probed > 0 {
		t.Errorf("told %q, %d probes; looks (-want +got):\n%s", w.told, w.probed, diff)
	}
	w.states = map[string]machine.State{"etcd-node": machine.Absent, "calico1": machine.Absent, "calico2": machine.Absent}
	w.looks = nil
	r, err = e.Peek(t.Context(), Goal{Stages: []string{Plumb}})
	if err != nil || r.Count(check.Broken) != 3 || len(w.looks) > 0 {
		t.Errorf("nothing is there: %v, looks %q, %+v", err, w.looks, r.Unmet())
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("interrupted")
	cancel(cause)
	if _, err := e.Peek(ctx, Goal{Stages: []string{Plumb}}); !errors.Is(err, cause) {
		t.Errorf("interrupted: %v", err)
	}
}

func TestMachines(t *testing.T) {
	e, _ := newEngine(t)
	for role, want := range map[lab.Role]int{"": 3, lab.RoleEtcd: 1, lab.RoleCalico: 2} {
		if got := len(Stage{Role: role}.machines(e.Env.Lab)); got != want {
			t.Errorf("%q: %d machines", role, got)
		}
	}
}
