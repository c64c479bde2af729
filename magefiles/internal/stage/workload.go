package stage

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
)

func plumbConditions(e *Env, m lab.Machine) []check.Condition {
	network, pool := e.Lab.Network, e.Lab.Pool
	the := "the workload"
	if m.Workloads.Count != 1 {
		the = "each of the " + plural(m.Workloads.Count, "workload")
	}
	all := []check.Condition{
		on("workload", m, fact.Containers,
			runs(m)+" on "+m.Name, "starts what doesn't run, and takes away what is too much",
			func(seen fact.Machine, _ *fact.Lab) check.Finding { return e.containersFinding(m, seen) }),
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
	}
	route := routeCondition(e, m)
	if m.Workloads.Count == 0 {
		return append(all, route)
	}
	each := func(kind string, see fact.Kind, expected, mend string, test workloadTest) check.Condition {
		return on(kind, m, see, expected, mend, func(seen fact.Machine, f *fact.Lab) check.Finding { return e.each(m, seen, f, test) })
	}
	return append(all,
		each("attachment", fact.Sandboxes,
			fmt.Sprintf("%s on %s has an interface of network %s", the, m.Name, network), "runs cnitool add", e.attachmentFinding),
		each("address", fact.Blocks,
			fmt.Sprintf("%s on %s has an address of pool %s, from a block of its node", the, m.Name, pool.Name), "runs cnitool del and add", e.addressFinding),
		route,
		each("endpoint", fact.Routes,
			fmt.Sprintf("Felix has a route to %s on %s", the, m.Name), "runs cnitool del and add", e.endpointFinding),
	)
}

// runs is what is expected of the workloads' containers.
func runs(m lab.Machine) string {
	switch m.Workloads.Count {
	case 0:
		return "no workload is left"
	case 1:
		return "the workload's container runs as it should"
	}
	return fmt.Sprintf("the containers of %s run as they should", plural(m.Workloads.Count, "workload"))
}

func (e *Env) containersFinding(m lab.Machine, seen fact.Machine) check.Finding {
	fault, more := "", 0
	for _, c := range e.Workloads(m) {
		if f := c.Faults(seen.Docker.Value, true); f != "" && fault == "" {
			fault = f
		} else if f != "" {
			more++
		}
	}
	if more > 0 {
		fault += fmt.Sprintf(", and something is wrong with %d more", more)
	}
	if extra := surplus(m, seen); len(extra) > 0 && fault == "" {
		fault = fmt.Sprintf("lab.yaml has %s, and there is %s", cmp.Or(plural(m.Workloads.Count, "workload"), "none"), check.Names(namesOf(extra)))
	}
	return containerFinding(e, seen, fault, plural(m.Workloads.Count, "workload"))
}

// surplus are workloads that lab.yaml has no more.
func surplus(m lab.Machine, seen fact.Machine) []fact.Workload {
	return slices.DeleteFunc(seen.Workloads(""), func(w fact.Workload) bool {
		n := fact.WorkloadNumber(w.Name)
		return 0 < n && n <= m.Workloads.Count
	})
}

func namesOf(all []fact.Workload) []string {
	var names []string
	for _, w := range all {
		names = append(names, w.Name)
	}
	return names
}

// workloadTest is the finding of one workload on a machine, which runs.
type workloadTest func(w fact.Workload, node string, seen fact.Machine, f *fact.Lab) check.Finding

// each is the finding of all of a machine's workloads: what was found of the first with which something is wrong, and of how many
// it is.
func (e *Env) each(m lab.Machine, seen fact.Machine, f *fact.Lab, test workloadTest) check.Finding {
	if why := cmp.Or(seen.Docker.Unknown, seen.Attachments.Unknown, seen.Sandboxes.Unknown); why != "" {
		return check.CantSee("%s", why)
	}
	have := map[string]fact.Workload{}
	for _, w := range seen.Workloads(e.Lab.Network) {
		have[w.Name] = w
	}
	var worst check.Finding
	faults := 0
	for n := range m.Workloads.Count {
		name := fact.WorkloadName(n + 1)
		found := check.CantSee("the workload doesn't run")
		if w := have[name]; w.Container.State.Status == "running" {
			found = test(w, m.Name, seen, f)
		}
		if m.Workloads.Count == 1 {
			return found
		}
		if found.State == check.Holds {
			continue
		}
		if faults++; worst.State == "" || worst.State == check.Unknown && found.State != check.Unknown {
			worst = found
			worst.Found = name + ": " + found.Found
		}
	}
	switch {
	case faults > 1:
		worst.Found += fmt.Sprintf(", and something is wrong with %d more", faults-1)
	case faults == 0:
		return check.OK("%s", plural(m.Workloads.Count, "workload"))
	}
	return worst
}

