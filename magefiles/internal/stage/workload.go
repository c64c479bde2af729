package stage

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
)

func plumbConditions(e *Env, m lab.Machine) []check.Condition {
	c, network, pool := e.Workload(m), e.Lab.Network, e.Lab.Pool
	return []check.Condition{
		on("workload", m, fact.Containers,
			"the workload's container runs as it should on "+m.Name, "starts the workload",
			func(seen fact.Machine, _ *fact.Lab) check.Finding {
				return containerFinding(e, seen, c.Faults(seen.Docker.Value, true), c.Name)
			}),
		on("old-network", m, fact.Files,
			"no other network of the lab's is left on "+m.Name, "takes the old network's interfaces and its conflist away",
			func(seen fact.Machine, _ *fact.Lab) check.Finding {
				if why := cmp.Or(seen.Owned.Unknown, seen.Files.Unknown); why != "" {
					return check.CantSee("%s", why)
				}
				if old := oldConflists(e, seen); len(old) > 0 {
					return check.Not("%s describes a network that lab.yaml doesn't name any more", strings.Join(old, ", "))
				}
				return check.OK("%s alone", network)
			}),
		on("attachment", m, fact.Sandboxes,
			"the workload on "+m.Name+" has an interface of network "+network, "runs cnitool add",
			func(seen fact.Machine, _ *fact.Lab) check.Finding {
				return attachmentFinding(seen, network)
			}),
		on("address", m, fact.Blocks,
			"the workload on "+m.Name+" has an address of pool "+pool.Name+", from a block of its node", "runs cnitool del and add",
			func(seen fact.Machine, f *fact.Lab) check.Finding {
				return addressFinding(seen, f, m.Name, e)
			}),
		routeCondition(e, m),
		on("endpoint", m, fact.Routes,
			"Felix has a route to the workload on "+m.Name, "runs cnitool del and add",
			func(seen fact.Machine, _ *fact.Lab) check.Finding {
				return endpointFinding(seen, network)
			}),
	}
}

// attached returns the workload with its attachment, or the finding that stands in its way.
func attached(seen fact.Machine, network string) (fact.Workload, *check.Finding) {
	if why := cmp.Or(seen.Docker.Unknown, seen.Attachments.Unknown, seen.Sandboxes.Unknown); why != "" {
		f := check.CantSee("%s", why)
		return fact.Workload{}, &f
	}
	w, ok := seen.Workload(network)
	if !ok || w.Container.State.Status != "running" {
		f := check.CantSee("the workload doesn't run")
		return w, &f
	}
	return w, nil
}

func attachmentFinding(seen fact.Machine, network string) check.Finding {
	w, f := attached(seen, network)
	switch {
	case f != nil:
		return *f
	case seen.Links.Unknown != "":
		return check.CantSee("%s", seen.Links.Unknown)
	}
	a := w.Attachment
	if !a.Address().IsValid() {
		return check.Not("the workload has no interface of network %s", network)
	}
	// What libcni remembers is one thing, what is in the sandbox another.
	inside, ok := w.Sandbox.Link(a.IfName)
	has := slices.ContainsFunc(inside.Addresses, func(p netip.Prefix) bool { return p.Addr() == a.Address() })
	outside, there := seen.Link(a.HostInterface())
	routed := slices.ContainsFunc(w.Sandbox.Routes, func(r fact.Route) bool { return r.To.Bits() == 0 && r.Dev == a.IfName })
	switch {
	case !ok:
		return check.Not("there is no interface %s in the workload", a.IfName)
	case !inside.Up:
		return check.Not("%s in the workload is down", a.IfName)
	case !has:
		return check.Not("%s in the workload doesn't have %s", a.IfName, a.Address())
	case !routed:
		return check.Not("the workload has no default route")
	case !there:
		return check.Not("there is no interface %s on the machine", a.HostInterface())
	case !outside.Up:
		return check.Not("%s on the machine is down", outside.Name)
	}
	return check.OK("%s on %s", a.Address(), a.IfName)
}

func addressFinding(seen fact.Machine, f *fact.Lab, node string, e *Env) check.Finding {
	l := e.Lab
	w, missing := attached(seen, l.Network)
	if missing != nil {
		return *missing
	}
	a := w.Attachment.Address()
	switch {
	case !a.IsValid():
		return check.CantSee("the workload has no address")
	case f.Datastore.Unknown != "":
		return check.CantSee("the datastore can't be read: %s", f.Datastore.Unknown)
	case e.Addresses[node].IsValid() && a != e.Addresses[node]:
		return check.Not("the workload has %s, not %s as it had", a, e.Addresses[node])
	case !l.Pool.CIDR.Contains(a):
		return check.Not("%s is not in %s", a, l.Pool.CIDR)
	}
	for _, b := range f.Datastore.Value.Blocks {
		if !b.CIDR.Contains(a) {
			continue
		}
		if b.Node != node {
			return check.Not("%s is from block %s of %s", a, b.CIDR, cmp.Or(b.Node, "no node"))
		}
		if !b.Assigned(a) {
			return check.Not("%s is not assigned in block %s", a, b.CIDR)
		}
		if !slices.ContainsFunc(f.Datastore.Value.Endpoints, func(e fact.Endpoint) bool {
			return e.Node == node && slices.Contains(e.Addresses, netip.PrefixFrom(a, a.BitLen()))
		}) {
			return check.Not("no workload endpoint of %s has %s", node, a)
		}
		return check.OK("%s from block %s", a, b.CIDR)
	}
	return check.Not("no block has %s", a)
}

// endpointFinding: Felix keeps a host route to each local workload.
func endpointFinding(seen fact.Machine, network string) check.Finding {
	w, missing := attached(seen, network)
	if missing != nil {
		return *missing
	}
	a := w.Attachment.Address()
	switch {
	case !a.IsValid():
		return check.CantSee("the workload has no address")
	case seen.Routes.Unknown != "":
		return check.CantSee("%s", seen.Routes.Unknown)
	}
	for _, r := range seen.Routes.Value {
		if r.To.IsSingleIP() && r.To.Addr() == a && r.Dev == w.Attachment.HostInterface() {
			return check.OK("%s", r)
		}
	}
	return check.Not("there is no route to %s via %s", a, w.Attachment.HostInterface())
}
