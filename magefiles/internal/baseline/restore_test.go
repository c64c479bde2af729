package baseline

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

// script returns the lines that undo what was done to a lab on a machine.
func undoing(t *testing.T, b *Baseline, machine string, round int, do ...func(*fact.Lab)) string {
	t.Helper()
	f := healthy(t)
	for _, d := range do {
		d(f)
	}
	all := slices.DeleteFunc(Differences(b, f), func(d Difference) bool { return d.Machine != machine })
	text := b.machineScript(all, f.Machines[machine], expand(workloads(f, b.Network, b.Workloads)), round)
	return strings.TrimSpace(strings.TrimPrefix(text, preamble))
}

// named returns one of the things that somebody does to a lab.
func named(t *testing.T, name string) func(*fact.Lab) {
	t.Helper()
	for _, d := range different {
		if d.name == name {
			return d.do
		}
	}
	t.Fatalf("nothing is named %q", name)
	return nil
}

// after are a lab's facts after somebody did things to it.
func after(t *testing.T, names ...string) *fact.Lab {
	t.Helper()
	f := healthy(t)
	for _, n := range names {
		named(t, n)(f)
	}
	return f
}

func TestMachineScript(t *testing.T) {
	b := made(t, false)
	for _, c := range []struct {
		name, machine string
		round         int
		want          string
	}{
		{"a container", "calico1", 0, "run docker rm --force --volumes mine"},
		{"the workload gone", "calico2", 0, ""}, // the stages make it
		{"an interface", "calico1", 0, "run ip link del hand0"},
		{"an MTU", "calico2", 0, "run ip link set host0 mtu 1500"},
		{"a route", "calico1", 0, "run ip route del 10.78.0.0/16 dev host0"},
		{"the default route gone", "calico1", 0, "run ip route replace 0.0.0.0/0 via 192.168.4.1 dev host0 proto static metric 100"},
		{"a permanent neighbour", "calico1", 0, "run ip neighbour del 192.168.4.9 dev host0"},
		{"a routing rule", "calico1", 0, "run ip rule del priority 5 table 100"},
		{"a network namespace", "calico1", 0, "ip netns pids w1 2>/dev/null | xargs -r kill -KILL 2>/dev/null\nrun ip netns del w1"},
		{"a Docker network", "calico1", 0, "run docker network rm mine"},
		{"forwarding", "calico2", 0, "run sysctl -w net/ipv4/ip_forward=1"},
		{"a queueing discipline", "calico2", 0, "run tc qdisc del dev host0 root"},
		{"a firewall rule", "calico2", 0, "run iptables-restore --noflush <<<'*filter\n-D FORWARD -j DROP\nCOMMIT\n'"},
		{"another conflist", "calico1", 0, "run install -d " + kept + "\nrun mv -f --backup=numbered --target-directory=" + kept + " /etc/cni/net.d/99-mine.conf"},
		{"what libcni remembers", "calico1", 0, "run rm -f /var/lib/cni/results/test-calico-cnitool-x-eth0"},
		{"the sandbox", "calico1", 0, ""}, // plumbing it anew may be enough
		{"the sandbox", "calico1", 1, "run docker rm --force workload"},
		{"a service", "calico1", 0, fmt.Sprintf(inNode, "sv up /etc/service/enabled/confd")},
	} {
		if diff := cmp.Diff(c.want, undoing(t, b, c.machine, c.round, named(t, c.name))); diff != "" {
			t.Errorf("%s, round %d (-want +got):\n%s", c.name, c.round, diff)
		}
	}
}

// TestRenderedLast: confd renders BIRD's configuration anew when the datastore changes; only where it doesn't it is written.
func TestRenderedLast(t *testing.T) {
	b := made(t, false)
	edited := named(t, "BIRD's configuration")
	if got := undoing(t, b, "calico1", 0, edited); !strings.Contains(got, "/root/etc/calico/confd/config/bird.cfg") || !strings.Contains(got, "configure") {
		t.Errorf("edited by hand: %s", got)
	}
	f := after(t, "BIRD's configuration", "a policy")
	all := Differences(b, f)
	if got := b.machineScript(all, f.Machines["calico1"], expand(b.Workloads), 0); got != "" {
		t.Errorf("edited, and the datastore differs: %s", got)
	}
}

func TestOperations(t *testing.T) {
	b := made(t, false)
	f := after(t, "a policy", "a pool gone")
	got := map[string]string{}
	for _, op := range operations(Differences(b, f), expand(b.Workloads)) {
		got[op.Key] = map[bool]string{true: "delete", false: "put"}[op.Delete]
		if !op.Delete && !strings.Contains(string(op.Value), `"cidr":"10.1.0.0/16"`) {
			t.Errorf("the pool is put back as %s", op.Value)
		}
	}
	want := map[string]string{fact.ResourcePrefix + "globalnetworkpolicies/deny-all": "delete", fact.ResourcePrefix + "ippools/my.ippool-1": "put"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestReplaced: a datastore that lost its data is known as such, also where Calico has named it since; one that was changed is not.
func TestReplaced(t *testing.T) {
	b := made(t, false)
	for name, c := range map[string]struct {
		do                func(*fact.Lab)
		differs, replaced bool
	}{
		"as it was":       {func(*fact.Lab) {}, false, false},
		"another release": {entry("clusterinformations/", `"calicoVersion":"v3.31.0"`, `"calicoVersion":"v3.14.0"`), true, false},
		"named again":     {entry("clusterinformations/", `"clusterGUID":"`, `"clusterGUID":"0`), true, true},
		"empty":           {entries(func([]fact.KeyValue) []fact.KeyValue { return nil }), true, true},
	} {
		f := healthy(t)
		c.do(f)
		all := Differences(b, f)
		if got := slices.ContainsFunc(all, replaced); got != c.replaced || (len(all) > 0) != c.differs {
			t.Errorf("%s: %t, where this differs:\n%s", name, got, listed(all))
		}
	}
}

func TestFilesPut(t *testing.T) {
	b := made(t, false)
	f := after(t, "a conflist", "nodename", "a plugin gone") // the last is the stages'
	var got []string
	for _, file := range files(Differences(b, f), expand(b.Workloads), "/home/vagrant") {
		got = append(got, fmt.Sprintf("%s %o %s %d", file.Path, file.Mode, file.Owner, min(len(file.Content), 7)))
	}
	want := []string{"/etc/cni/net.d/10-test-calico.conflist 644 root:root 7", "/var/lib/calico/nodename 644 root:root 7"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestLost: what nobody can put back is named, and the baseline is without it afterwards.
func TestLost(t *testing.T) {
	f := after(t, "a container")
	b, err := New(f, "", "test-calico", false)
	if err != nil {
		t.Fatal(err)
	}
	left, lost := split(Differences(b, healthy(t)), 0)
	if len(left) != 0 || len(lost) != 1 || lost[0].Name != "mine" {
		t.Fatalf("left %s, lost %s", listed(left), listed(lost))
	}
	if got := listed(Differences(b.Without(lost), healthy(t))); got != "" {
		t.Errorf("without it:\n%s", got)
	}
}
