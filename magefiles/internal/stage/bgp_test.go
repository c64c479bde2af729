package stage

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/spec"
)

// withNodes is an Env of a lab of n nodes, calico1 has 192.168.4.11.
func withNodes(t *testing.T, n int, bgp string) *Env {
	t.Helper()
	l, err := lab.Parse("lab.yaml", fmt.Appendf(nil, `name: lab
underlay: {subnet: 192.168.4.0/24}
machines:
  - {name: etcd-node, role: etcd, address: 192.168.4.7}
  - {name: calico, role: calico, count: %d, address: 192.168.4.11}
network: net
%s
pool: {name: p, cidr: 10.1.0.0/16, blockSize: 26, ipipMode: Never, natOutgoing: true, disabled: false}
versions: {debian: bookworm, go: 1.26.11}
`, n, bgp))
	if err != nil {
		t.Fatal(err)
	}
	return &Env{Spec: &spec.Spec{Lab: l}}
}

// TestSessions: who is to speak BGP with whom.
func TestSessions(t *testing.T) {
	for bgp, want := range map[string]map[string]string{
		"":                                      {"calico1": "12 13 14", "calico3": "11 12 14"},
		"bgp: {asNumber: 64513}":                {"calico1": "12 13 14", "calico3": "11 12 14"},
		"bgp: {reflectors: [calico2]}":          {"calico1": "12", "calico2": "11 13 14", "calico4": "12"},
		"bgp: {reflectors: [calico1, calico2]}": {"calico1": "12 13 14", "calico2": "11 13 14", "calico3": "11 12", "calico4": "11 12"},
		"bgp: {mesh: true, reflectors: [calico1, calico2]}": {"calico1": "12 13 14", "calico3": "11 12 14"},
	} {
		e := withNodes(t, 4, bgp)
		for name, peers := range want {
			m, _ := e.Lab.Machine(name)
			var got []string
			for _, a := range SessionsOf(e.Spec, m) {
				got = append(got, strings.TrimPrefix(a.String(), "192.168.4."))
			}
			if strings.Join(got, " ") != peers {
				t.Errorf("%q: %s speaks with %v, not with %s", bgp, name, got, peers)
			}
		}
	}
}

// speaking is a node whose BIRD has Established sessions, Node_192_168_4_11 or Mesh_...
func speaking(sessions ...string) fact.Machine {
	m := fact.Machine{BIRD: fact.Known(fact.BIRD{})}
	for _, name := range sessions {
		m.BIRD.Value.Protocols = append(m.BIRD.Value.Protocols, fact.Protocol{Name: strings.ReplaceAll(name, ".", "_"), Proto: "BGP", State: "up", Info: "Established"})
	}
	return m
}

