package explain

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
)

func route(_ context.Context, l *Lab, args []string) (Story, error) {
	m, ok := l.Machine(args[0])
	if !ok {
		return Story{}, unknown("there is no machine", args[0], l.Names())
	}
	to, err := l.prefix(args[1])
	if err != nil {
		return Story{}, err
	}
	w := &writer{}
	seen, ok := l.Facts.Machine(m.Name)
	if why := cmp.Or(l.Facts.Unreached[m.Name], seen.Routes.Unknown); !ok || why != "" {
		w.answers("%s can't be looked at.", m.Name)
		w.unknown("%s's routes: %s.", m.Name, why)
		return w.story, nil
	}
	l.lookups(w, m.Name, seen)
	r, second := match(seen.Routes.Value, to)
	if r == nil {
		what := strings.TrimSuffix(to.String(), "/32")
		w.answers("%s has no route to %s: a packet to it is lost there, with the error 'network is unreachable'.", m.Name, what)
		w.wrong("No entry of the routing table covers %s, and there is no default route.", what).by(m.Name, fact.Routes.Command())
		return w.story, nil
	}
	w.part("The route")
	l.taken(w, m.Name, to, *r)
	w.part("Who made it")
	p := l.programmed(w, m, *r)
	w.part("If it goes")
	l.gone(w, m, to, second, p)
	l.drawRoute(w, m.Name, to, *r, p)
	return w.story, nil
}

// prefix reads a prefix, an address, or the name of a machine or a workload. The default route has its name.
func (l *Lab) prefix(s string) (netip.Prefix, error) {
	if s == "default" {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0), nil
	}
	if p, err := netip.ParsePrefix(s); err == nil && p.Addr().Is4() {
		return p.Masked(), nil
	}
	p, err := l.Place(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%w; or say a prefix, such as %s", err, l.Pool.CIDR)
	}
	return netip.PrefixFrom(p.Address, 32), nil
}

// match finds the route that a packet to a prefix takes, the longest that covers it, and what it would take without.
func match(all []fact.Route, to netip.Prefix) (best, second *fact.Route) {
	covering := slices.DeleteFunc(slices.Clone(all), func(r fact.Route) bool { return !r.To.Contains(to.Addr()) || r.To.Bits() > to.Bits() })
	slices.SortStableFunc(covering, func(a, b fact.Route) int {
		if a.To.Bits() != b.To.Bits() {
			return b.To.Bits() - a.To.Bits()
		}
		return a.Metric - b.Metric
	})
	if len(covering) > 0 {
		best = &covering[0]
	}
	if len(covering) > 1 {
		second = &covering[1]
	}
	return best, second
}

// lookups says where policy routing asks other tables than every machine's.
func (l *Lab) lookups(w *writer, m string, seen fact.Machine) {
	for _, r := range seen.Deep.Value.Lookups.Value {
		if !r.Usual() {
			w.wrong("Policy routing on %s may take some packets to table %s instead; what follows is the main table.", m, r.Table).
				saw(r.String()).by(m, fact.Lookups.Command())
		}
	}
}

func (l *Lab) taken(w *writer, m string, to netip.Prefix, r fact.Route) {
	what := to.String()
	if to.IsSingleIP() {
		what = l.called(to.Addr())
	}
	if r.To != to {
		w.say("Of the routes that cover %s the longest one counts.", what).saw(r.String()).by(m, "ip route get "+to.Addr().String())
	}
	switch {
	case r.Type != "":
		w.answers("On %s, packets to %s end: the route says %s.", m, what, r.Type)
		w.say("The route is of type %s: a packet that reaches it is thrown away%s.", r.Type, map[string]string{"blackhole": ", and nobody is told"}[r.Type]).saw(r.String()).by(m, "ip route show "+r.To.String())
	case r.Via.IsValid():
		w.answers("%s sends packets to %s to %s, by %s.", m, what, l.called(r.Via), r.Dev)
		w.say("The next hop is %s, on %s. Only the frame is addressed to it; the packet keeps its addresses.", l.called(r.Via), r.Dev).saw(r.String()).by(m, "ip route show "+shown(r))
	default:
		w.answers("%s delivers packets to %s itself, by %s.", m, what, r.Dev)
		where := "on the network that " + r.Dev + " is on"
		if r.To.IsSingleIP() {
			where = "at the other end of " + r.Dev
		}
		w.say("There is no next hop: whoever is to get the packet is %s.", where).saw(r.String()).by(m, "ip route show "+shown(r))
	}
}

