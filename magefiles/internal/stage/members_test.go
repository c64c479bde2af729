package stage

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/spec"
)

// threeMembers is the recorded lab with three members of etcd's instead of one, all healthy.
func threeMembers(t *testing.T) (*Env, *fact.Lab) {
	t.Helper()
	f := recording(t, healthyFile)
	e := envOf(t, f, "")
	first := e.Lab.Etcd()
	var known []fact.Member
	for i, name := range []string{first.Name, "etcd2", "etcd3"} {
		m := first
		m.Name, m.Address = name, netip.AddrFrom4([4]byte{192, 168, 4, byte(100 + i)})
		if i > 0 {
			e.Lab.Machines = append(e.Lab.Machines, m)
		} else {
			m = first
		}
		known = append(known, fact.Member{ID: name, Name: name, Peer: spec.PeerURL(m), Leader: i == 1})
	}
	for _, m := range e.Lab.Members() {
		seen := f.Machines[first.Name]
		seen.Members = fact.Known(known)
		f.Machines[m.Name] = seen
	}
	return e, f
}

func TestMembers(t *testing.T) {
	change := func(f *fact.Lab, name string, do func(*fact.Machine)) {
		m := f.Machines[name]
		do(&m)
		f.Machines[name] = m
	}
	everywhere := func(f *fact.Lab, do func([]fact.Member) []fact.Member) {
		for _, name := range []string{"etcd-node", "etcd2", "etcd3"} {
			change(f, name, func(m *fact.Machine) { m.Members.Value = do(slices.Clone(m.Members.Value)) })
		}
	}
	sick := func(m *fact.Machine) { m.Etcd.Value = fact.Health{Said: "nothing answers"} }
	for name, c := range map[string]struct {
		do    func(*Env, *fact.Lab)
		state check.State
		found string
	}{
		"all":                 {func(*Env, *fact.Lab) {}, check.Holds, "etcd-node, etcd2 (leader), etcd3"},
		"the first is silent": {func(_ *Env, f *fact.Lab) { delete(f.Machines, "etcd-node") }, check.Holds, "etcd-node, etcd2 (leader), etcd3"},
		"no majority": {func(_ *Env, f *fact.Lab) {
			for _, name := range []string{"etcd-node", "etcd2", "etcd3"} {
				change(f, name, func(m *fact.Machine) { m.Members = fact.Unknown[[]fact.Member]("no leader") })
			}
		}, check.Unknown, "no member says which there are: that takes a majority of them"},
		"one missing, one a learner": {func(_ *Env, f *fact.Lab) {
			everywhere(f, func(all []fact.Member) []fact.Member { all[1].Learner = true; return all[:2] })
		}, check.Broken, "etcd2 has no vote yet; etcd3 is none"},
		"one too many": {func(_ *Env, f *fact.Lab) {
			everywhere(f, func(all []fact.Member) []fact.Member {
				return append(all, fact.Member{Name: "etcd4", Peer: "https://192.168.4.9:2380"})
			})
		}, check.Broken, "etcd4 is one, and isn't lab.yaml's"},
		"from three to one that is silent": {func(e *Env, f *fact.Lab) {
			e.Lab.Machines = slices.DeleteFunc(e.Lab.Machines, func(m lab.Machine) bool { return m.Name == "etcd2" || m.Name == "etcd3" })
			e.Gone = []machine.Planned{{Name: "etcd2", Role: lab.RoleEtcd}, {Name: "etcd3", Role: lab.RoleEtcd}, {Name: "calico9", Role: lab.RoleCalico}}
			delete(f.Machines, "etcd-node")
		}, check.Refused, "no member of etcd's that lab.yaml keeps answers, and without etcd2, etcd3 its data may be lost\nwhat to do: put lab.yaml back, then: go tool mage verify"},
		"from three to one": {func(e *Env, _ *fact.Lab) {
			e.Lab.Machines = slices.DeleteFunc(e.Lab.Machines, func(m lab.Machine) bool { return m.Name == "etcd2" || m.Name == "etcd3" })
		}, check.Broken, "etcd2 is one, and isn't lab.yaml's; etcd3 is one, and isn't lab.yaml's"},
		"from three to one that is sick": {func(e *Env, f *fact.Lab) {
			e.Lab.Machines = slices.DeleteFunc(e.Lab.Machines, func(m lab.Machine) bool { return m.Name == "etcd2" || m.Name == "etcd3" })
			change(f, "etcd-node", sick)
		}, check.Refused, "without etcd2, etcd3 etcd would have no majority, and its data would be lost: of those that lab.yaml keeps etcd-node isn't healthy\n" +
			"what to do: put lab.yaml back, then: go tool mage verify"},
	} {
		e, f := threeMembers(t)
		c.do(e, f)
		if got := membersFinding(e, f); got.State != c.state || got.Found != c.found {
			t.Errorf("%s: %s, %s", name, got.State, got.Found)
		}
	}
}

