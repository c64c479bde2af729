package stage

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/spec"
)

// TestConditions: a report, a plan and a hint can be made of every condition.
func TestConditions(t *testing.T) {
	e := envOf(t, recording(t, healthyFile), "")
	for _, caps := range []machine.Capabilities{{}, {RepairsNetwork: true, Packages: true}} {
		e.Caps = caps
		ids := map[string]bool{}
		for _, c := range Conditions(e, All()) {
			if ids[c.ID] {
				t.Errorf("two conditions %s", c.ID)
			}
			ids[c.ID] = true
			if c.Stage == "" || c.Expected == "" || c.Test == nil {
				t.Errorf("%s lacks something: %+v", c.ID, c)
			}
			if !strings.HasPrefix(c.Try, "go tool mage ") || strings.TrimSpace(c.Try) != c.Try {
				t.Errorf("%s: try %q", c.ID, c.Try)
			}
			if c.Mend == "" && c.Left == "" {
				t.Errorf("%s: neither does a stage mend it, nor does it say who does", c.ID)
			}
			if kind, name, _ := strings.Cut(c.ID, "/"); name != c.Machine || kind == "" {
				t.Errorf("%s is of machine %q", c.ID, c.Machine)
			}
			if _, ok := e.Lab.Machine(c.Machine); c.Machine != "" && !ok {
				t.Errorf("%s: there is no machine %s", c.ID, c.Machine)
			}
		}
	}
}

// TestFullDisk: what Docker says then leads elsewhere, and no stage makes room.
func TestFullDisk(t *testing.T) {
	f := recording(t, healthyFile)
	e := envOf(t, f, "")
	m, _ := f.Machine("calico1")
	m.Docker.Value.Full = true
	f.Machines["calico1"] = m
	report := check.Run(Conditions(e, All()), f)
	unmet := report.Unmet()
	if len(unmet) == 0 {
		t.Fatal("nothing is unmet")
	}
	if r := unmet[0]; r.ID != "docker/calico1" || !strings.Contains(r.Found, "disk is full") || !strings.Contains(r.Left, "docker system df") || r.Try != "go tool mage ssh calico1 df -h /var/lib/docker" {
		t.Errorf("%+v", r)
	}
}

