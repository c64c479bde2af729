package explain

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/explain/capture"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

func packet(ctx context.Context, l *Lab, args []string) (Story, error) {
	from, err := l.Place(args[0])
	if err != nil {
		return Story{}, err
	}
	to, err := l.Place(args[1])
	if err != nil {
		return Story{}, err
	}
	var port uint16
	if len(args) > 2 {
		n, err := strconv.ParseUint(strings.TrimPrefix(strings.ToLower(args[2]), "tcp/"), 10, 16)
		if err != nil || n == 0 {
			return Story{}, fmt.Errorf("%q is no TCP port; say a number from 1 to 65535", args[2])
		}
		port = uint16(n)
	}
	switch {
	case from.Machine == "":
		return Story{}, fmt.Errorf("%s is no machine's and no workload's: nobody can send from there", from.Address)
	case from.Address == to.Address:
		return Story{}, fmt.Errorf("%s and %s are the same place; a packet that never leaves it has no story", args[0], args[1])
	}
	for _, m := range []string{from.Machine, to.Machine} {
		if why, off := l.Facts.Unreached[m]; off {
			return Story{}, fmt.Errorf("%s can't be entered: %s; see: go tool mage check", m, why)
		}
	}
	m, err := l.measure(ctx, from, to, port)
	if err != nil {
		return Story{}, err
	}
	return l.tell(m), nil
}

// tell tells what was measured.
func (l *Lab) tell(m *measurement) Story {
	w := &writer{}
	w.part("What was sent")
	l.tellSent(w, m)
	there, back := l.leg(m, false), l.leg(m, true)
	var end *cause
	l.tellLeg(w, there)
	if len(back.trail) == 0 {
		c := there.fate()
		end = &c
	} else {
		l.tellLeg(w, back)
		if m.sent.Replies == 0 && !refused(back) {
			c := back.fate()
			end = &c
		}
	}
	l.tellEnd(w, m, there, back, end)
	w.story.Mermaid, w.story.Traces = drawPacket(m, there, back, end), m.traces
	w.story.From, w.story.To, w.story.Way = m.from.Name, m.to.Name, append(there.hops(), back.hops()...)
	if end != nil {
		w.story.Lost = end.machine
	}
	return w.story
}

// hops are where the packet was seen.
func (g leg) hops() []Hop {
	var all []Hop
	for _, s := range g.trail {
		h := Hop{Machine: s.Machine, Link: s.Link, Out: s.Out, Back: g.back, TTL: int(s.TTL), Says: s.Says, Seen: s.String()}
		if s.Sandbox != "" {
			for _, x := range g.l.Workloads() {
				if x.Machine == s.Machine && x.Sandbox == s.Sandbox {
					h.Workload = x.Name
				}
			}
		}
		all = append(all, h)
	}
	return all
}

func refused(back leg) bool {
	return slices.ContainsFunc(back.trail, func(s capture.Sighting) bool { return strings.Contains(s.Says, "RST") })
}

func (l *Lab) tellSent(w *writer, m *measurement) {
	if m.port != 0 {
		w.say("%s opened a TCP connection to %s port %d.", m.from.Name, l.called(m.to.Address), m.port)
	} else {
		w.say("%s sent %s to %s. Each had an ID of its own, so that each is a new flow to the packet filter.", m.from.Name, plural(len(m.sent.Echoes), "echo request"), l.called(m.to.Address))
	}
	w.say("Meanwhile the packets were captured on %s, and the counters of the packet filter were read before and after.", strings.Join(m.there, ", "))
	for _, name := range m.there {
		t := m.traces[name]
		if t.Unknown != "" {
			w.unknown("what passed through %s: %s.", name, t.Unknown).by(name, "true")
		}
		if t.Value.Hits.Unknown != "" {
			w.unknown("which rules counted on %s: %s. Ask again.", name, t.Value.Hits.Unknown).by(name, fact.Rules.Command())
		}
		if t.Value.Lost > 0 {
			w.unknown("%s of the capture on %s, which came too fast.", plural(int(t.Value.Lost), "frame"), name)
		}
	}
}

// tellLeg tells of one direction, hop by hop: in, what the machine did, out.
func (l *Lab) tellLeg(w *writer, g leg) {
	if len(g.trail) == 0 {
		return
	}
	title := fmt.Sprintf("There: %s to %s", g.source.Name, g.target.Name)
	if g.back {
		title = fmt.Sprintf("Back: %s to %s", g.source.Name, g.target.Name)
	}
	w.part(title)
	for i, s := range g.trail {
		var before *capture.Sighting
		if i > 0 {
			before = &g.trail[i-1]
		}
		switch {
		case s.Sandbox != "" && s.Out:
			w.say("It leaves the workload by its only way, eth0, for %s.", l.gatewayMAC(s)).saw(s.String()).by(s.Machine, l.exec(s.Machine, s.Sandbox, "ip route"))
		case s.Sandbox != "":
			w.say("It arrives in the workload, with TTL %d: %s.", s.TTL, ttl(s)).saw(s.String()).by(s.Machine, l.exec(s.Machine, s.Sandbox, "ip address show eth0"))
		case !s.Out:
			l.comesIn(w, s, before)
		default:
			l.goesOut(w, g, s, before)
		}
		if s.Sandbox == "" && !s.Out && (i == len(g.trail)-1 || g.trail[i+1].Machine != s.Machine) {
			l.handled(w, g, s.Machine) // and that was the end
		}
	}
}

