package stage

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
)

// existing is the environment of machines that existed before the lab.
func existing(t *testing.T, f *fact.Lab) *Env {
	e := envOf(t, f, "")
	e.Caps.Undo = true
	return e
}

// theirs is a container without the lab's labels.
func theirs(name string) fact.Container {
	return fact.Container{ID: strings.Repeat("f", 64), Name: "/" + name}
}

// ours is the ID of the lab's container of a part.
func ours(m *fact.Machine, part string) string { return m.Docker.Value.Part(part)[0].ID }

func listens(on string, p fact.Process) fact.Listener {
	return fact.Listener{Address: netip.MustParseAddrPort(on), Process: p}
}

// TestForeign: what isn't the lab's is refused where it is in the way, with the reason and what to do, and only there.
func TestForeign(t *testing.T) {
	for name, c := range map[string]struct {
		do      func(*fact.Lab)
		refused map[string][]string // by condition: what its lines have
	}{
		"nothing": {func(*fact.Lab) {}, nil},
		"the lab's own": {both(at("calico1", func(m *fact.Machine) {
			node := fact.Process{PID: 9, Name: "bird", Container: ours(m, fact.PartNode)}
			m.Rivals.Value = []fact.Rival{{Product: fact.BIRDDaemon, Process: node}, {Product: fact.Calico, Process: node}}
			m.Listeners.Value = []fact.Listener{listens("0.0.0.0:179", node), listens("127.0.0.1:9099", node)}
		}), at("etcd-node", func(m *fact.Machine) {
			m.Listeners.Value = []fact.Listener{listens("[::]:2379", fact.Process{PID: 9, Name: "etcd", Container: ours(m, fact.PartEtcd)})}
			m.Docker.Value.Volumes = []fact.Volume{{Name: "calico-cni-lab-etcd"}} // made by an older lab
		})), nil},
		"several rivals": {at("calico2", func(m *fact.Machine) {
			m.Rivals.Value = []fact.Rival{
				{Product: fact.BIRDDaemon, Process: fact.Process{PID: 41, Name: "bird"}}, {Product: fact.BIRDDaemon, Unit: "bird.service"},
				{Product: fact.FRR, Unit: "frr.service"}, {Product: fact.UFW}, {Product: fact.NetworkManager, Process: fact.Process{PID: 5, Name: "NetworkManager"}},
				{Product: fact.Firewalld, Unit: "firewalld.service"},
			}
		}), map[string][]string{"rivals/calico2": {
			"BIRD runs (bird, process 41): ", "FRR starts at boot (frr.service): ", "ufw is switched on: ", "/etc/NetworkManager/conf.d/calico.conf", "disable --now firewalld",
		}}},
		"another Calico, in containers of another runtime's": {at("calico1", func(m *fact.Machine) {
			m.Rivals.Value = []fact.Rival{
				{Product: fact.Calico, Process: fact.Process{PID: 7, Name: "calico-node", Container: strings.Repeat("e", 64)}},
				{Product: fact.Kubernetes, Process: fact.Process{PID: 8, Name: "kubelet"}},
			}
		}), map[string][]string{"rivals/calico1": {"Calico runs (calico-node, process 7, in container eeeeeeeeeeee): ", "Kubernetes runs (kubelet, process 8): "}}},
		"ports": {both(at("etcd-node", func(m *fact.Machine) {
			m.Listeners.Value = []fact.Listener{listens("127.0.0.1:2379", fact.Process{PID: 3, Name: "etcd"}), listens("[::1]:2379", fact.Process{PID: 3, Name: "etcd"}), listens("0.0.0.0:2380", fact.Process{})}
		}), at("calico1", func(m *fact.Machine) {
			m.Listeners.Value = []fact.Listener{listens("0.0.0.0:179", fact.Process{PID: 4, Name: "gobgpd"}), listens("0.0.0.0:2379", fact.Process{PID: 5, Name: "x"}), listens("0.0.0.0:8080", fact.Process{PID: 6, Name: "docker-proxy"})}
		})), map[string][]string{
			"ports/etcd-node": {"etcd, process 3 listens on 127.0.0.1:2379, ", "a program listens on 0.0.0.0:2380, "},
			"ports/calico1":   {"gobgpd, process 4 listens on 0.0.0.0:179, ", "docker-proxy, process 6 listens on 0.0.0.0:8080, "},
		}},
		"names": {both(at("etcd-node", func(m *fact.Machine) {
			m.Docker.Value.Containers = []fact.Container{theirs("etcd"), theirs("workload")}
			m.Docker.Value.Volumes = []fact.Volume{{Name: "calico-cni-lab-etcd"}, {Name: "data"}}
		}), at("calico1", func(m *fact.Machine) {
			m.Docker.Value.Containers = append(m.Docker.Value.Containers, theirs("etcd"), theirs("other"))
		}), at("calico2", func(m *fact.Machine) { m.Docker.Value.Containers = []fact.Container{theirs("workload")} })), map[string][]string{
			"names/etcd-node": {"container etcd isn't the lab's", "volume calico-cni-lab-etcd isn't the lab's"},
			"names/calico2":   {"sudo docker rename workload NAME"},
		}},
	} {
		f := recording(t, healthyFile)
		e := existing(t, f)
		c.do(f)
		got := map[string][]string{}
		r := results(e, f)
		for _, res := range r.Results {
			if res.State == check.Refused {
				got[res.ID] = strings.Split(res.Found, "\n")
			}
		}
		for id, lines := range c.refused {
			if len(got[id]) != len(lines) {
				t.Errorf("%s: %s found %q, want %q", name, id, got[id], lines)
				continue
			}
			for i, want := range lines {
				if !strings.Contains(got[id][i], want) {
					t.Errorf("%s: %s found %q, want %q", name, id, got[id][i], want)
				}
			}
		}
		if len(got) != len(c.refused) {
			t.Errorf("%s: refused: %q", name, got)
		}
	}
}

