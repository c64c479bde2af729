package observe

import (
	"context"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
)

const sum = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// program is where a machine has the look program that was brought there.
const program = "/var/lib/calico-cni-lab/look-0123456789ab"

// newObserver returns an observer of the recorded lab, of which those machines answer that have an endpoint, and the look
// program's file on this computer.
func newObserver(t *testing.T, endpoints ...remote.Endpoint) (o *Observer, file string) {
	t.Helper()
	l, err := lab.Load("../stage/testdata/lab.yaml")
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "look")
	if err := os.WriteFile(file, []byte("program"), 0o755); err != nil {
		t.Fatal(err)
	}
	hosts := remote.NewHosts(func() ([]remote.Endpoint, error) { return endpoints, nil }, func() *command.Log { return nil })
	t.Cleanup(hosts.Close)
	return &Observer{Lab: l, Hosts: hosts, Slow: 1, Program: func(context.Context) (string, string, error) { return file, sum, nil }}, file
}

// looked answers a look with a machine, and keeps what was asked.
func looked(t *testing.T, m fact.Machine, asked *fact.Request) func(string, []byte) (string, uint32) {
	return func(_ string, stdin []byte) (string, uint32) {
		if err := json.Unmarshal(stdin, asked); err != nil {
			t.Errorf("asked %q: %v", stdin, err)
		}
		out, err := json.Marshal(m)
		if err != nil {
			t.Error(err)
		}
		return string(out), 0
	}
}

func TestLook(t *testing.T) {
	var fromEtcd, fromNode fact.Request
	etcd := &server{answer: looked(t, fact.Machine{Datastore: fact.Known([]fact.KeyValue{{Key: "/calico/resources/v3/projectcalico.org/bgppeers/up", Value: []byte("{}")}})}, &fromEtcd)}
	node := &server{answer: looked(t, fact.Machine{Lacks: []string{"jq"}, Datastore: fact.Unknown[[]fact.KeyValue](fact.NotAsked)}, &fromNode)}
	o, _ := newObserver(t, serve(t, "etcd-node", etcd), serve(t, "calico1", node))
	f := o.Look(t.Context(), o.Lab.Machines, func(m lab.Machine) *fact.Until {
		if m.Role == lab.RoleEtcd {
			return nil
		}
		return &fact.Until{Within: time.Minute, Felix: true}
	})
	if len(f.Machines) != 2 || f.Machines["calico1"].Lacks[0] != "jq" || f.Unreached["calico2"] != "nothing says how to enter calico2" || len(f.Unreached) != 1 {
		t.Errorf("machines %v, unreached %v", f.Machines, f.Unreached)
	}
	if diff := cmp.Diff(fact.Known(fact.Datastore{Peers: []fact.PeerResource{{Name: "up"}}}), f.Datastore); diff != "" {
		t.Errorf("datastore (-want +got):\n%s", diff)
	}
	if f.Machines["etcd-node"].Datastore.Unknown != fact.NotAsked {
		t.Error("the datastore is there twice")
	}
	if fromEtcd.Etcd == nil || fromEtcd.Until != nil || fromNode.Etcd != nil || fromNode.Until == nil || !fromNode.Until.Felix || fromNode.Until.Within != time.Minute {
		t.Errorf("asked etcd's machine %+v, the node %+v", fromEtcd, fromNode)
	}
	// One command each, which the machine ends itself: after the look's own time, and what it waits for.
	for s, limit := range map[*server]string{etcd: "20.0", node: "80.0"} {
		if len(s.ran()) != 1 || !strings.HasSuffix(s.ran()[0], " "+program) || !strings.HasPrefix(s.ran()[0], "sudo -n timeout --kill-after=1 ") || !near(s.ran()[0], limit) {
			t.Errorf("ran %q", s.ran())
		}
	}
}

// near says whether a command line has a time limit of some seconds, or a bit less.
func near(line, limit string) bool {
	got, err := time.ParseDuration(strings.Fields(line)[4] + "s")
	want, werr := time.ParseDuration(limit + "s")
	return err == nil && werr == nil && got <= want && got > want-5*time.Second
}

// TestBring: the look program is brought to a machine that doesn't have it, once.
func TestBring(t *testing.T) {
	var mu sync.Mutex
	there := false
	s := &server{answer: func(line string, _ []byte) (string, uint32) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case strings.HasSuffix(line, " "+program) && there:
			return "{}", 0
		case strings.HasSuffix(line, " "+program):
			return "", 127
		}
		there = strings.Contains(line, "put-files.sh")
		return "", 0
	}}
	o, _ := newObserver(t, serve(t, "calico1", s))
	m, _ := o.Lab.Machine("calico1")
	for i, want := range []int{3, 4} {
		f := o.Look(t.Context(), []lab.Machine{m}, nil)
		if _, ok := f.Machines["calico1"]; !ok || len(s.ran()) != want {
			t.Errorf("look %d: %v, %d commands", i, f.Unreached, len(s.ran()))
		}
	}
}