// TestMemberFails: what is wrong with one of three members is said of that one, and first; everything else holds.
func TestMemberFails(t *testing.T) {
	e, f := threeMembers(t)
	m := f.Machines["etcd2"]
	m.Etcd = fact.Known(fact.Health{Said: "nothing answers"})
	m.Auth, m.Members = fact.Unknown[fact.Auth]("it doesn't answer"), fact.Unknown[[]fact.Member]("it doesn't answer")
	f.Machines["etcd2"] = m
	got := map[string]bool{}
	report := check.Run(etcdConditions(e), f)
	for _, res := range report.Unmet() {
		if !strings.HasPrefix(res.ID, "etcd-container/") && !strings.HasPrefix(res.ID, "etcd-certificates/") { // the recorded ones are one member's
			got[res.ID] = true
		}
	}
	if diff := cmp.Diff([]string{"etcd/etcd2"}, slices.Sorted(maps.Keys(got))); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestFounding(t *testing.T) {
	e, f := threeMembers(t)
	if founding(e, f) {
		t.Error("members that run found a cluster")
	}
	empty := func(names ...string) {
		for _, name := range names {
			m := f.Machines[name]
			m.Docker.Value.Containers, m.Docker.Value.Volumes = nil, nil
			f.Machines[name] = m
		}
	}
	empty("etcd2", "etcd3")
	if founding(e, f) {
		t.Error("two that have lost everything found a cluster beside the one that has the data")
	}
	empty("etcd-node")
	if !founding(e, f) {
		t.Error("where nobody has anything no cluster is founded")
	}
	// Cut off before the first was started.
	made := fact.Container{Name: "/etcd"}
	made.State.Status, made.Config.Labels = "created", map[string]string{fact.LabelPart: fact.PartEtcd}
	m := f.Machines["etcd3"]
	m.Docker.Value.Containers = []fact.Container{made}
	f.Machines["etcd3"] = m
	if !founding(e, f) {
		t.Error("one that was made and never started keeps the others from founding a cluster")
	}
	delete(f.Machines, "etcd2")
	if founding(e, f) {
		t.Error("one of which nothing is known may have the data")
	}
}

// TestLate: what may be there the next time is tried again, as often as other things are; the last time it is the stage's error.
func TestLate(t *testing.T) {
	for fails, want := range map[int]string{1: "", 2: "", 3: "x: it isn't there"} {
		e, w := toys(t)
		tries := 0
		s := w.toy("x", 0)
		apply := s.Apply
		s.Apply = func(ctx context.Context, env *Env, j Job) error {
			if tries++; tries <= fails {
				return lateError{errors.New("it isn't there")}
			}
			return apply(ctx, env, j)
		}
		up := w.toy("up", 0)
		w.making("up")
		var err error
		for round := range rounds {
			var late lateError
			if _, err = e.apply(t.Context(), []Stage{up, s}, round); !errors.As(err, &late) || round+1 == rounds {
				break
			}
		}
		if got := strings.TrimSpace(errorText(err)); got != want || tries != min(fails+1, rounds) {
			t.Errorf("%d times late: %q after %d tries; told %q", fails, got, tries, w.told)
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// TestRefounding: a plan that keeps none of etcd's members is another lab.
func TestRefounding(t *testing.T) {
	plan := func(etcd ...string) machine.Plan {
		p := machine.Plan{Hardware: "nspawn", Name: "x"}
		for i, name := range etcd {
			p.Machines = append(p.Machines, machine.Planned{Name: name, Role: lab.RoleEtcd, Address: netip.AddrFrom4([4]byte{192, 168, 4, byte(i + 1)})})
		}
		return p
	}
	for _, c := range []struct {
		from, to machine.Plan
		want     string
	}{
		{plan("a"), plan("a", "b", "c"), ""}, {plan("a", "b", "c"), plan("a"), ""}, {plan("a"), plan("b"), "b is new, a is gone"},
	} {
		if got := c.from.Differences(c.to, true); got != c.want {
			t.Errorf("%v to %v: %q", c.from.Names(), c.to.Names(), got)
		}
	}
	if got := plan("a").Differences(plan("a", "b", "c"), false); got != "b is new, c is new" {
		t.Errorf("where nothing can be added: %q", got)
	}
}
