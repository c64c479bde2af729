package stage

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
	"github.com/calico-cni-lab/lab/magefiles/internal/spec"
	"github.com/calico-cni-lab/lab/scripts"
)

// SessionsOf are the addresses of those with which a machine is to speak BGP: a router with all nodes, a node with all routers, and
// with some of the nodes.
func SessionsOf(s *spec.Spec, m lab.Machine) []netip.Addr {
	all := sessionsWithNodes(s, m)
	if m.Role == lab.RoleCalico {
		for _, r := range s.Lab.Routers() {
			all = append(all, r.Address)
		}
	}
	return all
}

// sessionsWithNodes are those of SessionsOf that are nodes: a reflector has a session with all, another node with the reflectors, and
// in the mesh with those that are none. A node with a cluster ID has left the mesh (confd's bird.cfg.template).
func sessionsWithNodes(s *spec.Spec, m lab.Machine) []netip.Addr {
	bgp := s.Lab.BGP
	var all []netip.Addr
	for _, other := range s.Nodes() {
		if other.Name == m.Name {
			continue
		}
		if m.Role == lab.RoleRouter || bgp.Reflects(m.Name) || bgp.Reflects(other.Name) || bgp.Mesh {
			all = append(all, other.Address)
		}
	}
	return all
}

// spokenTo says with whom a node is to speak BGP.
func spokenTo(e *Env, m lab.Machine) string {
	who := "every other node"
	if bgp := e.Lab.BGP; !bgp.Mesh && !bgp.Reflects(m.Name) {
		who = "the " + strings.TrimPrefix(plural(len(bgp.Reflectors), "route reflector"), "1 ")
	}
	if n := len(e.Lab.Routers()); n > 0 {
		who += " and the " + strings.TrimPrefix(plural(n, "router"), "1 ")
	}
	return who
}

func bgpConditions(e *Env) []check.Condition {
	bgp := e.Lab.BGP
	mesh := stored("mesh", "", e.Lab, fact.BGPConfig,
		"BGP's node-to-node mesh is on", "switches the mesh on",
		func(d *fact.Datastore) check.Finding {
			if d.BGP.MeshOff {
				return check.Not("bgpconfiguration default has nodeToNodeMeshEnabled: false")
			}
			return check.OK("the mesh is on")
		})
	if !bgp.Mesh {
		mesh = stored("mesh", "", e.Lab, fact.BGPConfig,
			"BGP's node-to-node mesh is off, as there are route reflectors", "switches the mesh off, once the reflectors' sessions are Established",
			func(d *fact.Datastore) check.Finding {
				if !d.BGP.MeshOff {
					return check.Not("bgpconfiguration default hasn't nodeToNodeMeshEnabled: false")
				}
				return check.OK("the mesh is off")
			})
	}
	all := []check.Condition{
		stored("reflectors", "", e.Lab, fact.Peers,
			reflectorsExpected(bgp), "writes the nodes' cluster IDs and labels, the BGPPeer, and the AS number",
			func(d *fact.Datastore) check.Finding { return reflectorsFinding(d, e) }),
		mesh,
	}
	if len(e.Lab.Routers()) > 0 {
		all = append(all, routersCondition(e))
	}
	return all
}

func reflectorsExpected(bgp lab.BGP) string {
	if len(bgp.Reflectors) == 0 {
		return "no node is a route reflector of the lab's"
	}
	return check.Names(bgp.Reflectors) + " reflect routes to all nodes"
}

// reflectorsFinding compares nodes, the BGPPeer and the AS number with lab.yaml. What carries no mark of the lab's is the user's, and
// stays.
func reflectorsFinding(d *fact.Datastore, e *Env) check.Finding {
	bgp := e.Lab.BGP
	var faults []string
	for _, m := range e.Nodes() {
		n, _ := d.Node(m.Name)
		switch {
		case bgp.Reflects(m.Name) && (n.ClusterID != spec.ClusterID || !n.Reflector):
			faults = append(faults, m.Name+" is no route reflector yet")
		case !bgp.Reflects(m.Name) && n.Reflector:
			faults = append(faults, m.Name+" still is a route reflector of the lab's")
		}
	}
	peer, there := d.Peer(spec.ReflectorPeer)
	switch want := len(bgp.Reflectors) > 0; {
	case want && !there:
		faults = append(faults, "there is no BGPPeer "+spec.ReflectorPeer)
	case want && peer != (fact.PeerResource{Name: spec.ReflectorPeer, NodeSelector: everyNode, PeerSelector: spec.ReflectorSelector}):
		faults = append(faults, "BGPPeer "+spec.ReflectorPeer+" has been changed")
	case !want && there:
		faults = append(faults, "BGPPeer "+spec.ReflectorPeer+" is still there")
	}
	if as := asNumber(bgp); as != "" && d.BGP.AS != as {
		faults = append(faults, fmt.Sprintf("the AS number is %s, not %s", cmp.Or(d.BGP.AS, "Calico's 64512"), as))
	} else if as == "" && d.BGP.LabAS != "" {
		faults = append(faults, "the AS number still is lab.yaml's former one, "+d.BGP.LabAS)
	}
	if len(faults) > 0 {
		return check.Not("%s", check.Names(faults))
	}
	return check.OK("%s, AS %s", cmp.Or(strings.Join(bgp.Reflectors, ", "), "none"), cmp.Or(d.BGP.AS, "64512"))
}

