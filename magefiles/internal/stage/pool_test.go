package stage

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

// TestPool: what Calico can change in a pool, the stage changes; what it can't, a person has to decide before anything is
// touched, and is told the commands.
func TestPool(t *testing.T) {
	remedy := func(pool string) string {
		return "\nwhat to do: put lab.yaml back, or take the workloads and that pool away first:\n  go tool mage unplumb\n" +
			"  go tool mage ssh etcd-node sudo calicoctl delete ippool " + pool + "\n  go tool mage verify"
	}
	pool := func(do func(*fact.Pool)) func(*fact.Datastore) {
		return func(d *fact.Datastore) { do(&d.Pools[0]) }
	}
	const fixed = ", and Calico can't change that in a pool that exists"
	for _, c := range []struct {
		name  string
		do    func(*fact.Datastore)
		state check.State
		found string
	}{
		{"as in lab.yaml", func(*fact.Datastore) {}, check.Holds, "10.1.0.0/16, blocks of /26, ipipMode Never, natOutgoing true"},
		{"none", func(d *fact.Datastore) { d.Pools = nil }, check.Broken, "there is no pool my.ippool-1"},
		{
			"another one elsewhere", func(d *fact.Datastore) {
				d.Pools = append(d.Pools, fact.Pool{Name: "mine", CIDR: prefix("10.2.0.0/16")})
			},
			check.Holds, "10.1.0.0/16, blocks of /26, ipipMode Never, natOutgoing true",
		},
		{
			"another name, same CIDR", pool(func(p *fact.Pool) { p.Name = "old" }), check.Refused,
			"pool old (10.1.0.0/16) overlaps lab.yaml's pool my.ippool-1 (10.1.0.0/16), and Calico allows no two such pools" + remedy("old"),
		},
		{
			"another one inside", func(d *fact.Datastore) {
				d.Pools = append(d.Pools, fact.Pool{Name: "part", CIDR: prefix("10.1.2.0/24")})
			}, check.Refused,
			"pool part (10.1.2.0/24) overlaps lab.yaml's pool my.ippool-1 (10.1.0.0/16), and Calico allows no two such pools" + remedy("part"),
		},
		{
			"another CIDR", pool(func(p *fact.Pool) { p.CIDR = prefix("10.2.0.0/16") }), check.Refused,
			"pool my.ippool-1: cidr is 10.2.0.0/16, not 10.1.0.0/16" + fixed + remedy("my.ippool-1"),
		},
		{
			"another block size", pool(func(p *fact.Pool) { p.BlockSize = 28 }), check.Refused,
			"pool my.ippool-1: blockSize is 28, not 26" + fixed + remedy("my.ippool-1"),
		},
		{
			"both kinds", pool(func(p *fact.Pool) { p.BlockSize, p.NATOutgoing = 28, false }), check.Refused,
			"pool my.ippool-1: blockSize is 28, not 26, natOutgoing is false, not true" + fixed + remedy("my.ippool-1"),
		},
		{"NAT", pool(func(p *fact.Pool) { p.NATOutgoing = false }), check.Broken, "natOutgoing is false, not true"},
		{"IPIP", pool(func(p *fact.Pool) { p.IPIPMode = "Always" }), check.Broken, "ipipMode is Always, not Never"},
		{"VXLAN", pool(func(p *fact.Pool) { p.VXLANMode = "Always" }), check.Broken, "vxlanMode is Always, not Never"},
		{"disabled", pool(func(p *fact.Pool) { p.Disabled = true }), check.Broken, "disabled is true, not false"},
		{"not exported", pool(func(p *fact.Pool) { p.NoBGPExport = true }), check.Broken, "disableBGPExport is true, not false"},
	} {
		f := recording(t, healthyFile)
		e := envOf(t, f, "")
		store(c.do)(f)
		r := results(e, f)
		part := r.Of(IPPool)
		if got := part.Results[0]; len(part.Results) != 1 || got.State != c.state {
			t.Errorf("%s: %+v", c.name, part.Results)
		} else if diff := cmp.Diff(c.found, got.Found); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
		if n := len(r.Unmet()); n > 1 {
			t.Errorf("%s: %d conditions don't hold", c.name, n)
		}
	}
}

// TestPoolWritten: what is written is what is looked for.
func TestPoolWritten(t *testing.T) {
	e := envOf(t, recording(t, healthyFile), "")
	data, err := json.Marshal(e.Pool())
	if err != nil {
		t.Fatal(err)
	}
	d, err := fact.ParseDatastore([]fact.KeyValue{{Key: "/calico/resources/v3/projectcalico.org/ippools/" + e.Lab.Pool.Name, Value: data}})
	if err != nil {
		t.Fatal(err)
	}
	if got := poolFinding(&d, e.Lab.Pool, "etcd-node"); got.State != check.Holds {
		t.Errorf("%s: %s", data, got.Found)
	}
}