// TestLeft: what the lab can't do on some machines is said to be the user's, and only there.
func TestLeft(t *testing.T) {
	e := envOf(t, recording(t, healthyFile), "")
	for caps, want := range map[machine.Capabilities][]string{
		{RepairsNetwork: true, Packages: true}: {"datastore"},
		{RepairsNetwork: true}:                 {"packages", "datastore"},
		{Packages: true}:                       {"link", "default-route", "datastore"},
	} {
		e.Caps = caps
		var got []string
		for _, c := range Conditions(e, All()) {
			if kind, _, _ := strings.Cut(c.ID, "/"); c.Left != "" && c.Machine == "calico1" {
				got = append(got, kind)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", caps, diff)
		}
	}
}

// TestLayered: of what is wrong the first is the cause: a kind on all machines comes before what follows from it on any.
func TestLayered(t *testing.T) {
	e := envOf(t, recording(t, healthyFile), "")
	var kinds []string
	at := map[string]int{}
	for _, c := range Conditions(e, All()) {
		kind, _, _ := strings.Cut(c.ID, "/")
		if len(kinds) == 0 || kinds[len(kinds)-1] != kind {
			if _, again := at[kind]; again {
				t.Errorf("%s comes again after %s", kind, kinds[len(kinds)-1])
			}
			at[kind] = len(kinds)
			kinds = append(kinds, kind)
		}
	}
	for _, chain := range [][]string{
		{"machine", "link", "docker", "etcd-certificates", "etcd-container", "etcd", "calico-node", "bird", "bgp", "workload", "attachment", "address", "routes", "endpoint", "reach"},
		{"certificates", "calico-node", "node", "felix", "endpoint"}, {"plugins", "attachment"}, {"cnitool", "attachment"}, {"pool", "attachment"},
	} {
		for i := 1; i < len(chain); i++ {
			if at[chain[i-1]] >= at[chain[i]] {
				t.Errorf("%s doesn't come before %s: %v", chain[i-1], chain[i], kinds)
			}
		}
	}
}

// big is a lab with n nodes.
func big(t *testing.T, n int) *Env {
	t.Helper()
	var b strings.Builder
	b.WriteString("name: big\nunderlay: {subnet: 192.168.0.0/16}\nmachines:\n  - {name: etcd-node, role: etcd, address: 192.168.4.7}\n")
	for i := range n {
		fmt.Fprintf(&b, "  - {name: calico%d, role: calico, address: 192.168.9.%d}\n", i+1, i+1)
	}
	b.WriteString("network: n\npool: {name: my.ippool-1, cidr: 10.1.0.0/16, blockSize: 26, ipipMode: Never, natOutgoing: true, disabled: false}\nversions: {debian: bookworm, go: 1.26.11}\n")
	l, err := lab.Parse("lab.yaml", []byte(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	small := envOf(t, recording(t, healthyFile), "")
	s, err := spec.New(l, small.Pins, small.Artifacts)
	if err != nil {
		t.Fatal(err)
	}
	issue(s)
	return &Env{Spec: s, Caps: small.Caps}
}

// TestLinear: twice the nodes are twice the conditions. Between pairs of nodes there are none.
func TestLinear(t *testing.T) {
	n := map[int]int{}
	for _, nodes := range []int{10, 20, 30} {
		n[nodes] = len(Conditions(big(t, nodes), All()))
	}
	if n[20]-n[10] != n[30]-n[20] || n[20]-n[10] <= 0 {
		t.Errorf("%d conditions with 10 nodes, %d with 20, %d with 30", n[10], n[20], n[30])
	}
}

// TestLongFindings: what is found on a node stays a line, however many others there are.
func TestLongFindings(t *testing.T) {
	e := big(t, 30)
	f := recording(t, healthyFile)
	for i := range 30 {
		m := f.Machines["calico1"]
		m.BIRD.Value.Protocols = nil
		f.Machines[fmt.Sprintf("calico%d", i+1)] = m
		f.Datastore.Value.Blocks = append(f.Datastore.Value.Blocks, fact.Block{CIDR: prefix(fmt.Sprintf("10.1.%d.0/26", i)), Node: fmt.Sprintf("calico%d", i+1)})
	}
	r := check.Run(Conditions(e, All()), f)
	for _, res := range r.Results {
		if len(res.Found) > 200 || len(res.Expected) > 200 {
			t.Errorf("%s: expected %q, found %q", res.ID, res.Expected, res.Found)
		}
	}
	var bgp, routes string
	for _, res := range r.Results {
		switch res.ID {
		case "bgp/calico30":
			bgp = res.Found
		case "routes/calico30":
			routes = res.Found
		}
	}
	if want := "not Established with 192.168.9.1 (BIRD has no session) ... 192.168.9.29 (BIRD has no session) (29)"; bgp != want {
		t.Errorf("found %q, want %q", bgp, want)
	}
	if !strings.HasPrefix(routes, "BGP comes first: not Established with 192.168.9.1 ") {
		t.Errorf("found %q", routes)
	}
}

// TestPolicies: packets that a policy of the user's may have dropped are the user's.
func TestPolicies(t *testing.T) {
	f := recording(t, healthyFile)
	e := envOf(t, f, "")
	answered(func(p *fact.Probe) { p.Ping = "no reply" })(f)
	f.Datastore.Value.Policies = []fact.Policy{{Kind: "globalnetworkpolicies", Name: "deny"}}
	r := results(e, f)
	unmet := r.Unmet()
	const left = "there are policies of yours, which the lab leaves alone: globalnetworkpolicies/deny; see them with: " +
		"go tool mage ssh etcd-node sudo calicoctl get globalnetworkpolicies --output=yaml"
	if len(unmet) != 1 || unmet[0].ID != "reach/calico1" || unmet[0].Left != left || unmet[0].Mendable() {
		t.Errorf("unmet: %+v", unmet)
	}
}
