package machine

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
)

func testPlan() Plan {
	return Plan{
		Hardware: "ssh", Name: "test", Underlay: lab.Underlay{Subnet: netip.MustParsePrefix("192.168.4.0/24")}, Gateway: netip.MustParseAddr("192.168.4.1"),
		Machines: []Planned{
			{Name: "etcd-node", Role: lab.RoleEtcd, Address: netip.MustParseAddr("192.168.4.7")},
			{Name: "calico1", Role: lab.RoleCalico, Address: netip.MustParseAddr("192.168.4.5"), SSH: lab.SSH{User: "netadmin"}},
		},
	}
}

func TestPlan(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	if _, exists, err := ReadPlan(dir); exists || err != nil {
		t.Errorf("a plan of nobody: %v, %v", exists, err)
	}
	want := testPlan()
	if err := want.Write(dir); err != nil {
		t.Fatal(err)
	}
	got, exists, err := ReadPlan(dir)
	if err != nil || !exists {
		t.Fatal(exists, err)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	data, err := os.ReadFile(filepath.Join(dir, PlanFile))
	if err != nil || strings.Count(string(data), `"ssh"`) != 2 { // the kind's name, and one machine's section
		t.Errorf("%s, %v", data, err)
	}
}

// TestDifferences: another lab has other machines; other ways into the same ones are none.
func TestDifferences(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Plan)
		want   string
	}{
		"nothing": {func(*Plan) {}, ""},
		"the way in": {func(p *Plan) {
			p.Machines[1].SSH = lab.SSH{Address: "calico1.example", Port: 2222, User: "root", Key: "~/key", HostKey: "ssh-ed25519 AAAA"}
		}, ""},
		"role":    {func(p *Plan) { p.Machines[1].Role = lab.RoleEtcd }, "calico1 has another role or address"},
		"address": {func(p *Plan) { p.Machines[1].Address = netip.MustParseAddr("192.168.4.15") }, "calico1 has another role or address"},
		"machine": {func(p *Plan) { p.Machines[1].Name = "calico2" }, "calico2 is new, calico1 is gone"},
		"order":   {func(p *Plan) { p.Machines[0], p.Machines[1] = p.Machines[1], p.Machines[0] }, ""},
		"layer":   {func(p *Plan) { p.Hardware = "nspawn" }, "the hardware layer is nspawn, not ssh"},
		"gateway": {func(p *Plan) { p.Gateway = netip.MustParseAddr("192.168.4.2") }, "the gateway is 192.168.4.2, not 192.168.4.1"},
	} {
		other := testPlan()
		c.change(&other)
		if got := testPlan().Differences(other, false); got != c.want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// TestResized: machines may come and go where the layer can do that, but not the datastore's.
func TestResized(t *testing.T) {
	more, fewer, moved := testPlan(), testPlan(), testPlan()
	more.Machines = append(more.Machines, Planned{Name: "calico9", Role: lab.RoleCalico, Address: netip.MustParseAddr("192.168.4.19")})
	fewer.Machines = fewer.Machines[:1]
	moved.Machines[0].Name = "etcd9"
	for _, c := range []struct {
		from, to Plan
		want     string
		gone     int
	}{
		{testPlan(), more, "", 0}, {more, testPlan(), "", 1}, {testPlan(), fewer, "", 1}, {testPlan(), moved, "etcd9 is new, etcd-node is gone", 1},
	} {
		if got := c.from.Differences(c.to, true); got != c.want || len(c.from.Gone(c.to)) != c.gone {
			t.Errorf("%v to %v: %q, gone %v", c.from.Names(), c.to.Names(), got, c.from.Gone(c.to))
		}
	}
}

// TestEnteredBy takes the ways in of the same machines, and nothing else.
func TestEnteredBy(t *testing.T) {
	newer := testPlan()
	newer.Name = "other"
	newer.Machines[1].SSH.Key = "~/new"
	newer.Machines[0].SSH.Key = "~/new"
	newer.Machines[0].Address = netip.MustParseAddr("192.168.4.17")
	want := testPlan()
	want.Machines[1].SSH.Key = "~/new"
	kept := testPlan()
	if diff := cmp.Diff(want, kept.EnteredBy(newer), cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if kept.Machines[1].SSH.Key != "" {
		t.Error("the plan itself was changed")
	}
}

// TestPlanOfOldName: labs that are there already were made when the kind had another name.
func TestPlanOfOldName(t *testing.T) {
	dir := t.TempDir()
	old := testPlan()
	old.Hardware = "hosts"
	if err := old.Write(dir); err != nil {
		t.Fatal(err)
	}
	if got, _, err := ReadPlan(dir); err != nil || got.Hardware != "ssh" {
		t.Errorf("%q, %v", got.Hardware, err)
	}
}

func TestDamagedPlan(t *testing.T) {
	dir := t.TempDir()
	if err := testPlan().Write(dir); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(filepath.Join(dir, PlanFile))
	if err != nil {
		t.Fatal(err)
	}
	damaged := map[string]string{
		"empty object": "{}", "null": "null", "zeros": strings.Repeat("\x00", 100), "of another kind": "[]",
		"no name":              strings.Replace(string(whole), `"name": "test"`, `"name": ""`, 1),
		"a name that leads up": strings.Replace(string(whole), `"name": "test"`, `"name": ".."`, 1),
		"a name with a slash":  strings.Replace(string(whole), `"name": "calico1"`, `"name": "../x"`, 1),
		"no address":           strings.Replace(string(whole), "192.168.4.5", "", 1),
		"no kind":              strings.Replace(string(whole), `"hardware": "ssh"`, `"hardware": ""`, 1),
	}
	// Cut anywhere; the last two bytes are "}\n".
	for n := range len(whole) - 2 {
		damaged["cut"] = string(whole[:n])
		for name, text := range damaged {
			if err := os.WriteFile(filepath.Join(dir, PlanFile), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			p, _, err := ReadPlan(dir)
			if !errors.Is(err, ErrPlan) || !strings.Contains(err.Error(), "go tool mage destroy") || p.Name != "" {
				t.Fatalf("%s (%d): %+v, %v\n%s", name, n, p, err, text)
			}
			if name != "cut" {
				delete(damaged, name) // once is enough
			}
		}
	}
}