// exec is the command line that runs another one in a workload.
func (l *Lab) exec(machine, sandbox, line string) string {
	for _, x := range l.Workloads() {
		if x.Machine == machine && x.Sandbox == sandbox && x.Container != "" {
			return "sudo docker exec " + x.Container + " " + line
		}
	}
	return "sudo nsenter --net=" + sandbox + " " + line
}

func (l *Lab) gatewayMAC(s capture.Sighting) string {
	if s.DstMAC == "ee:ee:ee:ee:ee:ee" {
		return "169.254.1.1, whose MAC address is that of every machine's end of such a pair"
	}
	return s.DstMAC
}

func ttl(s capture.Sighting) string {
	if n := 64 - int(s.TTL); n > 0 && n < 10 {
		return plural(n, "router") + " took one of 64" + map[bool]string{true: " each"}[n > 1]
	}
	return "nobody routed it"
}

func (l *Lab) comesIn(w *writer, s capture.Sighting, before *capture.Sighting) {
	text := fmt.Sprintf("%s gets it on %s", s.Machine, s.Link)
	if before != nil && before.Machine != s.Machine {
		text += ", as it was sent: the underlay carries it without an envelope"
	}
	w.say("%s.", text).saw(s.String()).by(s.Machine, "sudo tcpdump -ni "+s.Link)
}

func (l *Lab) goesOut(w *writer, g leg, s capture.Sighting, before *capture.Sighting) {
	l.routed(w, g, s.Machine)
	l.handled(w, g, s.Machine)
	if before != nil && before.Machine == s.Machine && before.Src != s.Src {
		w.say("On its way out its source %s became %s: the answer comes to the machine, which puts the workload's address back.", before.Src, s.Src).
			saw(before.String(), s.String()).by(s.Machine, "sudo iptables -t nat -vnL cali-nat-outgoing")
	}
	what := "It leaves by " + s.Link
	if before != nil && before.Machine == s.Machine && before.TTL > s.TTL {
		what += fmt.Sprintf(", with TTL %d: it was routed", s.TTL)
	}
	w.say("%s.", what).saw(s.String()).by(s.Machine, "sudo tcpdump -ni "+s.Link)
}

// routed tells which route a machine took, and who made it.
func (l *Lab) routed(w *writer, g leg, name string) {
	d, ok := g.decision(name, g.back)
	if !ok || d.Why != "" {
		return
	}
	who := "the machine's own configuration"
	switch r := d.Route; {
	case r.Protocol == "bird":
		who = "BIRD"
		for _, b := range l.Facts.Machines[name].Deep.Value.Learned.Value {
			if b.To == r.To && b.Best && strings.Contains(b.Protocol, "_") {
				who = fmt.Sprintf("BIRD, which learned it by BGP from %s", l.called(fact.Protocol{Name: b.Protocol, Proto: "BGP"}.Peer()))
			}
		}
	case r.Protocol == "kernel":
		who = "the kernel, with the interface's address"
	case r.To.IsSingleIP() && strings.HasPrefix(r.Dev, "cali"):
		who = "Felix, for the workload"
	}
	w.say("%s takes the route to %s, made by %s.", name, shown(d.Route), who).saw(d.Route.String()).by(name, "ip route get "+d.To.String())
}

// handled tells which rules of the packet filter took a packet on a machine. The way back is one of flows that are known.
func (l *Lab) handled(w *writer, g leg, name string) {
	rules := l.Facts.Machines[name].Deep.Value.Rules.Value
	var lines []string
	var owners []string
	for _, r := range g.onTheWay(name) {
		if !deciding(r) || g.back != strings.Contains(r.Text, "ESTABLISHED") {
			continue
		}
		lines = append(lines, ruleLine(r))
		if name := ownerOf(rules, r.Chain); name != "" && strings.HasPrefix(r.Chain, "cali-p") {
			kind := "policy "
			if strings.HasPrefix(r.Chain, "cali-pr") {
				kind = "profile "
			}
			if !slices.Contains(owners, kind+name) {
				owners = append(owners, kind+name)
			}
		}
	}
	if len(lines) == 0 {
		return
	}
	text := "The packet filter's rules that counted on " + name
	switch {
	case g.back:
		text += ", for packets of a flow that was allowed"
	case len(owners) > 0:
		text += ", from " + strings.Join(owners, " and ")
	}
	w.say("%s:", text).saw(lines...).by(name, "sudo iptables -vnL "+chainOfInterest(g, name))
}

func chainOfInterest(g leg, name string) string {
	for _, p := range []Place{g.target, g.source} {
		if p.Workload != nil && p.Machine == name {
			if p.Address == g.target.Address {
				return toWorkload + p.Workload.Interface
			}
			return fromWorkload + p.Workload.Interface
		}
	}
	return "cali-FORWARD"
}

