package baseline

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact/recorded"
)

// healthy are the facts of a deep look at a lab of which everything worked: the before.json that a run of a target leaves in the
// state directory when lab.yaml was changed and the run was cut off.
func healthy(t *testing.T) *fact.Lab { return recorded.Lab(t, "testdata/healthy.json.gz") }

func made(t *testing.T, shared bool) *Baseline {
	t.Helper()
	b, err := New(healthy(t), "definition", "test-calico", shared)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// change changes the facts of a machine.
func change(machine string, with func(*fact.Machine)) func(*fact.Lab) {
	return func(f *fact.Lab) {
		m := f.Machines[machine]
		with(&m)
		f.Machines[machine] = m
	}
}

func entries(with func([]fact.KeyValue) []fact.KeyValue) func(*fact.Lab) {
	return change("etcd-node", func(m *fact.Machine) { m.Datastore.Value = with(m.Datastore.Value) })
}

func entry(key, old, new string) func(*fact.Lab) {
	return entries(func(all []fact.KeyValue) []fact.KeyValue {
		for i := range all {
			if strings.Contains(all[i].Key, key) {
				all[i].Value = bytes.Replace(all[i].Value, []byte(old), []byte(new), 1)
			}
		}
		return all
	})
}

func container(name string) fact.Container {
	c := fact.Container{ID: "0123", Name: "/" + name}
	c.State.Status = "running"
	return c
}

// workload returns the lab's workload container of a machine.
func workload(m *fact.Machine) *fact.Container {
	i := slices.IndexFunc(m.Docker.Value.Containers, func(c fact.Container) bool { return c.Config.Labels[fact.LabelPart] == fact.PartWorkload })
	return &m.Docker.Value.Containers[i]
}

// different are one thing each that somebody does to a lab, and what differs then.
var different = []struct {
	name string
	do   func(*fact.Lab)
	want string // machine, how and what, a line each
	// lab says whether it is one where the machines are somebody's, too.
	shared bool
}{
	{"a policy", entries(func(all []fact.KeyValue) []fact.KeyValue {
		return append(all, fact.KeyValue{Key: fact.ResourcePrefix + "globalnetworkpolicies/deny-all", Value: []byte("{}")})
	}), " extra globalnetworkpolicies/deny-all", true},
	{"a pool gone", entries(func(all []fact.KeyValue) []fact.KeyValue {
		return slices.DeleteFunc(all, func(kv fact.KeyValue) bool { return strings.Contains(kv.Key, "/ippools/") })
	}), " missing ippools/my.ippool-1", true},
	{"a reflector", entry("nodes/calico1", `"bgp":{`, `"bgp":{"routeReflectorClusterID":"224.0.0.1",`), " changed nodes/calico1", true},
	{"an address", entry("block/10.1.127.192-26", `[0,null`, `[0,0`), " changed IPAM's block 10.1.127.192/26", true},
	{"the next address", entry("block/10.1.127.192-26", `"unallocated":[1,2,`, `"unallocated":[2,1,`), " changed IPAM's block 10.1.127.192/26", true},
	{"a container", change("calico1", func(m *fact.Machine) {
		m.Docker.Value.Containers = append(m.Docker.Value.Containers, container("mine"))
	}), "calico1 extra container mine", false},
	{"a container of the lab's network", change("calico1", func(m *fact.Machine) {
		c := container("mine")
		c.NetworkSettings.SandboxKey = "/run/docker/netns/mine"
		m.Docker.Value.Containers = append(m.Docker.Value.Containers, c)
		m.Attachments.Value = append(m.Attachments.Value, fact.Attachment{Network: "test-calico", NetNS: "/run/docker/netns/mine", Live: true})
	}), "calico1 extra container mine", true},
	{"the workload stopped", change("calico2", func(m *fact.Machine) { workload(m).State.Status = "exited" }), "calico2 changed container workload", true},
	{"the workload gone", change("calico2", func(m *fact.Machine) {
		m.Docker.Value.Containers = slices.DeleteFunc(m.Docker.Value.Containers, func(c fact.Container) bool { return c.Name == "/workload" })
	}), "calico2 missing container workload", true},
	{"an interface", change("calico1", func(m *fact.Machine) { m.Links.Value = append(m.Links.Value, fact.Link{Name: "hand0", Type: "veth"}) }), "calico1 extra interface hand0", false},
	{"a cali interface", change("calico1", func(m *fact.Machine) {
		m.Links.Value = append(m.Links.Value, fact.Link{Name: "calihand0", Type: "veth"})
	}), "calico1 extra interface calihand0", true},
	{"an MTU", change("calico2", func(m *fact.Machine) {
		for i := range m.Links.Value {
			if m.Links.Value[i].Name == "host0" {
				m.Links.Value[i].MTU = 1400
			}
		}
	}), "calico2 changed interface host0", false},
	{"a route", change("calico1", func(m *fact.Machine) {
		m.Routes.Value = append(m.Routes.Value, fact.Route{To: netip.MustParsePrefix("10.78.0.0/16"), Dev: "host0"})
	}), "calico1 extra route 10.78.0.0/16 dev host0", false},
	{"the default route gone", change("calico1", func(m *fact.Machine) {
		m.Routes.Value = slices.DeleteFunc(m.Routes.Value, func(r fact.Route) bool { return r.To.Bits() == 0 })
	}), "calico1 missing route default via 192.168.4.1 dev host0 proto static", false},
	{"a permanent neighbour", change("calico1", func(m *fact.Machine) {
		m.Neighbours.Value = append(m.Neighbours.Value, fact.Neighbour{Address: netip.MustParseAddr("192.168.4.9"), Dev: "host0", State: "permanent"})
	}), "calico1 extra neighbour 192.168.4.9 dev host0", false},
	{"a routing rule", change("calico1", func(m *fact.Machine) {
		m.Deep.Value.Lookups.Value = append(m.Deep.Value.Lookups.Value, fact.Lookup{Priority: 5, Table: "100"})
	}), "calico1 extra routing rule priority 5 table 100", false},
	{"a network namespace", change("calico1", func(m *fact.Machine) { m.Deep.Value.Namespaces.Value = append(m.Deep.Value.Namespaces.Value, "w1") }), "calico1 extra network namespace w1", false},
	{"a Docker network", change("calico1", func(m *fact.Machine) { m.Deep.Value.Networks.Value["mine"] = "1" }), "calico1 extra Docker network mine", false},
	{"forwarding", change("calico2", func(m *fact.Machine) { m.Deep.Value.Sysctls.Value["net/ipv4/ip_forward"] = "0" }), "calico2 changed net.ipv4.ip_forward", false},
	{"a queueing discipline", change("calico2", func(m *fact.Machine) { m.Deep.Value.Qdiscs.Value["host0"] = "tbf" }), "calico2 changed queueing discipline host0", false},
	{"a firewall rule", change("calico2", func(m *fact.Machine) {
		m.Deep.Value.Firewall.Value["iptables"] = strings.Replace(m.Deep.Value.Firewall.Value["iptables"], "-A FORWARD -j DOCKER-USER\n", "-A FORWARD -j DROP\n-A FORWARD -j DOCKER-USER\n", 1)
	}), "calico2 changed chain FORWARD of iptables, table filter", false},
	{"a conflist", change("calico1", func(m *fact.Machine) {
		f := m.Files.Value["/etc/cni/net.d/10-test-calico.conflist"]
		f.SHA256 = "other"
		m.Files.Value["/etc/cni/net.d/10-test-calico.conflist"] = f
	}), "calico1 changed /etc/cni/net.d/10-test-calico.conflist", true},
	{"another conflist", change("calico1", func(m *fact.Machine) { m.Files.Value["/etc/cni/net.d/99-mine.conf"] = fact.File{Mode: "644"} }), "calico1 extra /etc/cni/net.d/99-mine.conf", false},
	{"a plugin gone", change("calico1", func(m *fact.Machine) { delete(m.Files.Value, "/opt/cni/bin/portmap") }), "calico1 missing /opt/cni/bin/portmap", false},
	{"nodename", change("calico1", func(m *fact.Machine) {
		m.Deep.Value.Texts.Value["/var/lib/calico/nodename"] = fact.Text{Content: "calico2"}
	}), "calico1 changed /var/lib/calico/nodename", false},
	{"what libcni remembers", change("calico1", func(m *fact.Machine) {
		m.Deep.Value.Texts.Value["/var/lib/cni/results/test-calico-cnitool-x-eth0"] = fact.Text{}
	}), "calico1 extra /var/lib/cni/results/test-calico-cnitool-x-eth0", true},
	{"the sandbox", change("calico1", func(m *fact.Machine) { m.Sandboxes.Value[0].Routes = nil }), "calico1 changed sandbox workload", true},
	{"a filter in the sandbox", change("calico1", func(m *fact.Machine) {
		m.Deep.Value.Inside.Value[m.Sandboxes.Value[0].Key] = "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -j DROP\nCOMMIT\n"
	}), "calico1 changed sandbox workload", true},
	{"a service", change("calico1", func(m *fact.Machine) { m.Deep.Value.Services.Value["confd"] = "down" }), "calico1 changed calico-node's confd", true},
	{"BIRD's configuration", change("calico1", func(m *fact.Machine) { m.Deep.Value.Rendered.Value["bird.cfg"] += "# mine\n" }), "calico1 changed BIRD's bird.cfg", true},
	{"etcd doesn't answer", func(f *fact.Lab) { f.Datastore = fact.Unknown[fact.Datastore]("etcd doesn't answer") }, " unseen the datastore", true},
	{"a machine doesn't answer", func(f *fact.Lab) {
		delete(f.Machines, "calico2")
		f.Unreached = map[string]string{"calico2": "no route"}
	}, "calico2 unseen what there is of kind container", true},
	{"Docker doesn't answer", change("calico2", func(m *fact.Machine) { m.Docker = fact.Unknown[fact.Docker]("stopped") }), "calico2 unseen what there is of kind container", true},

	{"what Felix reports", entries(func(all []fact.KeyValue) []fact.KeyValue {
		return append(all, fact.KeyValue{Key: "/calico/felix/v2/no-region/host/calico1/status", Value: []byte("{}")})
	}), "", true},
	{"times and revisions", entry("block/10.1.127.192-26", `"sequenceNumber":1`, `"sequenceNumber":2`), "", true},
	{"what calico-node finds", entry("nodes/calico1", `"interfaces":[`, `"interfaces":[{"name":"hand0"},`), "", true},
	{"a rule of Felix'", change("calico2", func(m *fact.Machine) { m.Deep.Value.Firewall.Value["iptables"] += "*raw\n:cali-mine - [0:0]\nCOMMIT\n" }), "", true},
	{"an interface of Docker's", change("calico1", func(m *fact.Machine) { m.Links.Value = append(m.Links.Value, fact.Link{Name: "veth0a1b2c3"}) }), "", true},
	{"a program of the user's", change("calico1", func(m *fact.Machine) { m.Files.Value["~/go/bin/dlv"] = fact.File{Mode: "755"} }), "", true},
	{"a neighbour that comes and goes", change("calico1", func(m *fact.Machine) {
		m.Neighbours.Value = append(m.Neighbours.Value, fact.Neighbour{Address: netip.MustParseAddr("192.168.4.9"), Dev: "host0", State: "stale"})
	}), "", true},
}

func listed(all []Difference) string {
	var lines []string
	for _, d := range all {
		lines = append(lines, strings.TrimRight(d.Machine+" "+string(d.How)+" "+d.About, " "))
	}
	return strings.Join(lines, "\n")
}

func TestDifferences(t *testing.T) {
	b := made(t, false)
	kinds := map[Kind]bool{}
	for _, d := range different {
		f := healthy(t)
		d.do(f)
		all := Differences(b, f)
		for _, diff := range all {
			kinds[diff.Kind] = true
		}
		if got := listed(all); !strings.HasPrefix(got, d.want) || d.want == "" && got != "" || strings.Count(got, "\n") > 0 && !strings.Contains(got, "unseen") {
			t.Errorf("%s:\n%s\nwant %q", d.name, got, d.want)
		}
	}
	for _, k := range append(scriptKinds, Entry) {
		if !kinds[k] {
			t.Errorf("nothing makes a difference of kind %q", k)
		}
	}
}

// TestShared: on machines that are somebody's, only what is the lab's own differs.
func TestShared(t *testing.T) {
	own := func(f *fact.Lab) {
		for name, m := range f.Machines {
			m.Owned.Value = append(m.Owned.Value, "/etc/cni/net.d/10-test-calico.conflist")
			f.Machines[name] = m
		}
	}
	f := healthy(t)
	own(f)
	b, err := New(f, "", "test-calico", true)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range different {
		f := healthy(t)
		own(f)
		d.do(f)
		if got := listed(Differences(b, f)); (got != "") != (d.shared && d.want != "") {
			t.Errorf("%s:\n%s\na difference: %t", d.name, got, d.shared)
		}
	}
}

// reread are facts as they were written, with their texts changed.
func reread(t *testing.T, data []byte, with func(string) string) *fact.Lab {
	t.Helper()
	f, err := fact.Read([]byte(with(string(data))))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range f.Machines { // JSON has the values of etcd's keys in base64, as those of libcni's
		for i, kv := range m.Datastore.Value {
			m.Datastore.Value[i].Value = []byte(with(string(kv.Value)))
		}
	}
	return &f
}

// TestSameInterface: cnitool gives an interface three digits, so those of workloads on two machines may have the same name, now or when
// the baseline was recorded.
func TestSameInterface(t *testing.T) {
	apart := made(t, false)
	data, err := healthy(t).Write()
	if err != nil {
		t.Fatal(err)
	}
	one, two := apart.Workloads["calico1"].Interface, apart.Workloads["calico2"].Interface
	f := reread(t, data, strings.NewReplacer(two, one).Replace)
	together, err := New(f, "definition", "test-calico", false)
	if err != nil {
		t.Fatal(err)
	}
	if together.Workloads["calico1"].Interface != one || together.Workloads["calico2"].Interface != one {
		t.Fatalf("%+v", together.Workloads)
	}
	for name, differs := range map[string][]Difference{
		"recorded apart, now the same": Differences(apart, f), "recorded as the same, now apart": Differences(together, healthy(t)),
		"the same, twice": Differences(together, f),
	} {
		if got := listed(differs); got != "" {
			t.Errorf("%s:\n%s", name, got)
		}
	}
}

// TestPlumbedAnew: a workload that was made anew and has its address is the same; one with another address isn't.
func TestPlumbedAnew(t *testing.T) {
	b := made(t, false)
	w := b.Workloads["calico1"]
	data, err := healthy(t).Write()
	if err != nil {
		t.Fatal(err)
	}
	renamed := strings.NewReplacer(w.ID, "cnitool-00112233445566778899", strings.ReplaceAll(w.ID, "-", "--"), "cnitool--00112233445566778899",
		w.Interface, "calicnitool-001", w.MAC, "02:00:00:00:00:01", w.Sandbox, "/var/run/docker/netns/000111222333")
	read := func(with func(string) string) *fact.Lab { return reread(t, data, with) }
	if got := listed(Differences(b, read(renamed.Replace))); got != "" {
		t.Errorf("plumbed anew:\n%s", got)
	}
	other := strings.NewReplacer("10.1.127.192/32", "10.1.127.193/32")
	got := listed(Differences(b, read(func(s string) string { return other.Replace(renamed.Replace(s)) })))
	for _, want := range []string{"changed workloadendpoints/default/calico1-cni-", "calico1 changed sandbox workload", "calico1 missing route 10.1.127.192"} {
		if !strings.Contains(got, want) {
			t.Errorf("with another address: no %q in\n%s", want, got)
		}
	}
}