// shown is a route's destination as `ip route show` takes it.
func shown(r fact.Route) string {
	switch {
	case r.To.Bits() == 0:
		return "default"
	case r.To.IsSingleIP():
		return r.To.Addr().String()
	}
	return r.To.String()
}

// maker is what programmed a route.
type maker int

const (
	byOther   maker = iota
	byBIRD          // learned from a peer
	byOwnBIRD       // BIRD's own blackhole for the node's block
	byFelix
	byKernel
)

// makerOf is who made a route.
func makerOf(r fact.Route) maker {
	switch {
	case r.Protocol == "bird" && r.Type == "blackhole":
		return byOwnBIRD
	case r.Protocol == "bird":
		return byBIRD
	case r.Type == "" && r.To.IsSingleIP() && strings.HasPrefix(r.Dev, "cali"):
		return byFelix
	case r.Protocol == "kernel":
		return byKernel
	}
	return byOther
}

// Programmer names who made a route.
func Programmer(r fact.Route) string {
	switch makerOf(r) {
	case byBIRD:
		return "BIRD, learned by BGP"
	case byOwnBIRD:
		return "BIRD, for the node's own block"
	case byFelix:
		return "Felix"
	case byKernel:
		return "the kernel"
	}
	if r.To.Bits() == 0 {
		return "the machine's configuration"
	}
	return "somebody else (" + cmp.Or(r.Protocol, "no protocol") + ")"
}

// programmed says who made a route, and from whom he has it.
func (l *Lab) programmed(w *writer, m lab.Machine, r fact.Route) maker {
	by := makerOf(r)
	switch by {
	case byOwnBIRD:
		w.say("BIRD on %s made it, for a block that %s itself holds: so the block is announced as a whole, and addresses of it that nobody has lead nowhere.", m.Name, m.Name).
			saw(l.learned(m.Name, r.To)...).by(m.Name, l.birdc(m.Name, "show route "+r.To.String()))
	case byBIRD:
		l.fromPeer(w, m, r)
	case byFelix:
		s := w.say("Felix on %s made it, for a workload endpoint of its node: one route to one address, by the machine's end of the workload's pair of interfaces.", m.Name)
		for _, e := range l.Facts.Datastore.Value.Endpoints {
			if e.Node == m.Name && e.Interface == r.Dev {
				s.saw(e.Name, fmt.Sprintf("%v by %s", e.Addresses, e.Interface))
			}
		}
		s.by(l.etcd(), fact.Endpoints.Command())
	case byKernel:
		w.say("The kernel made it when %s got an address of this network.", r.Dev).by(m.Name, "ip address show "+r.Dev)
	case byOther:
		if r.To.Bits() == 0 {
			w.say("The machine's own network configuration made it; Calico needs it, though it leads out of the lab: without a default route the kernel doesn't answer the workloads' ARP requests for 169.254.1.1.").saw("proto "+r.Protocol).by(m.Name, "ip route show default")
			break
		}
		w.say("Neither BIRD nor Felix made it: its protocol is %s. Somebody typed it, or the machine's own configuration has it.", r.Protocol).saw(r.String()).by(m.Name, fact.Routes.Command())
	}
	return by
}

// learned are the lines of BIRD's about a prefix.
func (l *Lab) learned(m string, p netip.Prefix) []string {
	var lines []string
	for _, b := range l.Facts.Machines[m].Deep.Value.Learned.Value {
		if b.To != p {
			continue
		}
		line := p.String()
		if b.Via.IsValid() {
			line += fmt.Sprintf(" via %s on %s", b.Via, b.Dev)
		}
		line += strings.TrimRight(" "+b.Type, " ") + fmt.Sprintf(" [%s %s]", b.Protocol, b.Since)
		if b.Best {
			line += " *"
		}
		lines = append(lines, line)
	}
	return lines
}

