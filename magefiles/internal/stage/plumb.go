package stage

import (
	"cmp"
	"context"
	"fmt"
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
	"github.com/calico-cni-lab/lab/scripts"
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
				if m.Workloads.Count > 0 {
					all = append(all, reachCondition(e, m))
				}
			}
			return all
		},
		Done: func(e *Env, f *fact.Lab) string {
			var all []string
			for _, m := range e.Nodes() {
				if workloads := f.Machines[m.Name].Workloads(e.Lab.Network); len(workloads) == 1 {
					all = append(all, fmt.Sprintf("%s has %s", m.Name, workloads[0].Attachment.Address()))
				} else {
					all = append(all, fmt.Sprintf("%s has %s", m.Name, plural(len(workloads), "workload")))
				}
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
		var s script
		s.fills(spec.CNIResults(e.Lab.Network))
		all := e.Workloads(m)
		if len(all) > 0 {
			if err := e.load(ctx, h, all[0].Image, docker.Value); err != nil {
				return err
			}
		}
		if lost(j) {
			detach(&s, e, j.Facts.Machines[m.Name], every)
		}
		for _, c := range all {
			if lost(j) {
				s.create(c, docker.Value)
				s.cmd("docker", "start", c.Name)
			} else {
				s.ensure(c, docker.Value)
			}
		}
		return s.run(ctx, h)
	})
}

// lost says whether packets, and nothing else, are what is unmet: only then is the fault in a sandbox.
func lost(j Job) bool {
	return len(j.Unmet) > 0 && !slices.ContainsFunc(j.Unmet, func(r check.Result) bool {
		return !r.Probe || r.State != check.Broken
	})
}

// toPlumb are the nodes whose workload has to be plumbed: at the one end or the other of a lost packet, all of them.
func (e *Env) toPlumb(j Job) []lab.Machine {
	if lost(j) {
		return e.Nodes()
	}
	return slices.DeleteFunc(e.where(j), func(m lab.Machine) bool {
		// Of what can't be seen nothing is known to be wrong.
		return !j.broken(m.Name, "workload", "old-network", "attachment", "address", "endpoint")
	})
}

// oldConflists are conflists that the lab put on a machine and that aren't the network's any more.
func oldConflists(e *Env, seen fact.Machine) []string {
	var old []string
	for _, p := range seen.Owned.Value {
		if _, own := spec.OwnNetwork(p); own || path.Dir(p) != spec.ConfDir || p == e.ConflistPath() {
			continue
		}
		if _, there := seen.Files.Value[p]; there {
			old = append(old, p)
		}
	}
	return old
}

// waitForNode waits until calico-node has named the node, and Felix has written the workloads' MTU: Calico's plugin asks for the
// files. Without the second it would take 1500, which a workload that is plumbed later may not get; without the first it fails.
const waitForNode = `exec {idle}<> <(:)
for _ in {1..600}; do
	if [ -s /var/lib/calico/nodename ] && [ -s /var/lib/calico/mtu ]; then break; fi
	read -r -t 0.1 -u $idle || true
done
if [ ! -s /var/lib/calico/nodename ]; then
	echo "calico-node has not named this node yet" >&2
	exit 75
fi`

// late is the error of a script that ended with the status of what may succeed the next time (sysexits.h: EX_TEMPFAIL).
func late(err error) error {
	if command.Status(err) == 75 {
		return lateError{err}
	}
	return err
}

