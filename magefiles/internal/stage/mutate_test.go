package stage

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/fault"
)

// mutation is one thing that goes wrong in a lab that works.
type mutation struct {
	id    string // of the condition that says so
	name  string
	do    func(*fact.Lab)
	found string
	also  []string // the IDs of the conditions that can't be looked at then
}

// at changes what was seen of a machine.
func at(name string, do func(*fact.Machine)) func(*fact.Lab) {
	return func(f *fact.Lab) {
		m, ok := f.Machines[name]
		if !ok {
			panic(name)
		}
		do(&m)
		f.Machines[name] = m
	}
}

// both does one thing after the other.
func both(all ...func(*fact.Lab)) func(*fact.Lab) {
	return func(f *fact.Lab) {
		for _, do := range all {
			do(f)
		}
	}
}

// store changes what was read of the datastore.
func store(do func(*fact.Datastore)) func(*fact.Lab) {
	return func(f *fact.Lab) { do(&f.Datastore.Value) }
}

// file puts a file in the place of one that is there; the zero File takes it away.
func file(path string, is fact.File) func(*fact.Machine) {
	return func(m *fact.Machine) {
		if is == (fact.File{}) {
			delete(m.Files.Value, path)
			return
		}
		m.Files.Value[path] = is
	}
}

// change changes a file that is there.
func change(path string, do func(*fact.File)) func(*fact.Machine) {
	return func(m *fact.Machine) {
		f, ok := m.Files.Value[path]
		if !ok {
			panic(path)
		}
		do(&f)
		m.Files.Value[path] = f
	}
}

// container changes the container of a part.
func container(part string, do func(*fact.Container)) func(*fact.Machine) {
	return func(m *fact.Machine) {
		i := slices.IndexFunc(m.Docker.Value.Containers, func(c fact.Container) bool { return c.Config.Labels[fact.LabelPart] == part })
		do(&m.Docker.Value.Containers[i])
	}
}

// link changes an interface among some.
func link(links []fact.Link, name string, do func(*fact.Link)) {
	do(&links[slices.IndexFunc(links, func(l fact.Link) bool { return l.Name == name })])
}

// without takes the routes away that match.
func without(match func(fact.Route) bool) func(*fact.Machine) {
	return func(m *fact.Machine) { m.Routes.Value = slices.DeleteFunc(m.Routes.Value, match) }
}

// notSent is what observe makes of a probe from a node without a plumbed workload.
func notSent(node string) func(*fact.Lab) {
	return func(f *fact.Lab) { f.Probes[node] = fact.Unknown[[]fact.Probe]("the workload there is not plumbed") }
}

// unreachable is a machine that doesn't answer, as observe puts it.
func unreachable(name string) func(*fact.Lab) {
	return func(f *fact.Lab) {
		delete(f.Machines, name)
		f.Unreached = map[string]string{name: "no route to host"}
		if name == "etcd-node" {
			f.Datastore = fact.Unknown[fact.Datastore](name + " doesn't answer")
		} else {
			notSent(name)(f)
		}
	}
}

// noDocker is what the look program says where Docker Engine is stopped.
func noDocker(m *fact.Machine) {
	const why = "Docker Engine doesn't answer: connection refused"
	m.Docker, m.Sandboxes = fact.Unknown[fact.Docker](why), fact.Unknown[[]fact.Sandbox](why)
}

// on1 are conditions on calico1.
func on1(kinds ...string) []string {
	var all []string
	for _, k := range kinds {
		all = append(all, id(k, "calico1"))
	}
	return all
}

// TestMutations: each thing that goes wrong breaks exactly its condition, which says what was found; what else doesn't hold
// then is unknown, and not another thing that is broken.
func TestMutations(t *testing.T) {
	covered := map[string]bool{}
	for _, m := range slices.Concat(machineMutations, calicoMutations, fileMutations, plumbMutations) {
		t.Run(m.id+" "+m.name, func(t *testing.T) {
			kind, _, _ := strings.Cut(m.id, "/")
			covered[kind] = true
			f := recording(t, healthyFile)
			e := envOf(t, f, "")
			m.do(f)
			var got, want []string
			r := results(e, f)
			for _, res := range r.Unmet() {
				got = append(got, fmt.Sprint(res.ID, " ", res.State))
				if res.ID == m.id && res.Found != m.found {
					t.Errorf("found: %q\nwant:  %q", res.Found, m.found)
				}
				if !res.Mendable() && !strings.HasPrefix(res.ID, "machine/") && !strings.HasPrefix(res.ID, "datastore/") { // booting it, and what drops packets, is left to the user
					t.Errorf("%s can't be mended: %s", res.ID, res.Left)
				}
			}
			want = append(want, fmt.Sprint(m.id, " ", check.Broken))
			for _, other := range m.also {
				want = append(want, fmt.Sprint(other, " ", check.Unknown))
			}
			slices.Sort(got)
			slices.Sort(want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("what doesn't hold (-want +got):\n%s", diff)
			}
		})
	}
	f := recording(t, healthyFile)
	refused := []string{"pool"} // has a test of its own
	for _, c := range Conditions(envOf(t, f, ""), All()) {
		if kind, _, _ := strings.Cut(c.ID, "/"); !covered[kind] && !slices.Contains(refused, kind) {
			t.Errorf("nothing shows what breaks %s", kind)
			covered[kind] = true
		}
	}
}

