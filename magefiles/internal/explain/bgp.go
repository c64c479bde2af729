package explain

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
)

func bgp(_ context.Context, l *Lab, _ []string) (Story, error) {
	w := &writer{}
	w.part("Who is to speak with whom")
	l.bgpWanted(w)
	up, all := 0, 0
	var graph strings.Builder
	graph.WriteString("flowchart LR\n")
	drawn := map[[2]string]bool{}
	for _, m := range append(l.ByRole(lab.RoleCalico), l.Routers()...) {
		w.part("On " + m.Name)
		seen, ok := l.Facts.Machine(m.Name)
		if why := cmp.Or(l.Facts.Unreached[m.Name], seen.BIRD.Unknown); !ok || why != "" {
			w.unknown("BIRD's sessions on %s: %s.", m.Name, why).by(m.Name, fact.Containers.Command())
			fmt.Fprintf(&graph, "  %s[\"%s<br/>%s<br/>unknown\"]\n", id(m.Name), m.Name, m.Address)
			continue
		}
		fmt.Fprintf(&graph, "  %s[\"%s<br/>%s%s\"]\n", id(m.Name), m.Name, m.Address, blocks(l, m.Name))
		for _, p := range seen.BIRD.Value.Protocols {
			if p.Proto != "BGP" {
				continue
			}
			all++
			if p.Established() {
				up++
			}
			l.session(w, m, p)
			l.drawSession(&graph, drawn, m, p)
		}
		l.announces(w, m)
	}
	w.story.Mermaid = graph.String()
	switch {
	case all == 0:
		w.answers("Nobody speaks BGP: no route to another node's workloads can be learned.")
	case up == all:
		w.answers("%s of BGP, all Established (each is counted at both ends).", plural(all, "session"))
	default:
		w.answers("%d of %s of BGP are Established; where one isn't, the routes are missing.", up, plural(all, "session"))
	}
	return w.story, nil
}

// id is a name as Mermaid takes it.
func id(name string) string { return strings.NewReplacer("-", "_", ".", "_", "/", "_").Replace(name) }

func blocks(l *Lab, node string) string {
	text := ""
	for _, b := range l.Facts.Datastore.Value.BlocksOf(node) {
		text += "<br/>" + b.String()
	}
	return text
}

func (l *Lab) bgpWanted(w *writer) {
	d := l.Facts.Datastore
	if d.Unknown != "" {
		w.unknown("what the nodes are configured to do: %s.", d.Unknown).by(l.etcd(), fact.EtcdHealth.Command())
		return
	}
	as := d.Value.BGP.AS
	if as == "" {
		as = "64512, Calico's own"
	}
	if d.Value.BGP.MeshOff {
		w.say("The node-to-node mesh is off: only peers that somebody made (BGPPeer) speak with each other.").saw("nodeToNodeMeshEnabled: false").by(l.etcd(), fact.BGPConfig.Command())
	} else {
		w.say("The node-to-node mesh is on, as it is unless somebody switches it off: every node speaks BGP with every other one. %d nodes make %s.", len(d.Value.Nodes), plural(len(d.Value.Nodes)*(len(d.Value.Nodes)-1)/2, "session")).by(l.etcd(), fact.BGPConfig.Command())
	}
	w.say("The nodes are in one AS, %s, unless one says otherwise: this is iBGP, so a route that one node tells is not told on to a third, and the next hop stays.", as).by(l.etcd(), fact.Nodes.Command())
	for _, n := range d.Value.Nodes {
		if n.AS != "" && n.AS != d.Value.BGP.AS {
			w.say("%s is in an AS of its own, %s: its sessions are eBGP.", n.Name, n.AS).by(l.etcd(), fact.Nodes.Command())
		}
		if n.ClusterID != "" {
			w.say("%s is a route reflector: it does tell on.", n.Name).saw("routeReflectorClusterID " + n.ClusterID)
		}
	}
	for _, p := range l.Facts.Resources.Value.Peers {
		who := "every node"
		if p.Node != "" {
			who = p.Node
		} else if p.NodeSelector != "" {
			who = "every node with " + p.NodeSelector
		}
		to := p.PeerIP
		if p.PeerSelector != "" {
			to = "every node with " + p.PeerSelector
		}
		w.say("BGPPeer %s: %s speaks with %s.", p.Name, who, to).by(l.etcd(), fact.Peers.Command())
	}
}

