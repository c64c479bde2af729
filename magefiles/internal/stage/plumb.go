package stage

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
	"github.com/calico-cni-lab/lab/magefiles/internal/spec"
)

// plumb runs a workload container without a network on each Calico node, and has cnitool give it an interface in its
// sandbox. It doesn't wait for BGP: addresses come from the datastore.
func plumb() Stage {
	return Stage{
		Name: Plumb, Needs: []string{Calico, CNIPlugins, Cnitool, IPPool}, Role: lab.RoleCalico, Datastore: true,
		Conditions: func(e *Env) []check.Condition {
			var all []check.Condition
			for _, m := range e.Nodes() {
				all = append(all, plumbConditions(e, m)...)
			}
			for _, m := range e.Nodes() {
				all = append(all, reachCondition(e, m))
			}
			return all
		},
		Done: func(e *Env, f *fact.Lab) string {
			var all []string
			for _, m := range e.Nodes() {
				w, _ := f.Machines[m.Name].Workload(e.Lab.Network)
				all = append(all, fmt.Sprintf("%s has %s", m.Name, w.Attachment.Address()))
			}
			if len(all) > 3 {
				return fmt.Sprintf("%s ... %s (%d)", all[0], all[len(all)-1], len(all))
			}
			return strings.Join(all, ", ")
		},
		Prepare: runWorkloads,
		Apply:   applyPlumb,
		Until: func(e *Env, m lab.Machine, f *fact.Lab) fact.Until {
			return fact.Until{Within: 20 * time.Second, Routes: wantedRoutes(e, m, f)}
		},
	}
}

// runWorkloads runs the workloads' containers. Packets that didn't arrive in the round before are reason to make them anew: in a
// sandbox there may be what nobody looks for.
func runWorkloads(ctx context.Context, e *Env, j Job) error {
	return e.on(ctx, e.toPlumb(j), func(ctx context.Context, m lab.Machine, h *remote.Host) error {
		docker := j.Facts.Machines[m.Name].Docker
		if docker.Unknown != "" {
			return nil // it is looked at again
		}
		c, have := e.Workload(m), docker.Value
		if err := load(ctx, h, c.Image, have); err != nil {
			return err
		}
		var s script
		s.note("/var/lib/cni")
		if lost(j) {
			detach(&s, e, j.Facts.Machines[m.Name])
			s.create(c, have)
			s.cmd("docker", "start", c.Name)
		} else {
			s.ensure(c, have)
		}
		return s.run(ctx, h)
	})
}

// lost says whether packets, and nothing else, are what is unmet: only then is the fault in a sandbox.
func lost(j Job) bool {
	return len(j.Unmet) > 0 && !slices.ContainsFunc(j.Unmet, func(r check.Result) bool {
		return !isPacket(r) || r.State != check.Broken
	})
}

// toPlumb are the nodes whose workload has to be plumbed: at the one end or the other of a lost packet, all of them.
func (e *Env) toPlumb(j Job) []lab.Machine {
	if lost(j) {
		return e.Nodes()
	}
	return slices.DeleteFunc(e.where(j), func(m lab.Machine) bool {
		return !j.Has(m.Name, "workload", "old-network", "attachment", "address", "endpoint")
	})
}

