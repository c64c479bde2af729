package stage

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/spec"
)

// hops is the TTL that is left of Linux' 64 after the two machines in between.
const hops = 62

func reachCondition(e *Env, m lab.Machine) check.Condition {
	c := on("reach", m, fact.Sandboxes, fmt.Sprintf("the workload on %s reaches all others by ping (TTL %d) and TCP", m.Name, hops), "makes the workloads anew", nil)
	c.Probe = true
	c.Test = func(f *fact.Lab) check.Finding { return reachFinding(e, m, f) }
	return c
}

func reachFinding(e *Env, m lab.Machine, f *fact.Lab) check.Finding {
	p, ok := f.Probes[m.Name]
	if !ok || p.Unknown != "" {
		return check.CantSee("%s", cmp.Or(p.Unknown, "nothing was sent"))
	}
	own, _ := f.Machines[m.Name].Workload(e.Lab.Network)
	var lost []string
	var found check.Finding
	for _, probe := range p.Value {
		if fault := probeFault(probe, own.Attachment.Address()); fault != "" {
			lost = append(lost, fmt.Sprintf("%s: %s", probe.To, fault))
			found.Try = cmp.Or(found.Try, tryProbe(m, probe))
		}
	}
	if len(lost) == 0 {
		return check.OK("answers from %s", plural(len(p.Value), "workload"))
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
func tryProbe(m lab.Machine, p fact.Probe) string {
	if p.Ping == "" && p.TTL == hops {
		return try(m, fmt.Sprintf("sudo docker exec %s socat -T2 - TCP:%s:%d,connect-timeout=2", spec.WorkloadContainer, p.To, spec.WorkloadPort))
	}
	return try(m, fmt.Sprintf("sudo docker exec %s ping -c 3 %s", spec.WorkloadContainer, p.To))
}

func probeFault(p fact.Probe, own netip.Addr) string {
	switch {
	case p.Ping != "":
		return "ping: " + p.Ping
	case p.TTL != hops:
		return fmt.Sprintf("ping: TTL %d, not %d: it came another way", p.TTL, hops)
	case p.TCP != "":
		return "TCP: " + p.TCP
	case !strings.HasSuffix(p.Said, " sees you as "+own.String()):
		return fmt.Sprintf("TCP: it says %q, not that it sees %s", p.Said, own)
	}
	return ""
}
