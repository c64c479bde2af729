package stage

import (
	"cmp"
	"fmt"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
)

// routeCondition: every block of another node has a route via that node, by BIRD. Addresses are assigned from the datastore; it
// takes BGP a moment to follow.
func routeCondition(e *Env, m lab.Machine) check.Condition {
	return on("routes", m, fact.Routes,
		m.Name+" has a route to every other node's blocks, via the node, proto bird", "starts what was stopped; if that is not it, calico-node",
		func(seen fact.Machine, f *fact.Lab) check.Finding {
			if why := cmp.Or(seen.Routes.Unknown, f.Datastore.Unknown); why != "" {
				return check.CantSee("%s", why)
			}
			if bgp := bgpFinding(seen, sessionsOf(e, m)); bgp.State != check.Holds {
				return check.CantSee("BGP comes first: %s", bgp.Found)
			}
			have := map[string]bool{}
			for _, r := range seen.Routes.Value {
				if r.Protocol == "bird" {
					have[r.To.String()+" "+r.Via.String()] = true
				}
			}
			want := wantedRoutes(e, m, f)
			var missing []string
			for _, r := range want {
				if !have[r.To.String()+" "+r.Via.String()] {
					missing = append(missing, fmt.Sprintf("%s via %s", r.To, r.Via))
				}
			}
			if len(missing) > 0 {
				return check.Not("missing: %s", check.Names(missing))
			}
			if len(want) == 0 {
				return check.OK("no other node has a block yet")
			}
			return check.OK("%s", plural(len(want), "route"))
		})
}

// wantedRoutes are a node's routes to the blocks of the others.
func wantedRoutes(e *Env, m lab.Machine, f *fact.Lab) []fact.Via {
	var all []fact.Via
	for _, other := range e.Nodes() {
		if other.Name == m.Name {
			continue
		}
		for _, b := range f.Datastore.Value.BlocksOf(other.Name) {
			all = append(all, fact.Via{To: b, Via: other.Address})
		}
	}
	return all
}