func plumbConditions(e *Env, m lab.Machine) []check.Condition {
	c, network, pool := e.Workload(m), e.Lab.Network, e.Lab.Pool
	return []check.Condition{
		on("workload", m, fact.Containers, "the workload's container runs as it should on "+m.Name, "starts the workload", func(seen fact.Machine, _ *fact.Lab) check.Finding {
			return containerFinding(e, seen, c.Faults(seen.Docker.Value, true), c.Name)
		}),
		on("old-network", m, fact.Files, "no other network of the lab's is left on "+m.Name, "takes the old network's interfaces and its conflist away", func(seen fact.Machine, _ *fact.Lab) check.Finding {
			if why := cmp.Or(seen.Owned.Unknown, seen.Files.Unknown); why != "" {
				return check.CantSee("%s", why)
			}
			if old := oldConflists(e, seen); len(old) > 0 {
				return check.Not("%s describes a network that lab.yaml doesn't name any more", strings.Join(old, ", "))
			}
			return check.OK("%s alone", network)
		}),
		on("attachment", m, fact.Sandboxes, "the workload on "+m.Name+" has an interface of network "+network, "runs cnitool add", func(seen fact.Machine, _ *fact.Lab) check.Finding {
			return attachmentFinding(seen, network)
		}),
		on("address", m, fact.Blocks, "the workload on "+m.Name+" has an address of pool "+pool.Name+", from a block of its node", "runs cnitool del and add", func(seen fact.Machine, f *fact.Lab) check.Finding {
			return addressFinding(seen, f, m.Name, e.Lab)
		}),
		routeCondition(e, m),
		on("endpoint", m, fact.Routes, "Felix has a route to the workload on "+m.Name, "runs cnitool del and add", func(seen fact.Machine, _ *fact.Lab) check.Finding {
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

func addressFinding(seen fact.Machine, f *fact.Lab, node string, l *lab.Lab) check.Finding {
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
		return check.OK("%s answer", plural(len(p.Value), "workload"))
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

// oldConflists are conflists that the lab put on a machine and that aren't the network's any more.
func oldConflists(e *Env, seen fact.Machine) []string {
	var old []string
	for _, p := range seen.Owned.Value {
		if path.Dir(p) != spec.ConfDir || p == e.Conflist().Path {
			continue
		}
		if _, there := seen.Files.Value[p]; there {
			old = append(old, p)
		}
	}
	return old
}

// waitForNode waits until calico-node has named the node: Calico's plugin asks for the file.
const waitForNode = `for _ in {1..600}; do
	if [ -s /var/lib/calico/nodename ]; then break; fi
	read -r -t 0.1 <> <(:) || true
done`

func applyPlumb(ctx context.Context, e *Env, j Job) error {
	if err := e.revive(ctx, j, "routes"); err != nil {
		return err
	}
	nodes := e.toPlumb(j)
	add := func(ctx context.Context, m lab.Machine, h *remote.Host) error {
		seen := j.Facts.Machines[m.Name]
		if seen.Docker.Unknown != "" {
			return nil // it is looked at again
		}
		tool := cniCommand(seen)
		var s script
		// A container that was restarted has another sandbox; the old one's address would stay taken. And an add that was
		// cut off would be half there.
		detach(&s, e, seen)
		for _, old := range oldConflists(e, seen) {
			s.cmd("rm", "-f", old)
		}
		s.line("%s", waitForNode)
		s.line(`key=$(docker inspect --format '{{.NetworkSettings.SandboxKey}}' %s)`, spec.WorkloadContainer)
		s.line(`%s del %s "$key"`, tool, command.Quote(e.Lab.Network))
		s.line(`%s add %s "$key" >/dev/null`, tool, command.Quote(e.Lab.Network))
		return s.run(ctx, h)
	}
	// The first add makes the network's profile; of two that both find it missing one would fail ("resource already
	// exists: Profile").
	if len(nodes) > 1 && !slices.Contains(j.Facts.Datastore.Value.Profiles, e.Lab.Network) {
		if err := e.on(ctx, nodes[:1], add); err != nil {
			return err
		}
		nodes = nodes[1:]
	}
	return e.on(ctx, nodes, add)
}

// cniCommand begins a cnitool command line.
func cniCommand(seen fact.Machine) string {
	return command.Quote("env", "CNI_PATH="+spec.PluginDir, "NETCONFPATH="+spec.ConfDir, seen.Login.Cnitool())
}

// detach adds `cnitool del` for the workload's attachments to networks of the lab's, and for those of sandboxes that are gone.
func detach(s *script, e *Env, seen fact.Machine) {
	key := ""
	if w, ok := seen.Workload(""); ok {
		key = w.Container.NetworkSettings.SandboxKey
	}
	networks := []string{e.Lab.Network}
	for _, file := range oldConflists(e, seen) {
		networks = append(networks, strings.TrimSuffix(strings.TrimPrefix(path.Base(file), "10-"), ".conflist"))
	}
	for _, a := range seen.Attachments.Value {
		// Other runtimes keep theirs in the same place.
		if !slices.Contains(networks, a.Network) || !strings.HasPrefix(a.ContainerID, "cnitool-") || a.Live && a.NetNS != key {
			continue
		}
		// What Docker left of a sandbox that is gone is an empty file. Calico's plugin takes no file for no sandbox, but
		// stops at one that is no sandbox.
		s.line(`if [ -f %[1]s ] && [ "$(stat -f -c %%T %[1]s)" != nsfs ]; then rm -f %[1]s; fi`, command.Quote(a.NetNS))
		s.line("%s del %s %s", cniCommand(seen), command.Quote(a.Network), command.Quote(a.NetNS))
	}
}

// Unplumb takes back what the stage plumb did: interfaces, addresses and containers.
func Unplumb(ctx context.Context, e *Env, f *fact.Lab) error {
	return e.on(ctx, e.Nodes(), func(ctx context.Context, m lab.Machine, h *remote.Host) error {
		seen, ok := f.Machine(m.Name)
		if !ok {
			return fmt.Errorf("%s: %s", m.Name, f.Unreached[m.Name])
		}
		if why := cmp.Or(seen.Docker.Unknown, seen.Attachments.Unknown, seen.Files.Unknown); why != "" {
			return fmt.Errorf("%s: nothing was taken away: %s", m.Name, why)
		}
		_, there := seen.Files.Value["~/go/bin/cnitool"]
		if len(seen.Attachments.Value) > 0 && !there {
			return fmt.Errorf("%s: cnitool is missing, without which no address is released; put it back with: go tool mage cnitool", m.Name)
		}
		var s script
		detach(&s, e, seen)
		for _, c := range seen.Docker.Value.Part(fact.PartWorkload) {
			s.cmd("docker", "rm", "--force", c.ID)
		}
		return s.run(ctx, h)
	})
}
