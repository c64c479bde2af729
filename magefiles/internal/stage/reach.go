package stage

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/spec"
)

// The TTL that is left of Linux' 64 after the machines in between.
const (
	hops      = 62
	neighbour = 63 // of a workload on the same machine
)

// reached is what is expected.
func reached(e *Env, m lab.Machine) string {
	ttl := fmt.Sprintf("TTL %d", hops)
	if slices.ContainsFunc(e.Nodes(), func(other lab.Machine) bool { return e.ttlTo(m, other) < hops }) {
		ttl += fmt.Sprintf(", past the router %d", hops-1)
	}
	if m.Workloads.Count == 1 {
		return fmt.Sprintf("the workload on %s reaches all others by ping (%s) and TCP", m.Name, ttl)
	}
	return fmt.Sprintf("each of the %s on %s reaches the others by ping (%s) and TCP", plural(m.Workloads.Count, "workload"), m.Name, ttl)
}

// ttlTo is the TTL that is left of a packet to a workload on another node. In an envelope it doesn't see the router.
func (e *Env) ttlTo(m, other lab.Machine) int {
	if e.Lab.Crosses(m.Address, other.Address) && e.Lab.Pool.VXLANMode == lab.VXLANNever {
		return hops - 1
	}
	return hops
}

func reachCondition(e *Env, m lab.Machine) check.Condition {
	c := on("reach", m, fact.Sandboxes, reached(e, m), "makes the workloads anew", nil)
	c.Probe = true
	c.Test = func(f *fact.Lab) check.Finding { return reachFinding(e, m, f) }
	return c
}

func reachFinding(e *Env, m lab.Machine, f *fact.Lab) check.Finding {
	p, ok := f.Probes[m.Name]
	if !ok || p.Unknown != "" {
		return check.CantSee("%s", cmp.Or(p.Unknown, "nothing was sent"))
	}
	workloads := f.Machines[m.Name].Workloads(e.Lab.Network)
	local, name := map[netip.Addr]bool{}, map[netip.Addr]string{}
	for _, w := range workloads {
		local[w.Attachment.Address()], name[w.Attachment.Address()] = true, w.Name
	}
	beyond := map[netip.Addr]int{} // the TTL of workloads that are past the router
	for _, other := range e.Nodes() {
		if ttl := e.ttlTo(m, other); ttl < hops {
			for _, w := range f.Machines[other.Name].Workloads(e.Lab.Network) {
				beyond[w.Attachment.Address()] = ttl
			}
		}
	}
	senders := map[netip.Addr]bool{}
	var lost []string
	var found check.Finding
	for _, probe := range p.Value {
		if !probe.From.IsValid() && len(workloads) > 0 {
			probe.From = workloads[0].Attachment.Address()
		}
		ttl := cmp.Or(beyond[probe.To], hops)
		if local[probe.To] {
			ttl = neighbour
		}
		senders[probe.From] = true
		fault := probeFault(probe, ttl)
		if fault == "" {
			continue
		}
		from := ""
		if m.Workloads.Count > 1 {
			from = cmp.Or(name[probe.From], probe.From.String()) + " to "
		}
		lost = append(lost, fmt.Sprintf("%s%s: %s", from, probe.To, fault))
		found.Try = cmp.Or(found.Try, tryProbe(m, cmp.Or(name[probe.From], fact.WorkloadName(1)), probe, ttl))
	}
	if len(lost) == 0 {
		return check.OK("answers from %s", plural(len(p.Value)/max(1, len(senders)), "workload"))
	}
	found.State, found.Found = check.Broken, check.Names(lost)
	var policies []string
	for _, p := range f.Datastore.Value.Policies {
		policies = append(policies, p.Kind+"/"+p.Name)
	}
	if len(policies) > 0 {
		found.Left = fmt.Sprintf("there are policies of yours, which the lab leaves alone: %s; see them with: %s",
			check.Names(policies), try(e.Lab.Etcd(), fact.Policies.Command()))
	}
	return found
}

// tryProbe is the command line with which a person sends the same packet.
func tryProbe(m lab.Machine, workload string, p fact.Probe, ttl int) string {
	if p.Ping == "" && p.TTL == ttl {
		return try(m, fmt.Sprintf("sudo docker exec %s socat -T2 - TCP:%s:%d,connect-timeout=2", workload, p.To, spec.WorkloadPort))
	}
	return try(m, fmt.Sprintf("sudo docker exec %s ping -c 3 %s", workload, p.To))
}

func probeFault(p fact.Probe, ttl int) string {
	switch {
	case p.Ping != "":
		return "ping: " + p.Ping
	case p.TTL != ttl:
		return fmt.Sprintf("ping: TTL %d, not %d: it came another way", p.TTL, ttl)
	case p.Echo:
		return ""
	case p.TCP != "":
		return "TCP: " + p.TCP
	case !strings.HasSuffix(p.Said, " sees you as "+p.From.String()):
		return fmt.Sprintf("TCP: it says %q, not that it sees %s", p.Said, p.From)
	}
	return ""
}
