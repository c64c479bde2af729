package explain

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/explain/capture"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

// cause is where a packet ended, and why.
type cause struct {
	machine string // "" where that isn't on a machine of the lab
	why     string // in a clause: "chain cali-tw-x drops it"
	saw     []string
	command string
	unknown bool
}

// leg is a packet's way in one direction.
type leg struct {
	*measurement
	l      *Lab
	trail  []capture.Sighting
	back   bool
	source Place
	target Place
}

func (l *Lab) leg(m *measurement, back bool) leg {
	if back {
		return leg{m, l, m.trail(capture.Reply, m.flow), true, m.to, m.from}
	}
	return leg{m, l, m.trail(capture.Request, m.flow), false, m.from, m.to}
}

// arrived says whether the packet got to the interface that it was for.
func (g leg) arrived() bool {
	if len(g.trail) == 0 {
		return false
	}
	last := g.trail[len(g.trail)-1]
	if last.Out || last.Machine != g.target.Machine {
		return false
	}
	if g.target.Workload != nil {
		return last.Sandbox == g.target.Workload.Sandbox
	}
	return last.Sandbox == "" // the machine is the receiver itself
}

// fate finds out why a packet wasn't seen any further. What was measured counts first; what was only looked at, after.
func (g leg) fate() cause {
	if len(g.trail) == 0 {
		return g.neverLeft()
	}
	last := g.trail[len(g.trail)-1]
	if last.Out {
		return g.lostBetween(last)
	}
	if c, ok := g.dropped(last.Machine); ok {
		return c
	}
	m := last.Machine
	if n := g.counted(m, "TcpExtIPReversePathFilter"); n > 0 {
		saw := []string{fmt.Sprintf("IPReversePathFilter grew by %d", n)}
		if set := g.l.Facts.Machines[m].Deep.Value.RPFilter(last.Link); set.Unknown == "" {
			saw = append(saw, fmt.Sprintf("net.ipv4.conf.%s.rp_filter = %d", last.Link, set.Value))
		}
		return cause{m, "reverse path filtering (rp_filter) throws it away: the way back to its source isn't the way that it came", saw, "/usr/sbin/sysctl net.ipv4.conf." + last.Link + ".rp_filter", false}
	}
	if f := g.l.Facts.Machines[m].Forwarding; f.Unknown == "" && !f.Value && !g.arrived() {
		return cause{m, "forwarding is off, so the machine throws away what isn't for itself", g.also(m, "IpInAddrErrors", "net.ipv4.ip_forward = 0"), fact.Forwarding.Command(), false}
	}
	if g.arrived() {
		return g.noAnswer(last)
	}
	return g.noWayOn(m)
}

// also is evidence, with by how much a counter grew where it did.
func (g leg) also(m, counter string, lines ...string) []string {
	if n := g.counted(m, counter); n > 0 {
		lines = append(lines, fmt.Sprintf("%s grew by %d", counter, n))
	}
	return lines
}

// neverLeft: no interface had the packet.
func (g leg) neverLeft() cause {
	m := g.source.Machine
	where := m
	if g.source.Workload != nil {
		where = g.source.Name
		if asked := capture.Unanswered(g.sandboxed(), m, "eth0"); len(asked) > 0 {
			why, command := g.noProxy(m)
			return cause{m, fmt.Sprintf("ARP failed: %s asked for %s, its next hop, and %s didn't answer", where, asked[0], m), append(g.arp(m, "eth0"), why...), command, false}
		}
	} else if c, ok := g.arpFailed(m); ok {
		return c
	}
	if c, ok := g.dropped(m); ok {
		return c
	}
	if g.sent.Error != "" && !g.back {
		return cause{m, "it never left " + where + ": " + g.sent.Error, []string{g.sent.Error}, fact.Routes.Command(), false}
	}
	return cause{m, "it was seen on no interface of " + where, nil, fact.Links.Command(), true}
}

// noProxy says why a node's kernel answers ARP for no address but its own, and how to look: it does where it forwards, and has a route to what
// is asked for.
func (g leg) noProxy(m string) (why []string, command string) {
	node := g.l.Facts.Machines[m]
	if f := node.Forwarding; f.Unknown == "" && !f.Value {
		return []string{"net.ipv4.ip_forward = 0: a kernel that doesn't forward answers for no address but its own"}, fact.Forwarding.Command()
	}
	const routes = "ip route show default"
	if slices.ContainsFunc(node.Routes.Value, func(r fact.Route) bool { return r.To.Bits() == 0 }) {
		return nil, routes
	}
	return []string{m + " has no default route: then its kernel doesn't answer for 169.254.1.1"}, routes
}