// deciding says whether a rule says what becomes of a packet, or which policy does.
func deciding(r fact.Rule) bool {
	switch r.Target() {
	case "ACCEPT":
		return r.Policy == "" && r.Table == "filter"
	case "DROP", "REJECT", "MASQUERADE", "SNAT", "DNAT":
		return true
	case "MARK":
		return strings.HasPrefix(r.Chain, "cali-pi-") || strings.HasPrefix(r.Chain, "cali-po-") || strings.HasPrefix(r.Chain, "cali-pri-") || strings.HasPrefix(r.Chain, "cali-pro-")
	}
	return false
}

// onTheWay are the rules that counted on a machine, of the chains that the probe goes through there, in its order. Other
// packets go through some of them, too.
func (g leg) onTheWay(name string) []fact.Rule {
	rules := g.l.Facts.Machines[name].Deep.Value.Rules.Value
	order := []string{"PREROUTING", "cali-PREROUTING"}
	end := func(p Place, prefix string) {
		if p.Workload == nil || p.Machine != name {
			return
		}
		chain := prefix + p.Workload.Interface
		order = append(order, chain)
		for _, j := range judges(rules, chain) {
			order = append(order, j.chain)
		}
	}
	order = append(order, "cali-from-wl-dispatch")
	end(g.source, fromWorkload)
	order = append(order, "cali-to-wl-dispatch")
	end(g.target, toWorkload)
	switch {
	case g.target.Machine == name && g.target.Workload == nil:
		order = append(order, "cali-wl-to-host")
	case g.source.Machine != name || g.source.Workload != nil:
		order = append(order, "cali-FORWARD", "FORWARD")
	}
	order = append(order, "cali-nat-outgoing")
	all := slices.DeleteFunc(slices.Clone(g.traces[name].Value.Hits.Value), func(r fact.Rule) bool { return !slices.Contains(order, r.Chain) })
	slices.SortStableFunc(all, func(a, b fact.Rule) int {
		return cmp.Compare(slices.Index(order, a.Chain), slices.Index(order, b.Chain))
	})
	return all
}

func (l *Lab) tellEnd(w *writer, m *measurement, there, back leg, end *cause) {
	w.part("The end")
	if end == nil {
		if refused(back) {
			w.answers("It arrives, and %s refuses it: nothing listens at port %d.", m.to.Name, m.port)
			w.say("The answer is a TCP reset.").saw(back.trail[0].String())
			return
		}
		last := there.trail
		w.answers("It arrives, with TTL %d, and the answer comes back after %s.", last[len(last)-1].TTL, m.sent.RTT.Round(1000))
		if m.sent.Said != "" {
			w.say("%s says:", m.to.Name).saw(m.sent.Said)
		} else {
			w.say("%d of %d were answered.", m.sent.Replies, max(len(m.sent.Echoes), 1))
		}
		return
	}
	what := "It"
	if len(back.trail) > 0 {
		what = "It arrives; its answer"
	}
	switch {
	case end.machine == "":
		w.answers("%s isn't answered: %s.", what, end.why)
	case end.unknown:
		w.answers("%s is lost on %s: %s.", what, end.machine, end.why)
	default:
		w.answers("%s dies on %s: %s.", what, end.machine, end.why)
	}
	s := w.wrong("%s%s.", strings.ToUpper(end.why[:1]), end.why[1:]).saw(end.saw...)
	if end.command != "" {
		s.by(cmp.Or(end.machine, m.from.Machine), end.command)
	}
	if m.sent.Error != "" && !slices.Contains(end.saw, m.sent.Error) {
		w.say("The sender was told:").saw(strings.Replace(m.sent.Error, m.from.Address.String()+" says", "its own kernel says", 1))
	} else if m.sent.Error == "" {
		w.say("The sender was told nothing: it waits, and then gives up.")
	}
}

// drawPacket draws what was seen, there and back, as a sequence.
func drawPacket(m *measurement, there, back leg, end *cause) string {
	var b strings.Builder
	b.WriteString("sequenceDiagram\n")
	names := map[string]string{}
	declare := func(name string) string {
		if names[name] == "" {
			names[name] = fmt.Sprintf("p%d", len(names))
			fmt.Fprintf(&b, "  participant %s as %s\n", names[name], name)
		}
		return names[name]
	}
	declare(m.from.Name)
	for _, name := range m.there {
		declare(name)
	}
	declare(m.to.Name)
	for _, g := range []leg{there, back} {
		at := g.source.Name
		for _, s := range g.trail {
			here := s.Machine
			if s.Sandbox != "" {
				here = map[bool]string{true: g.source.Name, false: g.target.Name}[s.Out]
			}
			if here != at && !s.Out {
				fmt.Fprintf(&b, "  %s->>%s: %s, TTL %d\n", declare(at), declare(here), s.Says, s.TTL)
			}
			at = here
		}
	}
	if end != nil {
		fmt.Fprintf(&b, "  Note over %s: %s\n", declare(cmp.Or(end.machine, m.to.Name)), strings.ReplaceAll(end.why, ";", ","))
	}
	return b.String()
}