// TestForeignUnknown: what can't be seen is neither refused nor taken for good; whose a container's process is, only Docker knows.
func TestForeignUnknown(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(*fact.Machine)
		want []string
	}{
		"Docker": {func(m *fact.Machine) {
			p := fact.Process{PID: 9, Name: "bird", Container: ours(m, fact.PartNode)}
			m.Rivals.Value, m.Listeners.Value = []fact.Rival{{Product: fact.BIRDDaemon, Process: p}}, []fact.Listener{listens("0.0.0.0:179", p)}
			noDocker(m)
		}, []string{"rivals", "ports", "names"}},
		"rivals": {func(m *fact.Machine) { forget(m, "Rivals") }, []string{"rivals"}},
		"ports":  {func(m *fact.Machine) { forget(m, "Listeners") }, []string{"ports"}},
	} {
		f := recording(t, healthyFile)
		at("calico1", c.do)(f)
		var got []string
		for _, res := range results(existing(t, f), f).Results {
			kind, _, _ := strings.Cut(res.ID, "/")
			if slices.Contains([]string{"rivals", "ports", "names"}, kind) && res.State == check.Unknown {
				got = append(got, kind)
			}
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestForeignElsewhere: what the lab made itself has no conditions on what is somebody else's.
func TestForeignElsewhere(t *testing.T) {
	f := recording(t, healthyFile)
	made, were := Conditions(envOf(t, f, ""), All()), Conditions(existing(t, f), All())
	const own, others = 65, 65 + 4*3 // README.md and docs/working-with-the-lab.md have the first one, too
	if len(made) != own || len(were) != others {
		t.Errorf("%d conditions on machines that the lab made, expected %d; %d on others, expected %d", len(made), own, len(were), others)
	}
}

// TestMark: machines that existed before carry the lab's mark; those of another lab are refused, and one without is marked.
func TestMark(t *testing.T) {
	const own, other = machine.Mark("aaaa lab anna@laptop"), machine.Mark("bbbb lab bob@tower")
	for name, c := range map[string]struct {
		seen fact.Seen[string]
		mark machine.Mark
		want check.State
		has  string
	}{
		"the lab's own":          {fact.Known(string(own)), own, check.Holds, "aaaa"},
		"another's":              {fact.Known(string(other)), own, check.Refused, "it belongs to lab lab of bob@tower; destroy that there first"},
		"another's, before ours": {fact.Known(string(other)), "", check.Refused, "/state/mark"},
		"none":                   {fact.Known(""), own, check.Broken, "carries no mark"},
		"none, nor has the lab":  {fact.Known(""), "", check.Broken, "carries no mark"},
		"not seen":               {fact.Unknown[string]("permission denied"), own, check.Unknown, "permission denied"},
	} {
		f := recording(t, healthyFile)
		e := envOf(t, f, "")
		e.Caps, e.Mark, e.StateDir = machine.Capabilities{Undo: true}, c.mark, "/state"
		at("calico1", func(m *fact.Machine) { m.Mark = c.seen })(f)
		found := false
		for _, res := range results(e, f).Results {
			if res.ID != "mark/calico1" {
				continue
			}
			found = true
			if res.State != c.want || !strings.Contains(res.Found, c.has) {
				t.Errorf("%s: %s: %s", name, res.State, res.Found)
			}
		}
		if !found {
			t.Errorf("%s: there is no condition on marks", name)
		}
	}
}

// TestRefusedError: each fault is a line of its own, with its machine.
func TestRefusedError(t *testing.T) {
	err := refusal(check.Report{Results: []check.Result{
		{Stage: "up", Machine: "calico1", State: check.Refused, Found: "one\ntwo"}, {Stage: "up", State: check.Holds},
		{Stage: "ipPool", State: check.Refused, Found: "three\nwhat to do: four"},
	}})
	if diff := cmp.Diff("up: calico1: one\nup: calico1: two\nipPool: three\nwhat to do: four", err.Error()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