// waitForMTU waits until Felix has followed another vxlanMode.
const waitForMTU = `for _ in {1..150}; do
	if [ "$(</var/lib/calico/mtu)" = %d ]; then break; fi
	read -r -t 0.1 -u $idle || true
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
		s := e.plumbing(m, seen, j)
		return late(s.run(ctx, h))
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

// plumbing plumbs those of a machine's workloads with which something is wrong, and takes away those that lab.yaml has no more.
func (e *Env) plumbing(m lab.Machine, seen fact.Machine, j Job) *script {
	old := oldConflists(e, seen)
	again := map[string]bool{}
	for n := 1; n <= m.Workloads.Count; n++ {
		if lost(j) || len(old) > 0 || e.faulty(m, n, seen, j.Facts) {
			again[fact.WorkloadName(n)] = true
		}
	}
	extra := surplus(m, seen)
	s := &script{}
	// A container that was restarted has another sandbox; the old one's address would stay taken.
	detach(s, e, seen, func(w fact.Workload) bool { return again[w.Name] || slices.Contains(namesOf(extra), w.Name) })
	for _, w := range extra {
		s.cmd("docker", "rm", "--force", w.Container.ID)
	}
	s.restore(old)
	if len(again) == 0 {
		return s
	}
	s.line("%s", waitForNode)
	if want := e.otherMTU(m, seen, j.Facts); want > 0 {
		s.line(waitForMTU, want)
	}
	s.line("cnitool() { %s \"$@\"; }", cniCommand(seen))
	s.line("network=%s", command.Quote(e.Lab.Network))
	s.line("%s", scripts.Text("plumb-workload.sh"))
	keys := map[string]string{}
	for _, w := range seen.Workloads("") {
		keys[w.Name] = w.Container.NetworkSettings.SandboxKey
	}
	for n := 1; n <= m.Workloads.Count; n++ {
		name := fact.WorkloadName(n)
		if !again[name] {
			continue
		}
		args := ""
		if a := e.Addresses[fact.WorkloadKey(m.Name, name)]; a.IsValid() {
			args = "CNI_ARGS=" + command.Quote("IP="+a.String()) + " "
		}
		s.step("%splumb %s %s", args, name, command.Quote(keys[name]))
	}
	return s
}

// cniCommand begins a cnitool command line.
func cniCommand(seen fact.Machine) string {
	return command.Quote("env", "CNI_PATH="+spec.PluginDir, "NETCONFPATH="+spec.ConfDir, seen.Login.Cnitool())
}

// every workload.
func every(fact.Workload) bool { return true }

// detach adds `cnitool del` for the attachments of some workloads to networks of the lab's, and for those of sandboxes that are gone.
func detach(s *script, e *Env, seen fact.Machine, these func(fact.Workload) bool) {
	keys := map[string]bool{}
	for _, w := range seen.Workloads("") {
		keys[w.Container.NetworkSettings.SandboxKey] = these(w)
	}
	networks := []string{e.Lab.Network}
	for _, file := range oldConflists(e, seen) {
		networks = append(networks, strings.TrimSuffix(strings.TrimPrefix(path.Base(file), "10-"), ".conflist"))
	}
	for _, a := range seen.Attachments.Value {
		// Other runtimes keep theirs in the same place.
		if !slices.Contains(networks, a.Network) || !strings.HasPrefix(a.ContainerID, "cnitool-") {
			continue
		}
		// A sandbox that isn't a workload's may have been one's when it was looked at, if that was being made anew just then.
		known, ours := keys[a.NetNS]
		if a.Live && known && !ours {
			continue
		}
		unless := ""
		if a.Live && !known {
			unless = fmt.Sprintf(`[ "$(stat -f -c %%T %s 2>/dev/null)" = nsfs ] || `, command.Quote(a.NetNS))
		}
		s.del(seen, a, unless)
	}
}

// del adds `cnitool del` behind what keeps it from being done, "" for nothing.
func (s *script) del(seen fact.Machine, a fact.Attachment, unless string) {
	// What Docker left of a sandbox that is gone is an empty file. Calico's plugin takes no file for no sandbox, but
	// stops at one that is no sandbox.
	s.line(`if [ -f %[1]s ] && [ "$(stat -f -c %%T %[1]s)" != nsfs ]; then rm -f %[1]s; fi`, command.Quote(a.NetNS))
	s.step("%s%s del %s %s", unless, cniCommand(seen), command.Quote(a.Network), command.Quote(a.NetNS))
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
		detach(&s, e, seen, every)
		for _, c := range seen.Docker.Value.Part(fact.PartWorkload) {
			s.cmd("docker", "rm", "--force", c.ID)
		}
		return s.run(ctx, h)
	})
}