func (l *Lab) session(w *writer, m lab.Machine, p fact.Protocol) {
	kind := map[string]string{"Mesh": "of the mesh", "Global": "of a BGPPeer for all nodes", "Node": "of a BGPPeer for this node"}[strings.SplitN(p.Name, "_", 2)[0]]
	if m.Role == lab.RoleRouter {
		kind = "of its configuration"
	}
	evidence := strings.TrimSpace(fmt.Sprintf("%s %s %s since %s, %s", p.Name, p.Proto, p.State, p.Since, p.Info))
	if !p.Established() {
		w.wrong("The session with %s, %s, is not Established: it is %s.", l.called(p.Peer()), kind, strings.TrimSpace(p.State+" "+p.Info)).saw(evidence).by(m.Name, l.birdc(m.Name, "show protocols all "+p.Name))
	} else {
		w.say("The session with %s, %s, is Established.", l.called(p.Peer()), kind).saw(evidence).by(m.Name, l.sessions(m))
	}
	if strings.HasPrefix(p.Name, "Mesh_") {
		// confd compares the addresses as text.
		if m.Address.String() > p.Peer().String() {
			w.say("%s dials: of two nodes of the mesh the one whose address is greater, as text, does, and the other waits.", m.Name).saw(fmt.Sprintf("%q > %q", m.Address, p.Peer()))
		} else {
			w.say("%s waits to be dialled: its address is the smaller one, as text.", m.Name).saw(fmt.Sprintf("%q < %q", m.Address, p.Peer()))
		}
	}
	seen := l.Facts.Machines[m.Name]
	if why := cmp.Or(seen.Deep.Unknown, seen.Deep.Value.Learned.Unknown); why != "" {
		w.unknown("what it told: %s.", why).by(m.Name, l.birdc(m.Name, "show route all"))
		return
	}
	var told []string
	for _, r := range seen.Deep.Value.Learned.Value {
		if r.Protocol == p.Name {
			told = append(told, fmt.Sprintf("%s via %s%s", r.To, r.Via, map[bool]string{true: " *"}[r.Best]))
		}
	}
	if peer, _ := l.Machine(l.owner(p.Peer())); len(told) == 0 && peer.Role == lab.RoleRouter {
		w.say("It has told %s no route: a router of the lab's takes routes, and has none of its own to tell.", m.Name).by(m.Name, l.birdc(m.Name, "show route protocol "+p.Name))
		return
	}
	if len(told) == 0 {
		w.wrong("It has told %s no route.", m.Name).by(m.Name, l.birdc(m.Name, "show route protocol "+p.Name))
		return
	}
	w.say("%s told %s, which BIRD here puts into the kernel's table.", l.called(p.Peer()), plural(len(told), "route")).saw(told...).by(m.Name, l.birdc(m.Name, "show route protocol "+p.Name))
}

func (l *Lab) announces(w *writer, m lab.Machine) {
	for _, b := range l.Facts.Datastore.Value.BlocksOf(m.Name) {
		pool, ok := poolOf(l.Facts.Datastore.Value.Pools, b.Addr())
		if ok && pool.NoBGPExport {
			w.wrong("%s is not announced: pool %s has disableBGPExport.", b, pool.Name).by(l.etcd(), fact.Pools.Command())
			continue
		}
		w.say("It announces %s, its own block: one route for all its workloads.", b).saw(l.learned(m.Name, b)...).by(m.Name, l.birdc(m.Name, "show route "+b.String()))
	}
}

// sessions is the command line that shows a machine's.
func (l *Lab) sessions(m lab.Machine) string {
	if m.Role == lab.RoleRouter {
		return fact.RouterBGP.Command()
	}
	return fact.Sessions.Command()
}

// drawSession draws a session once, however many of its ends are looked at.
func (l *Lab) drawSession(b *strings.Builder, drawn map[[2]string]bool, m lab.Machine, p fact.Protocol) {
	other := l.owner(p.Peer())
	if other == "" {
		other = p.Peer().String()
	}
	if drawn[[2]string{other, m.Name}] {
		return
	}
	drawn[[2]string{m.Name, other}] = true
	if _, err := netip.ParseAddr(other); err == nil {
		fmt.Fprintf(b, "  %s[\"%s\"]\n", id(other), other)
	}
	if p.Established() {
		fmt.Fprintf(b, "  %s <-- \"BGP\" --> %s\n", id(m.Name), id(other))
	} else {
		fmt.Fprintf(b, "  %s -. \"%s\" .- %s\n", id(m.Name), strings.TrimSpace(p.State+" "+p.Info), id(other))
	}
}