// faulty says whether something is wrong with a machine's nth workload that plumbing it anew mends.
func (e *Env) faulty(m lab.Machine, n int, seen fact.Machine, f *fact.Lab) bool {
	if e.Workload(m, n).Faults(seen.Docker.Value, true) != "" {
		return true
	}
	if seen.Attachments.Unknown != "" || seen.Sandboxes.Unknown != "" {
		return false // nothing is known to be wrong
	}
	i := slices.IndexFunc(seen.Workloads(e.Lab.Network), func(w fact.Workload) bool { return w.Name == fact.WorkloadName(n) })
	w := seen.Workloads(e.Lab.Network)[i]
	return slices.ContainsFunc([]workloadTest{e.attachmentFinding, e.addressFinding, e.endpointFinding}, func(test workloadTest) bool {
		return test(w, m.Name, seen, f).State == check.Broken
	})
}

// labels writes labels as a selector would.
func labels(all map[string]string) string {
	var text []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		text = append(text, name+"="+all[name])
	}
	return cmp.Or(strings.Join(text, ","), "none")
}

// vxlanHeader is what VXLAN takes of each packet.
const vxlanHeader = 50

// otherMTU is the MTU that workloads are to have where Felix' is still that of another vxlanMode; it takes some seconds to follow. 0
// is that it has.
func (e *Env) otherMTU(m lab.Machine, seen fact.Machine, f *fact.Lab) int {
	l, ok := seen.LinkWith(m.Address)
	wraps := slices.ContainsFunc(f.Datastore.Value.Pools, func(p fact.Pool) bool { return cmp.Or(p.VXLANMode, lab.VXLANNever) != lab.VXLANNever })
	switch {
	case !ok || f.Datastore.Unknown != "":
		return 0
	case wraps && seen.MTU.Value == l.MTU:
		return l.MTU - vxlanHeader
	case !wraps && seen.MTU.Value == l.MTU-vxlanHeader:
		return l.MTU
	}
	return 0
}

func (e *Env) attachmentFinding(w fact.Workload, node string, seen fact.Machine, f *fact.Lab) check.Finding {
	if why := cmp.Or(seen.Links.Unknown, seen.MTU.Unknown); why != "" {
		return check.CantSee("%s", why)
	}
	a := w.Attachment
	if !a.Address().IsValid() {
		return check.Not("the workload has no interface of network %s", e.Lab.Network)
	}
	m, _ := e.Lab.Machine(node)
	if want := e.otherMTU(m, seen, f); want > 0 {
		return check.Not("by Felix the workloads' MTU is %d still, with this vxlanMode it is %d", seen.MTU.Value, want)
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
	case seen.MTU.Value > 0 && inside.MTU != seen.MTU.Value:
		return check.Not("%s in the workload has MTU %d, and by Felix it is %d", a.IfName, inside.MTU, seen.MTU.Value)
	case !there:
		return check.Not("there is no interface %s on the machine", a.HostInterface())
	case !outside.Up:
		return check.Not("%s on the machine is down", outside.Name)
	}
	if a.Conflist != "" && !maps.Equal(a.Labels(), m.Workloads.Labels) {
		return check.Not("the workload was plumbed with labels %s, and lab.yaml has %s", labels(a.Labels()), labels(m.Workloads.Labels))
	}
	return check.OK("%s on %s", a.Address(), a.IfName)
}

func (e *Env) addressFinding(w fact.Workload, node string, _ fact.Machine, f *fact.Lab) check.Finding {
	a := w.Attachment.Address()
	had := e.Addresses[fact.WorkloadKey(node, w.Name)]
	switch {
	case !a.IsValid():
		return check.CantSee("the workload has no address")
	case f.Datastore.Unknown != "":
		return check.CantSee("the datastore can't be read: %s", f.Datastore.Unknown)
	case had.IsValid() && a != had:
		return check.Not("the workload has %s, not %s as it had", a, had)
	case !e.Lab.Pool.CIDR.Contains(a):
		return check.Not("%s is not in %s", a, e.Lab.Pool.CIDR)
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
		i := slices.IndexFunc(f.Datastore.Value.Endpoints, func(e fact.Endpoint) bool {
			return e.Node == node && slices.Contains(e.Addresses, netip.PrefixFrom(a, a.BitLen()))
		})
		if i < 0 {
			return check.Not("no workload endpoint of %s has %s", node, a)
		}
		m, _ := e.Lab.Machine(node)
		for name, value := range m.Workloads.Labels {
			if have, ok := f.Datastore.Value.Endpoints[i].Labels[name]; !ok || have != value {
				return check.Not("workload endpoint %s lacks label %s=%s", f.Datastore.Value.Endpoints[i].Name, name, value)
			}
		}
		return check.OK("%s from block %s", a, b.CIDR)
	}
	return check.Not("no block has %s", a)
}

// endpointFinding: Felix keeps a host route to each local workload.
func (e *Env) endpointFinding(w fact.Workload, _ string, seen fact.Machine, _ *fact.Lab) check.Finding {
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