func (l *Lab) fromPeer(w *writer, m lab.Machine, r fact.Route) {
	seen := l.Facts.Machines[m.Name]
	d := seen.Deep.Value.Learned
	if why := cmp.Or(seen.Deep.Unknown, d.Unknown); why != "" {
		w.unknown("from whom BIRD learned it: %s.", why).by(m.Name, l.sessions(m))
		return
	}
	ask := l.birdc(m.Name, "show route "+r.To.String()+" all")
	i := slices.IndexFunc(d.Value, func(b fact.BIRDRoute) bool { return b.To == r.To && b.Best })
	if i < 0 {
		w.wrong("BIRD made it, and doesn't know it any more: it is left over.").by(m.Name, ask)
		return
	}
	b := d.Value[i]
	for _, p := range seen.BIRD.Value.Protocols {
		if p.Name != b.Protocol {
			continue
		}
		w.say("BIRD on %s made it, since it learned the prefix by BGP from %s.", m.Name, l.called(p.Peer())).saw(l.learned(m.Name, r.To)...).by(m.Name, ask)
		w.say("That session, %s, is %s.", p.Name, strings.TrimSpace(p.Info)).saw(fmt.Sprintf("%s since %s", p.Info, p.Since)).by(m.Name, l.sessions(m))
	}
	for _, block := range l.Facts.Datastore.Value.Blocks {
		if block.CIDR == r.To && block.Node != "" {
			s := w.say("%s announces it because it holds the block: confd writes a node's blocks into BIRD's configuration, as blackhole routes to be announced.", block.Node)
			for _, there := range l.Facts.Machines[block.Node].Routes.Value {
				if there.To == r.To {
					s.saw("on " + block.Node + ": " + there.String())
				}
			}
			s.by(block.Node, l.birdc(block.Node, "show route "+r.To.String()))
		}
	}
	if r.To.IsSingleIP() {
		w.say("It is for one address only: one that another node borrowed from the block's owner. It wins over the block's route, being longer.")
	}
}

// gone says what becomes of packets when a route is deleted, and who makes it again.
func (l *Lab) gone(w *writer, m lab.Machine, to netip.Prefix, second *fact.Route, by maker) {
	switch {
	case second == nil:
		w.say("Without it there is no route: the packets are lost on %s, and the sender is told that the network is unreachable.", m.Name).by(m.Name, "ip route get "+to.Addr().String())
	case second.Type == "blackhole":
		w.say("Without it the next longest counts, the block's blackhole: packets to the workload disappear without a word. The blackhole looks like the fault, and the missing route is it.").saw(second.String()).by(m.Name, "ip route show "+shown(*second))
	case second.Type != "":
		w.say("Without it the next longest counts, which says %s.", second.Type).saw(second.String()).by(m.Name, "ip route show "+shown(*second))
	case second.Via.IsValid() && second.Via == l.GatewayOf(m.Address) && l.Pool.CIDR.Contains(to.Addr()):
		w.say("Without it the packets take the default route, to %s, where nobody knows the workloads' addresses.", second.Via).saw(second.String()).by(m.Name, "ip route show default")
	default:
		w.say("Without it the next longest route counts.").saw(second.String()).by(m.Name, "ip route show "+shown(*second))
	}
	switch by {
	case byBIRD:
		w.say("BIRD makes it again when it scans the kernel's routes, within 2 seconds. It takes it away itself when the peer does, or when the session ends for good.").by(m.Name, l.birdc(m.Name, "show protocols all kernel1"))
	case byOwnBIRD:
		w.say("BIRD makes it again when it scans the kernel's routes, within 2 seconds.").by(m.Name, l.birdc(m.Name, "show protocols all kernel1"))
	case byFelix:
		w.say("Felix makes it again when it compares what it wants with what there is, every 90 seconds (routeRefreshInterval).").by(l.etcd(), "sudo calicoctl get felixconfigurations --output=yaml")
	case byKernel:
		w.say("The kernel makes it again only with the address: it is gone until the interface is set up anew.")
	case byOther:
		w.say("Calico doesn't make it again.")
	}
}

func (l *Lab) drawRoute(w *writer, m string, to netip.Prefix, r fact.Route, by maker) {
	var b strings.Builder
	b.WriteString("flowchart LR\n")
	fmt.Fprintf(&b, "  here[\"%s\"]\n", m)
	switch {
	case r.Type != "":
		fmt.Fprintf(&b, "  here -- \"%s\" --> lost((%s))\n", shown(r), r.Type)
	case r.Via.IsValid():
		fmt.Fprintf(&b, "  here -- \"%s<br/>by %s\" --> next[\"%s\"]\n", shown(r), r.Dev, l.called(r.Via))
		if by == byBIRD {
			b.WriteString("  next -. \"BGP announces it\" .-> here\n")
		}
	default:
		fmt.Fprintf(&b, "  here -- \"%s\" --> next[\"%s\"]\n", r.Dev, l.called(to.Addr()))
	}
	w.story.Mermaid = b.String()
}