// TestShared: nothing is brought to a machine that sees this computer's files.
func TestShared(t *testing.T) {
	status := uint32(0)
	s := &server{answer: func(string, []byte) (string, uint32) { return "{}", status }}
	e := serve(t, "calico1", s)
	e.Shares = remote.Shares{{Here: "/", There: "/share"}}
	o, file := newObserver(t, e)
	m, _ := o.Lab.Machine("calico1")
	f := o.Look(t.Context(), []lab.Machine{m}, nil)
	if _, ok := f.Machines["calico1"]; !ok || len(s.ran()) != 1 || !strings.HasSuffix(s.ran()[0], " /share"+file) {
		t.Errorf("%v; ran %q", f.Unreached, s.ran())
	}
	status = 127
	if f := o.Look(t.Context(), []lab.Machine{m}, nil); f.Unreached["calico1"] == "" || len(s.ran()) != 2 {
		t.Errorf("%v; ran %q", f.Machines, s.ran())
	}
}

// TestLookFails: a machine that can't be looked at is one that doesn't answer, and says why.
func TestLookFails(t *testing.T) {
	for want, answer := range map[string]struct {
		out    string
		status uint32
	}{"what the look at etcd-node printed: ": {"<html>", 0}, "exit status 1": {"", 1}} {
		s := &server{answer: func(string, []byte) (string, uint32) { return answer.out, answer.status }}
		o, _ := newObserver(t, serve(t, "etcd-node", s))
		f := o.Look(t.Context(), []lab.Machine{o.Lab.Etcd()}, nil)
		if !strings.Contains(f.Unreached["etcd-node"], want) || len(f.Machines) > 0 || f.Datastore.Unknown != "etcd-node doesn't answer" {
			t.Errorf("%+v, want ... %s ...", f, want)
		}
	}
}

func TestDatastore(t *testing.T) {
	if got := datastore(fact.Unknown[[]fact.KeyValue]("no answer")); got.Unknown != "no answer" {
		t.Errorf("unknown: %+v", got)
	}
	const key = "/calico/resources/v3/projectcalico.org/nodes/calico1"
	if got := datastore(fact.Known([]fact.KeyValue{{Key: key, Value: []byte("{")}})); !strings.HasPrefix(got.Unknown, key+": ") {
		t.Errorf("malformed: %+v", got)
	}
}

// plumbed is a machine whose workload has an address.
func plumbed(key, address string) (m fact.Machine) {
	var c fact.Container
	c.Name = "/workload"
	c.Config.Labels, c.NetworkSettings.SandboxKey = map[string]string{fact.LabelPart: fact.PartWorkload}, key
	m.Docker = fact.Known(fact.Docker{Containers: []fact.Container{c}})
	m.Attachments = fact.Known([]fact.Attachment{{Network: "test-calico", NetNS: key, Result: json.RawMessage(`{"cniVersion":"1.0.0","ips":[{"address":"` + address + `/32"}]}`)}})
	m.Sandboxes = fact.Known([]fact.Sandbox{{Key: key}})
	return m
}

func TestProbe(t *testing.T) {
	var asked fact.ProbeRequest
	s := &server{answer: func(_ string, stdin []byte) (string, uint32) {
		if err := json.Unmarshal(stdin, &asked); err != nil {
			t.Error(err)
		}
		return `[{"to":"10.1.0.2","ttl":62}]`, 0
	}}
	o, _ := newObserver(t, serve(t, "calico1", s))
	f := fact.Lab{Machines: map[string]fact.Machine{"calico1": plumbed("/netns/a", "10.1.0.1"), "calico2": plumbed("/netns/b", "10.1.0.2")}}
	byValue := cmpopts.EquateComparable(netip.Addr{})
	to := netip.MustParseAddr("10.1.0.2")
	got := o.Probe(t.Context(), &f)
	want := map[string]fact.Seen[[]fact.Probe]{
		"calico1": fact.Known([]fact.Probe{{To: to, TTL: 62}}), "calico2": fact.Unknown[[]fact.Probe]("nothing says how to enter calico2"),
	}
	if diff := cmp.Diff(want, got, byValue); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(fact.ProbeRequest{
		To: []netip.Addr{netip.MustParseAddr("10.1.0.1"), to}, From: []fact.Sender{{Sandbox: "/netns/a", Address: netip.MustParseAddr("10.1.0.1")}},
		Most: mostProbes, Port: 8080, Within: 4 * time.Second,
	}, asked, byValue); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
	if len(s.ran()) != 1 || !strings.HasSuffix(s.ran()[0], " "+program+" probe") {
		t.Errorf("ran %q", s.ran())
	}
	delete(f.Machines, "calico2")
	got = o.Probe(t.Context(), &f)
	if got["calico2"].Unknown != "the workload there is not plumbed" || len(asked.To) != 0 && asked.To[0] == to {
		t.Errorf("calico2 is gone: %+v, asked %+v", got["calico2"], asked)
	}
}