// sandboxed are the sightings in the source's namespace.
func (g leg) sandboxed() []capture.Sighting {
	return slices.DeleteFunc(slices.Clone(g.seen), func(s capture.Sighting) bool { return s.Sandbox != g.source.Workload.Sandbox })
}

func (g leg) arp(m, link string) []string {
	var lines []string
	for _, s := range g.seen {
		if s.Machine == m && s.Link == link && (s.Kind == capture.ARPRequest || s.Kind == capture.ARPReply) && !slices.Contains(lines, s.String()) {
			lines = append(lines, s.String())
		}
	}
	return lines
}

// arpFailed: the next hop, or the receiver, doesn't say which MAC address it has.
func (g leg) arpFailed(m string) (cause, bool) {
	d, ok := g.decision(m, g.back)
	if !ok || d.Route.Dev == "" {
		return cause{}, false
	}
	asked := capture.Unanswered(g.host(), m, d.Route.Dev)
	for _, a := range asked {
		if a != d.Route.Via && a != g.target.Address {
			continue
		}
		lines := slices.DeleteFunc(g.arp(m, d.Route.Dev), func(line string) bool { return !strings.Contains(line, " "+a.String()+"?") })
		for _, n := range g.traces[m].Value.Neighbours.Value {
			if n.Address == a && n.Dev == d.Route.Dev {
				lines = append(lines, fmt.Sprintf("neighbour %s dev %s: %s", a, n.Dev, n.State))
			}
		}
		return cause{m, fmt.Sprintf("ARP failed: nobody on %s says that he has %s", d.Route.Dev, a), lines, "ip neighbour show " + a.String(), false}, true
	}
	return cause{}, false
}

// host are the sightings in the machines' own namespaces.
func (g leg) host() []capture.Sighting {
	return slices.DeleteFunc(slices.Clone(g.seen), func(s capture.Sighting) bool { return s.Sandbox != "" })
}

// lostBetween: it left one interface, and wasn't seen on the next.
func (g leg) lostBetween(last capture.Sighting) cause {
	d, _ := g.decision(last.Machine, g.back)
	switch {
	case last.Sandbox == "" && d.Route.Via.IsValid() && g.l.owner(d.Route.Via) == "":
		c := cause{"", fmt.Sprintf("it left %s for %s, which is no machine of the lab; no answer came", last.Machine, d.Route.Via), []string{last.String()}, "", false}
		for _, s := range g.seen {
			if s.Kind == capture.Error && s.Flow == g.flow && !s.Out {
				c.why = fmt.Sprintf("it left %s for %s, which is no machine of the lab, and %s answered: %s", last.Machine, d.Route.Via, s.Src, s.Says)
				c.saw = append(c.saw, s.String())
				break
			}
		}
		return c
	case last.Sandbox == "" && d.Route.Dev == last.Link && !d.Route.Via.IsValid() && g.target.Machine == "":
		return cause{"", fmt.Sprintf("it left %s by %s, and nobody answered", last.Machine, last.Link), []string{last.String()}, "", false}
	}
	return cause{last.Machine, fmt.Sprintf("it left by %s, and wasn't seen where that leads", last.Where()), []string{last.String()}, "ip -statistics link show", true}
}

// noWayOn: it came in and didn't go out, and no filter says that it has it.
func (g leg) noWayOn(m string) cause {
	d, ok := g.decision(m, g.back)
	get := "ip route get " + g.target.Address.String()
	r, _ := match(g.l.Facts.Machines[m].Routes.Value, netip.PrefixFrom(g.target.Address, 32))
	switch {
	case ok && d.Why != "" && r != nil && r.Type != "": // of such a route the kernel tells an error only
		return cause{m, fmt.Sprintf("the route that counts for %s is a %s", g.target.Address, r.Type), append([]string{r.String()}, g.missing(m)...), "ip route show " + r.To.String(), false}
	case ok && strings.Contains(d.Why, "cross-device"):
		return cause{m, "the kernel refuses its source on that interface: the way back to it is another (rp_filter)", []string{d.Why}, fact.RPFilter.Command(), false}
	case ok && d.Why != "":
		return cause{m, "there is no route to " + g.target.Address.String(), g.also(m, "IpInAddrErrors", g.also(m, "IpExtInNoRoutes", "ip route get: "+d.Why)...), get, false}
	}
	if c, ok := g.arpFailed(m); ok {
		return c
	}
	return cause{m, "it came in and didn't go out again, and nothing that was looked at says why", nil, get, true}
}

// missing says where a workload's own route isn't there.
func (g leg) missing(m string) []string {
	if w := g.target.Workload; w != nil && w.Machine == m {
		return []string{fmt.Sprintf("the route %s dev %s, which Felix makes, is missing", w.Address, w.Interface)}
	}
	if g.target.Machine == "" {
		return []string{g.target.Address.String() + " is nobody's, so no longer route leads to it"}
	}
	return nil
}