var fromMachine = []string{
	"link", "default-route", "packages", "docker", "certificates", "calicoctl", "datastore", "calico-node", "forwarding", "felix", "bird", "bgp", "routes", "go", "go-path",
	"plugins", "conflist", "cnitool", "workload", "old-network", "attachment", "address", "endpoint", "reach",
}

var machineMutations = []mutation{
	{"machine/calico1", "it doesn't answer", unreachable("calico1"), "no route to host", on1(fromMachine...)},
	{
		"machine/etcd-node", "the datastore's machine doesn't answer", unreachable("etcd-node"), "no route to host",
		[]string{
			"link/etcd-node", "packages/etcd-node", "docker/etcd-node", "etcd-certificates/etcd-node", "etcd-container/etcd-node", "etcd/etcd-node", "etcd-auth/etcd-node", "calicoctl/etcd-node", "reflectors", "mesh", "calico-release", "pool",
			"node/calico1", "node/calico2", "routes/calico1", "routes/calico2", "address/calico1", "address/calico2",
		},
	},
	{"link/calico1", "no address", at("calico1", func(m *fact.Machine) { link(m.Links.Value, "host0", func(l *fact.Link) { l.Addresses = nil }) }), "no interface has 192.168.4.5", nil},
	{"link/etcd-node", "down", at("etcd-node", func(m *fact.Machine) { link(m.Links.Value, "host0", func(l *fact.Link) { l.Up = false }) }), "host0, which has 192.168.4.7, is down", nil},
	{
		"default-route/calico1", "none", at("calico1", without(func(r fact.Route) bool { return r.To.Bits() == 0 })),
		"there is no default route; workloads get no answer to ARP for 169.254.1.1, their next hop", nil,
	},
	{
		"default-route/calico2", "one that leads nowhere", at("calico2", func(m *fact.Machine) {
			for i, r := range m.Routes.Value {
				if r.To.Bits() == 0 {
					m.Routes.Value[i] = fact.Route{Type: "unreachable", To: r.To}
				}
			}
		}), "there is no default route; workloads get no answer to ARP for 169.254.1.1, their next hop", nil,
	},
	{"packages/calico1", "two missing", at("calico1", func(m *fact.Machine) { m.Lacks = []string{"jq", "ipset"} }), "programs of these packages are missing: jq ipset", nil},
	{
		"docker/calico1", "stopped", both(at("calico1", noDocker), notSent("calico1")), "Docker Engine doesn't answer: connection refused",
		on1("calico-node", "workload", "attachment", "address", "endpoint", "reach"),
	},
	{"docker/etcd-node", "stopped", at("etcd-node", noDocker), "Docker Engine doesn't answer: connection refused", []string{"etcd-container/etcd-node"}},
	{"etcd-container/etcd-node", "none", at("etcd-node", func(m *fact.Machine) { m.Docker.Value.Containers = nil }), "there is no container etcd", nil},
	{"etcd-container/etcd-node", "stopped", at("etcd-node", container(fact.PartEtcd, func(c *fact.Container) { c.State.Status = "exited" })), "container etcd is exited", nil},
	{
		"etcd-container/etcd-node", "another image", at("etcd-node", container(fact.PartEtcd, func(c *fact.Container) { c.Config.Labels[fact.LabelImage] = "sha256:old" })),
		"container etcd has another image", nil,
	},
	{
		"etcd/etcd-node", "not healthy", at("etcd-node", func(m *fact.Machine) { m.Etcd.Value = fact.Health{Said: "healthy: false ALARM NOSPACE"} }), "healthy: false ALARM NOSPACE", nil,
	},
	{"etcd/etcd-node", "another release", at("etcd-node", func(m *fact.Machine) { m.Etcd.Value.Version = "3.5.1" }), "etcd is 3.5.1; pinned is 3.6.16", nil},
}

// TestFaults: each condition is named first by one of the faults, which break real labs.
func TestFaults(t *testing.T) {
	broken := fault.Kinds(fault.All())
	broken["old-network"] = true // a change of lab.yaml breaks it
	for _, c := range Conditions(envOf(t, recording(t, healthyFile), ""), All()) {
		if kind, _, _ := strings.Cut(c.ID, "/"); !broken[kind] {
			t.Errorf("no fault in package fault has %s as its First", kind)
		}
	}
}
