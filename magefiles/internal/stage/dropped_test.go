package stage

import (
	"slices"
	"strings"
	"testing"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

// TestDropped: where a rule drops what BGP or etcd says, nothing is tried: the rule is named, and what to do. Of machines that existed before
// the lab nothing is said, and rules that have nothing to do with it are no reason.
func TestDropped(t *testing.T) {
	rule := func(machine, text string) func(*fact.Lab) {
		return at(machine, func(m *fact.Machine) {
			m.Dropping = fact.Known([]fact.Rule{{Table: "filter", Chain: "INPUT", Text: text, Packets: 7}})
		})
	}
	down := session(func(p *fact.Protocol) { p.State, p.Info = "start", "Connect" })
	ill := at("etcd-node", func(m *fact.Machine) { m.Etcd.Value = fact.Health{Said: "nothing answers"} })
	const bgp, etcd, ssh = "-p tcp -m tcp --dport 179 -j DROP", "-p tcp -m multiport --dports 2379,2380 -j DROP", "-p tcp -m tcp --dport 22 -j DROP"
	for name, c := range map[string]struct {
		do      func(*fact.Lab)
		blocked string // the condition
		found   string
	}{
		"BGP, there":      {both(down, rule("calico1", bgp)), "bgp/calico1", "not Established with 192.168.4.6 (start Connect)\na rule on calico1 has dropped 7 packets: -A INPUT " + bgp},
		"BGP, at its end": {both(down, rule("calico2", bgp)), "bgp/calico1", "not Established with 192.168.4.6 (start Connect)\na rule on calico2 has dropped 7 packets: -A INPUT " + bgp},
		"etcd":            {both(ill, rule("etcd-node", etcd)), "etcd/etcd-node", "nothing answers\na rule on etcd-node has dropped 7 packets: -A INPUT " + etcd},
		"another port":    {both(down, rule("calico1", ssh)), "", ""},
		"another machine": {both(ill, rule("calico1", etcd)), "", ""},
		"all is well":     {rule("calico1", bgp), "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			e, w := newEngine(t)
			w.seen = func(int) fact.Lab {
				f := recording(t, healthyFile)
				c.do(f)
				return *f
			}
			if err := e.look(t.Context()); err != nil {
				t.Fatal(err)
			}
			found := blocking(e)
			if c.blocked == "" {
				if len(found) > 0 {
					t.Errorf("%+v", found)
				}
				return
			}
			r, err := e.Reach(t.Context(), Goal{Stages: []string{Plumb}})
			if err != nil || r.OK || !r.Blocked() || len(w.told) > 0 || len(w.looks) != 2 {
				t.Errorf("%v, OK %t, told %q, looks %q", err, r.OK, w.told, w.looks)
			}
			if len(found) != 1 || found[0].ID != c.blocked || found[0].Found != c.found || !strings.HasSuffix(found[0].Left, "go tool mage reset") {
				t.Errorf("%+v", found)
			}
			e.Env.Caps.Undo = true
			if found := blocking(e); len(found) > 0 {
				t.Errorf("on a machine of the user's: %+v", found)
			}
		})
	}
}

// blocking are the results as long as which nothing can be mended.
func blocking(e *Engine) []check.Result {
	f := e.Facts()
	r := check.Run(Conditions(e.Env, All()), &f)
	return slices.DeleteFunc(r.Unmet(), func(r check.Result) bool { return !r.Blocks })
}