// noAnswer: it arrived, and whoever it is for says nothing.
func (g leg) noAnswer(last capture.Sighting) cause {
	if g.back {
		return cause{last.Machine, "the answer came back, and the sender didn't take it", []string{last.String()}, "", true}
	}
	where := g.target.Name
	if g.port != 0 {
		return cause{last.Machine, fmt.Sprintf("it arrived, and %s doesn't answer at port %d: a filter of its own, or a full queue", where, g.port), []string{last.String()}, g.l.exec(last.Machine, last.Sandbox, "ss -tln"), true}
	}
	return cause{last.Machine, fmt.Sprintf("it arrived, and %s doesn't answer", where), []string{last.String()}, "", true}
}

// dropped finds the rule on a machine that threw the packet away: one that counted, of those on its way.
func (g leg) dropped(m string) (cause, bool) {
	t := g.traces[m].Value
	if t.Hits.Unknown != "" {
		return cause{}, false
	}
	rules := g.l.Facts.Machines[m].Deep.Value.Rules.Value
	for _, r := range g.onTheWay(m) {
		if target := r.Target(); target != "DROP" && target != "REJECT" {
			continue
		}
		if !g.blames(r) {
			continue
		}
		c := cause{machine: m, saw: []string{ruleLine(r)}, command: fmt.Sprintf("sudo iptables -t %s -vnL %s", r.Table, r.Chain)}
		c.why = "chain " + r.Chain + " drops it"
		if because := g.l.because(rules, r); because != "" {
			c.why += ", as " + because
		}
		for _, j := range judges(rules, r.Chain) { // whoever didn't allow it
			if j.end != "" && slices.Contains(r.Comments(), j.end) {
				break
			}
			if j.end == "" {
				c.saw = append(c.saw, fmt.Sprintf("%s %s: %s", j.kind, bare(j.name), g.l.verdicts(j, strings.HasPrefix(r.Chain, toWorkload))))
			}
		}
		return c, true
	}
	return cause{}, false
}

// blames says whether a rule's count can be the probe's: the policies of the machine's own chains see everybody's packets.
func (g leg) blames(r fact.Rule) bool {
	if r.Policy != "" {
		return r.Chain == "FORWARD" && r.Packets >= 1
	}
	return true
}

// ruleLine is a rule with what it counted, as evidence.
func ruleLine(r fact.Rule) string {
	line := fmt.Sprintf("%s %s: %s", r.Table, r.Chain, plural(int(r.Packets), "packet"))
	if m := r.Matches(); m != "" {
		line += ", " + m
	}
	if t := r.Target(); t != "" {
		line += " -j " + t
	}
	if c := r.Comments(); len(c) > 0 {
		line += " (" + strings.Join(c, "; ") + ")"
	}
	return line
}

// because says which policy or profile a verdict comes from.
func (l *Lab) because(rules []fact.Rule, r fact.Rule) string {
	comments := strings.Join(r.Comments(), " ")
	all := judges(rules, r.Chain)
	switch {
	case strings.Contains(comments, "End of tier "):
		var names []string
		for _, j := range all {
			if j.kind == "policy" && strings.Contains(comments, "End of tier "+j.tier+".") {
				names = append(names, l.policyName(j.name))
			}
		}
		if len(names) == 0 {
			return "no policy allows it"
		}
		return strings.Join(names, " and ") + map[bool]string{true: " applies and doesn't allow it", false: " apply and don't allow it"}[len(names) == 1]
	case strings.Contains(comments, "if no profiles matched"):
		var names []string
		for _, j := range all {
			if j.kind == "profile" {
				names = append(names, j.name)
			}
		}
		if len(names) == 0 {
			return "the workload has no profile that allows it"
		}
		return "no policy applies, and profile " + strings.Join(names, " and ") + " doesn't allow it"
	case strings.Contains(comments, "DefaultEndpointToHostAction"):
		return "a workload may not talk to its own machine (defaultEndpointToHostAction)"
	case strings.Contains(comments, "Unknown interface"):
		return "Felix knows no workload at that interface"
	case strings.Contains(r.Text, "rpfilter"):
		return "the source address isn't one of the workload's"
	case strings.Contains(r.Text, "INVALID"):
		return "it belongs to no connection (conntrack: INVALID)"
	case r.Policy != "":
		return "no rule before took it, and that is the chain's policy"
	}
	if name := ownerOf(rules, r.Chain); strings.HasPrefix(r.Chain, "cali-p") && name != "" {
		return "a rule of " + l.policyName(name) + " says so"
	}
	return ""
}
