package stage

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
)

// routeCondition: every block of another node has a route via that node, by BIRD, or by Felix where the pool is one for VXLAN.
// Addresses are assigned from the datastore; it takes BGP a moment to follow.
func routeCondition(e *Env, m lab.Machine) check.Condition {
	how := "via the node, proto bird"
	if e.Lab.Behind.IsValid() {
		how = "via the node or the router before it, proto bird"
	}
	if e.Lab.Pool.VXLANMode != lab.VXLANNever {
		how = "by Felix, vxlanMode " + e.Lab.Pool.VXLANMode
	}
	return on("routes", m, fact.Routes,
		m.Name+" has a route to every other node's blocks, "+how, "starts what was stopped; if that is not it, calico-node",
		func(seen fact.Machine, f *fact.Lab) check.Finding {
			if why := cmp.Or(seen.Routes.Unknown, f.Datastore.Unknown); why != "" {
				return check.CantSee("%s", why)
			}
			bgp := bgpFinding(seen, sessionsWithNodes(e.Spec, m))
			first := bgp.State != check.Holds && e.Lab.Pool.VXLANMode == lab.VXLANNever
			if first && len(e.Lab.BGP.Reflectors) < 2 { // of two one may die
				return check.CantSee("BGP comes first: %s", bgp.Found)
			}
			to := map[netip.Prefix][]fact.Route{}
			for _, r := range seen.Routes.Value {
				to[r.To] = append(to[r.To], r)
			}
			want := wantedRoutes(e, m, f)
			var missing []string
			for _, r := range want {
				if !slices.ContainsFunc(to[r.To], r.Is) {
					missing = append(missing, r.String())
				}
			}
			if len(missing) > 0 && first {
				return check.CantSee("BGP comes first: %s", bgp.Found)
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
	own, _ := f.Datastore.Value.Node(m.Name)
	blocks := map[string][]netip.Prefix{}
	for _, b := range f.Datastore.Value.Blocks {
		blocks[b.Node] = append(blocks[b.Node], b.CIDR)
	}
	var all []fact.Via
	for _, other := range e.Nodes() {
		if other.Name == m.Name || len(blocks[other.Name]) == 0 {
			continue
		}
		via := fact.Via{Via: e.Lab.NextHop(m.Address, other.Address), By: fact.BIRDProtocol}
		switch mode := e.Lab.Pool.VXLANMode; {
		case mode == lab.VXLANAlways || mode == lab.VXLANCrossSubnet && !own.Address.Contains(other.Address):
			n, _ := f.Datastore.Value.Node(other.Name)
			via = fact.Via{Via: n.VXLAN, Dev: fact.VXLANLink}
		case mode == lab.VXLANCrossSubnet:
			via.By = ""
		}
		for _, b := range blocks[other.Name] {
			via.To = b
			all = append(all, via)
		}
	}
	return all
}