// TestExactly: sessions that lab.yaml doesn't mean are a fault, unless a BGPPeer of the user's may mean them.
func TestExactly(t *testing.T) {
	const reflectors = "bgp: {reflectors: [calico1, calico2]}"
	users := []fact.PeerResource{{Name: spec.ReflectorPeer}, {Name: "up", PeerIP: "192.168.4.99"}}
	stranger := fact.Node{Name: "old", Address: netip.MustParsePrefix("192.168.4.50/24")}
	for _, c := range []struct {
		name, bgp string
		seen      fact.Machine // calico3's
		peers     []fact.PeerResource
		state     check.State
		found     string
		left      bool
	}{
		{"as meant", reflectors, speaking("Node_192.168.4.11", "Node_192.168.4.12"), nil, check.Holds, "Established with 2 peers", false},
		{"mesh left", reflectors, speaking("Node_192.168.4.11", "Node_192.168.4.12", "Mesh_192.168.4.14"), users, check.Broken, "there is also a session with 192.168.4.14", false},
		{"a peer of nobody's", reflectors, speaking("Node_192.168.4.11", "Node_192.168.4.12", "Global_192.168.4.99"), users[:1], check.Broken, "there is also a session with 192.168.4.99", false},
		{"the user's peer", reflectors, speaking("Node_192.168.4.11", "Node_192.168.4.12", "Global_192.168.4.99"), users, check.Holds, "Established with 2 peers", false},
		{"one less", reflectors, speaking("Node_192.168.4.11"), nil, check.Broken, "not Established with 192.168.4.12 (BIRD has no session)", false},
		{"a node of somebody's", "", speaking("Mesh_192.168.4.11", "Mesh_192.168.4.12", "Mesh_192.168.4.14", "Mesh_192.168.4.50"), nil, check.Broken, "there is also a session with 192.168.4.50", true},
	} {
		e := withNodes(t, 4, c.bgp)
		m, _ := e.Lab.Machine("calico3")
		f := &fact.Lab{Machines: map[string]fact.Machine{"calico3": c.seen}, Datastore: fact.Known(fact.Datastore{Peers: c.peers, Nodes: []fact.Node{stranger}})}
		got := sessionsCondition(e, m).Test(f)
		if got.State != c.state || got.Found != c.found || (got.Left != "") != c.left {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}

// TestReflectors: what of the reflectors and the AS number isn't as lab.yaml has it.
func TestReflectors(t *testing.T) {
	made := func(change func(*fact.Datastore)) *fact.Datastore {
		d := &fact.Datastore{
			BGP:   fact.BGP{MeshOff: true, AS: "64513", LabAS: "64513"},
			Peers: []fact.PeerResource{{Name: spec.ReflectorPeer, NodeSelector: "all()", PeerSelector: spec.ReflectorSelector}},
			Nodes: []fact.Node{{Name: "calico1", ClusterID: spec.ClusterID, Reflector: true}, {Name: "calico2"}, {Name: "calico3", ClusterID: "1.0.0.1"}}, // the user's
		}
		change(d)
		return d
	}
	e := withNodes(t, 3, "bgp: {asNumber: 64513, reflectors: [calico1]}")
	for want, d := range map[string]*fact.Datastore{
		"":                                   made(func(*fact.Datastore) {}),
		"calico1 is no route reflector yet":  made(func(d *fact.Datastore) { d.Nodes[0].ClusterID = "" }),
		"calico1 is no route reflector yet ": made(func(d *fact.Datastore) { d.Nodes = d.Nodes[1:] }), // nor registered
		"calico2 still is a route reflector of the lab's":    made(func(d *fact.Datastore) { d.Nodes[1].Reflector = true }),
		"there is no BGPPeer calico-cni-lab.reflectors":      made(func(d *fact.Datastore) { d.Peers = nil }),
		"BGPPeer calico-cni-lab.reflectors has been changed": made(func(d *fact.Datastore) { d.Peers[0].NodeSelector = "has(x)" }),
		"the AS number is Calico's 64512, not 64513":         made(func(d *fact.Datastore) { d.BGP.AS = "" }),
	} {
		got := reflectorsFinding(d, e)
		if (got.State == check.Holds) != (want == "") || want != "" && got.Found != strings.TrimSpace(want) {
			t.Errorf("%+v, not %q", got, want)
		}
	}
	if got := reflectorsFinding(made(func(d *fact.Datastore) { d.BGP.LabAS = "" }), withNodes(t, 3, "")); !strings.Contains(got.Found, "calico1 still is") || !strings.Contains(got.Found, "still there") || strings.Contains(got.Found, "AS number") {
		t.Errorf("all is left, the AS number is the user's: %+v", got)
	}
}

// TestGone: a machine that lab.yaml has no more is a condition until it is taken away; a member of etcd's goes once it is none any more.
func TestGone(t *testing.T) {
	e, f := threeMembers(t)
	e.Lab.Machines = slices.DeleteFunc(e.Lab.Machines, func(m lab.Machine) bool { return m.Name == "etcd2" || m.Name == "etcd3" })
	for _, name := range []string{"etcd2", "etcd3"} {
		e.Gone = append(e.Gone, machine.Planned{Name: name, Role: lab.RoleEtcd})
	}
	gone := func() bool {
		return slices.ContainsFunc(Conditions(e, []Stage{calico()}), func(c check.Condition) bool { return c.ID == "gone/etcd3" })
	}
	var retired []string
	e.Retire = func(ctx context.Context, m machine.Planned, done func(context.Context) error) error {
		retired = append(retired, m.Name)
		return done(ctx)
	}
	if err := retire(t.Context(), e, f); !errors.As(err, new(lateError)) || len(retired) > 0 || !gone() {
		t.Errorf("while they are members: %v, retired %v, a condition: %t", err, retired, gone())
	}
	m := f.Machines["etcd-node"]
	m.Members.Value = m.Members.Value[:1]
	f.Machines["etcd-node"] = m
	if err := retire(t.Context(), e, f); err != nil || !slices.Equal(retired, []string{"etcd2", "etcd3"}) || gone() {
		t.Errorf("%v: retired %v, a condition: %t", err, retired, gone())
	}
}
