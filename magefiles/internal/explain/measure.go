package explain

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/explain/capture"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

const (
	probes = 3
	// patience is for an answer: longer than the kernel asks by ARP for a neighbour, three times a second each.
	patience = 4 * time.Second
)

// measurement is what was seen of a probe.
type measurement struct {
	from, to Place
	port     uint16
	there    []string // the machines from the sender's to the receiver's, by the routes
	traces   map[string]fact.Seen[fact.Trace]
	seen     []capture.Sighting
	flow     uint32 // of the probe that the story is told of
	sent     fact.Sent
}

// way are the machines that a packet goes through, by their routes: as far as it is known, and at most all.
func (l *Lab) way(from Place, to netip.Addr) []string {
	way := []string{from.Machine}
	for {
		r, _ := match(l.Facts.Machines[way[len(way)-1]].Routes.Value, netip.PrefixFrom(to, 32))
		if r == nil || !r.Via.IsValid() {
			break
		}
		next := l.owner(r.Via)
		if next == "" || slices.Contains(way, next) {
			break
		}
		way = append(way, next)
	}
	return way
}

// measure sends packets, and captures them on all machines on the way, there and back.
func (l *Lab) measure(ctx context.Context, from, to Place, port uint16) (*measurement, error) {
	m := &measurement{from: from, to: to, port: port, there: l.way(from, to.Address)}
	if to.Machine != "" && !slices.Contains(m.there, to.Machine) {
		m.there = append(m.there, to.Machine)
	}
	requests := map[string]fact.TraceRequest{}
	for _, name := range m.there {
		r := fact.TraceRequest{Of: []netip.Addr{from.Address, to.Address}, Ask: l.decisions(m, name)}
		for _, end := range []Place{from, to} {
			if end.Workload != nil && end.Machine == name && !slices.Contains(r.Sandboxes, end.Workload.Sandbox) {
				r.Sandboxes = append(r.Sandboxes, end.Workload.Sandbox)
			}
		}
		if name == from.Machine {
			r.Send = &fact.Send{To: to.Address, Port: port, Tries: probes, Within: patience * time.Duration(max(l.Slow, 1))}
			if from.Workload != nil {
				r.Send.Sandbox = from.Workload.Sandbox
			}
		}
		requests[name] = r
	}
	m.traces = l.Trace(ctx, requests)
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	sender := m.traces[from.Machine]
	if sender.Unknown != "" || sender.Value.Sent == nil {
		why := cmp.Or(sender.Unknown, "it doesn't say what came of it")
		for _, name := range m.there { // the capture that failed says more than those that were given up
			if t := m.traces[name]; t.Unknown != "" && name != from.Machine {
				why += "; on " + name + ": " + t.Unknown
			}
		}
		return nil, fmt.Errorf("nothing was sent from %s: %s; is everything as it should be? go tool mage check", from.Name, why)
	}
	m.sent = *sender.Value.Sent
	m.read()
	return m, nil
}

// decisions are what the kernel of a machine is asked: where it would send the packet, and the answer.
func (l *Lab) decisions(m *measurement, name string) []fact.Decision {
	in := func(end Place) string {
		switch {
		case end.Machine != name:
			return l.underlay(name)
		case end.Workload != nil:
			return end.Workload.Interface
		}
		return "" // the machine's own packet
	}
	return []fact.Decision{
		{From: m.from.Address, To: m.to.Address, In: in(m.from)},
		{From: m.to.Address, To: m.from.Address, In: in(m.to)},
	}
}

// underlay is a machine's interface on the underlay.
func (l *Lab) underlay(name string) string {
	m, _ := l.Machine(name)
	link, _ := l.Facts.Machines[name].LinkWith(m.Address)
	return link.Name
}

// read reads the captures, and picks the probe that the story is told of: the last that got farthest.
func (m *measurement) read() {
	p := capture.Probe{From: m.from.Address, To: m.to.Address, Port: m.port, Echoes: m.sent.Echoes}
	for _, name := range m.there {
		m.seen = append(m.seen, capture.Read(name, m.traces[name].Value.Frames, p)...)
	}
	best := -1
	for _, s := range m.seen {
		if s.Kind != capture.Request {
			continue
		}
		n := len(m.trail(capture.Request, s.Flow)) + 100*len(m.trail(capture.Reply, s.Flow))
		if n >= best {
			best, m.flow = n, s.Flow
		}
	}
}

func (m *measurement) trail(kind capture.Kind, flow uint32) []capture.Sighting {
	order := slices.Clone(m.there)
	if kind != capture.Request {
		slices.Reverse(order)
	}
	return capture.Trail(m.seen, order, kind, flow)
}

// counted is by how much a counter of the kernel's grew.
func (m *measurement) counted(machine, name string) uint64 {
	return m.traces[machine].Value.Counts[name]
}

// decision is what the kernel of a machine said where a packet would go, there or back.
func (m *measurement) decision(machine string, back bool) (d fact.Decision, ok bool) {
	all := m.traces[machine].Value.Decisions
	if len(all) != 2 {
		return d, false
	}
	if back {
		return all[1], true
	}
	return all[0], true
}
