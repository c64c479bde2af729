package picture

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact/recorded"
)

func TestChanges(t *testing.T) {
	const file = "../explain/testdata/arrives.facts.json.gz"
	before := recording(t, file, "")
	if again := recording(t, file, ""); len(again.Changes(&before)) != 0 {
		t.Errorf("the same twice: %v", again.Changes(&before))
	}
	for name, c := range map[string]struct {
		change func(*fact.Lab)
		want   []string
	}{
		"a session fell": {func(f *fact.Lab) {
			m := f.Machines["calico1"]
			m.BIRD.Value.Protocols[4].State, m.BIRD.Value.Protocols[4].Info = "start", "Active"
			m.Routes.Value = append(m.Routes.Value[:1:1], m.Routes.Value[2:]...)
			f.Machines["calico1"] = m
		}, []string{
			"bad session-calico1-calico2 BGP calico1 – calico2: calico1 says start Active",
			"unknown machine-calico1 calico1: route 10.1.86.64/26 via 192.168.4.6 dev host0 proto bird went",
		}},
		"a machine fell": {func(f *fact.Lab) {
			delete(f.Machines, "calico2")
			f.Unreached = map[string]string{"calico2": "the machine is stopped"}
		}, []string{
			"bad machine-calico2 calico2: the machine is stopped",
		}},
		"a policy and a block came": {func(f *fact.Lab) {
			f.Datastore.Value.Policies = []fact.Policy{{Kind: "globalnetworkpolicies", Name: "default.deny-all"}}
			f.Datastore.Value.Blocks = append(f.Datastore.Value.Blocks, fact.Block{CIDR: netip.MustParsePrefix("10.1.0.0/26"), Node: "calico1", Free: 64})
		}, []string{"ok  block 10.1.0.0/26, calico1's, came", "ok  policy default.deny-all came"}},
	} {
		f := recorded.Lab(t, file)
		c.change(f)
		now := Of(theLab(t), f, nil)
		var got []string
		for _, x := range now.Changes(&before) {
			if !strings.HasPrefix(x.Text, "confd") {
				got = append(got, string(x.State)+" "+x.ID+" "+x.Text)
			}
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