func asNumber(bgp lab.BGP) string {
	if bgp.AS == 0 {
		return ""
	}
	return strconv.FormatUint(uint64(bgp.AS), 10)
}

// sessionsCondition: exactly the sessions that lab.yaml means, and those of BGPPeers that somebody else made.
func sessionsCondition(e *Env, m lab.Machine) check.Condition {
	return on("bgp", m, fact.Sessions,
		"BGP of "+m.Name+" is Established with "+spokenTo(e, m), "starts what was stopped; if that is not it, calico-node",
		func(seen fact.Machine, f *fact.Lab) check.Finding {
			found := e.orDropped(bgpFinding(seen, SessionsOf(e.Spec, m)), f, spec.BGPPort, append([]string{m.Name}, silent(e, seen, m)...)...)
			if extra := extraSessions(seen, f, e, m); found.State == check.Holds && len(extra) > 0 {
				return strangeSessions(extra, f, e)
			}
			return found
		})
}

// silent are the machines with which a node's sessions aren't Established.
func silent(e *Env, seen fact.Machine, m lab.Machine) (names []string) {
	for _, a := range SessionsOf(e.Spec, m) {
		up := func(p fact.Protocol) bool { return p.Peer() == a && p.Established() }
		i := slices.IndexFunc(e.Lab.Machines, func(m lab.Machine) bool { return m.Address == a })
		if i >= 0 && !slices.ContainsFunc(seen.BIRD.Value.Protocols, up) {
			names = append(names, e.Lab.Machines[i].Name)
		}
	}
	return names
}

func bgpFinding(seen fact.Machine, peers []netip.Addr) check.Finding {
	if seen.BIRD.Unknown != "" {
		return check.CantSee("%s", seen.BIRD.Unknown)
	}
	state := map[netip.Addr]string{}
	for _, p := range seen.BIRD.Value.Protocols {
		if a := p.Peer(); a.IsValid() && !p.Established() {
			state[a] = strings.TrimSpace(p.State + " " + p.Info)
		} else if a.IsValid() {
			state[a] = ""
		}
	}
	var down []string
	for _, a := range peers {
		if s, ok := state[a]; !ok {
			down = append(down, fmt.Sprintf("%s (BIRD has no session)", a))
		} else if s != "" {
			down = append(down, fmt.Sprintf("%s (%s)", a, s))
		}
	}
	if len(down) > 0 {
		return check.Not("not Established with %s", check.Names(down))
	}
	return check.OK("Established with %s", plural(len(peers), "peer"))
}

// extraSessions are a node's that nothing in lab.yaml and no BGPPeer of the user's means.
func extraSessions(seen fact.Machine, f *fact.Lab, e *Env, m lab.Machine) (extra []netip.Addr) {
	if f.Datastore.Unknown != "" {
		return nil
	}
	users := slices.ContainsFunc(f.Datastore.Value.Peers, func(p fact.PeerResource) bool { return !ownPeer(e, p.Name) })
	want := SessionsOf(e.Spec, m)
	for _, p := range seen.BIRD.Value.Protocols {
		ofMesh := strings.HasPrefix(p.Name, "Mesh_")
		if a := p.Peer(); a.IsValid() && !slices.Contains(want, a) && (ofMesh || !users) {
			extra = append(extra, a)
		}
	}
	return extra
}

// strangeSessions says what is too much. Those with nodes that aren't lab.yaml's are somebody else's to end.
func strangeSessions(extra []netip.Addr, f *fact.Lab, e *Env) check.Finding {
	var all []string
	found := check.Finding{State: check.Broken}
	for _, a := range extra {
		all = append(all, a.String())
		for _, n := range f.Datastore.Value.Nodes {
			_, ours := e.Lab.Machine(n.Name)
			leaving := slices.ContainsFunc(e.gone(), func(m machine.Planned) bool { return m.Name == n.Name })
			if !ours && !leaving && n.Address.Addr() == a {
				found.Left = fmt.Sprintf("node %s is registered, and isn't lab.yaml's; if nobody needs it: %s", n.Name, try(e.Lab.Etcd(), "sudo calicoctl delete node "+n.Name))
			}
		}
	}
	found.Found = "there is also a session with " + check.Names(all)
	return found
}

// configureBGP brings reflectors, AS number, routers and mesh in line. The new sessions come before the old ones go: a node becomes a
// reflector and is found by the BGPPeer at one moment, and the mesh is switched off only once all its sessions are Established, or have had
// their time.
func configureBGP(ctx context.Context, e *Env, j Job) error {
	if !j.Has("", "mesh", "reflectors", "routers") {
		return nil
	}
	d, bgp := j.Facts.Datastore.Value, e.Lab.BGP
	edit := func(s *script, kind, name, filter string) { s.line("edit %s", command.Quote(kind, name, filter)) }
	var first, last script
	if bgp.Mesh && d.BGP.MeshOff {
		edit(&first, "BGPConfiguration", "default", ".spec.nodeToNodeMeshEnabled = true")
	}
	if as := asNumber(bgp); as != "" && (d.BGP.AS != as || d.BGP.LabAS != as) {
		edit(&first, "BGPConfiguration", "default", fmt.Sprintf(".spec.asNumber = %s | .metadata.annotations[%q] = %[1]q", as, fact.LabelAS))
	} else if as == "" && d.BGP.LabAS != "" {
		edit(&first, "BGPConfiguration", "default", fmt.Sprintf("del(.spec.asNumber, .metadata.annotations[%q])", fact.LabelAS))
	}
	if len(bgp.Reflectors) > 0 {
		if err := first.resource(e.ReflectorPeer()); err != nil {
			return err
		}
	}
	if err := configureRouters(&first, e, &d); err != nil {
		return err
	}
	for _, m := range e.Nodes() {
		switch n, _ := d.Node(m.Name); {
		case bgp.Reflects(m.Name) && (n.ClusterID != spec.ClusterID || !n.Reflector):
			edit(&first, "Node", m.Name, fmt.Sprintf(".spec.bgp.routeReflectorClusterID = %q | .metadata.labels[%q] = \"true\"", spec.ClusterID, fact.LabelReflector))
		case !bgp.Reflects(m.Name) && n.Reflector:
			edit(&first, "Node", m.Name, fmt.Sprintf("del(.spec.bgp.routeReflectorClusterID, .metadata.labels[%q])", fact.LabelReflector))
		}
	}
	if _, there := d.Peer(spec.ReflectorPeer); there && len(bgp.Reflectors) == 0 {
		first.cmd("calicoctl", "delete", "bgppeer", spec.ReflectorPeer)
	}
	if !bgp.Mesh && !d.BGP.MeshOff {
		edit(&last, "BGPConfiguration", "default", ".spec.nodeToNodeMeshEnabled = false")
	}
	if err := e.edit(ctx, "configuring BGP", &first); err != nil || last.Len() == 0 {
		return err
	}
	if err := awaitReflectors(ctx, e, j); err != nil {
		return err
	}
	return e.edit(ctx, "switching the mesh off", &last)
}

// edit runs a script that edits resources on an etcd machine, where calicoctl is nearest to its data.
func (e *Env) edit(ctx context.Context, doing string, do *script) error {
	if do.Len() == 0 {
		return nil
	}
	var s script
	s.line("%s%s", scripts.Text("edit-resource.sh"), do.String())
	return e.onEtcd(ctx, func(ctx context.Context, h *remote.Host) error {
		if err := s.run(ctx, h); err != nil {
			return fmt.Errorf("%s: %w", doing, err)
		}
		return nil
	})
}

// awaitReflectors waits, on reflectors where calico-node runs, for the sessions with nodes where it runs, ten seconds at most: one node that
// is ill doesn't keep the mesh.
func awaitReflectors(ctx context.Context, e *Env, j Job) error {
	running := 0
	var reflectors []lab.Machine
	for _, m := range e.Nodes() {
		if e.Node(m).Runs(j.Facts.Machines[m.Name].Docker.Value) {
			running++
			if e.Lab.BGP.Reflects(m.Name) {
				reflectors = append(reflectors, m)
			}
		}
	}
	return e.on(ctx, reflectors, func(ctx context.Context, _ lab.Machine, h *remote.Host) error {
		var s script
		s.line(`for _ in {1..100}; do
	if [ "$(docker exec %s birdcl -s /var/run/calico/bird.ctl show protocols | grep -c '^Node_.* Established')" -ge %d ]; then break; fi
	read -r -t 0.1 <> <(:) || true
done`, e.NodeContainer(), running-1)
		return s.run(ctx, h)
	})
}
