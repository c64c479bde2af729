package predicate

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

// makers take a predicate's arguments and say how it is tested.
var makers = map[string]func(*Predicate, *arguments){
	"route": route, "bgp": bgp, "ping": ping, "tcp": tcp, "owner": owner, "block": block, "pool": pool,
	"container": container, "link": link, "packets": packets, "holds": holds, "works": works, "restored": restored,
}

func route(p *Predicate, a *arguments) {
	machine, to := a.machine(), a.prefix()
	want := a.of("via", "dev", "proto", "type")
	p.test = on(machine, func(m fact.Machine) check.Finding {
		if m.Routes.Unknown != "" {
			return check.CantSee("%s's routes: %s", machine, m.Routes.Unknown)
		}
		var others []string
		for _, r := range m.Routes.Value {
			if r.To != to {
				continue
			}
			if routeIs(r, want) {
				return check.OK("%s has the route %s", machine, r)
			}
			others = append(others, r.String())
		}
		if len(others) > 0 {
			return check.Not("%s has %s", machine, strings.Join(others, ", "))
		}
		return check.Not("%s has no route to %s", machine, to)
	})
}

func routeIs(r fact.Route, want map[string]string) bool {
	via := ""
	if r.Via.IsValid() {
		via = r.Via.String()
	}
	for key, is := range map[string]string{"via": via, "dev": r.Dev, "proto": r.Protocol, "type": r.Type} {
		if w, ok := want[key]; ok && !matches(w, is) {
			return false
		}
	}
	return true
}

func bgp(p *Predicate, a *arguments) {
	machine, peer := a.machine(), a.address()
	p.test = on(machine, func(m fact.Machine) check.Finding {
		if m.BIRD.Unknown != "" {
			return check.CantSee("%s's BGP sessions: %s", machine, m.BIRD.Unknown)
		}
		for _, session := range m.BIRD.Value.Protocols {
			if session.Peer() != peer {
				continue
			}
			if session.Established() {
				return check.OK("%s's session %s is Established", machine, session.Name)
			}
			return check.Not("%s's session %s is %s %s", machine, session.Name, session.State, session.Info)
		}
		return check.Not("%s's BIRD knows no peer %s", machine, peer)
	})
}

func ping(p *Predicate, a *arguments) {
	p.Probe = Probe{From: a.place(), To: a.address()}
	p.test = func(s *State) check.Finding {
		got, unsent := sent(s, p.Probe, p.Probe.To)
		switch {
		case unsent.State != "":
			return unsent
		case got.Ping != "":
			return check.Not("%s to %s: %s", p.Probe.From, p.Probe.To, got.Ping)
		}
		return check.OK("%s answers %s, its TTL is %d", p.Probe.To, p.Probe.From, got.TTL)
	}
}

// sent is what came of a probe, or the finding that nothing is known of it.
func sent(s *State, p Probe, to fmt.Stringer) (fact.Probe, check.Finding) {
	got, ok := s.Probes[p]
	switch {
	case !ok:
		return got.Value, check.CantSee("nothing was sent from %s to %s", p.From, to)
	case got.Unknown != "":
		return got.Value, check.CantSee("nothing was sent from %s to %s: %s", p.From, to, got.Unknown)
	}
	return got.Value, check.Finding{}
}

func tcp(p *Predicate, a *arguments) {
	p.Probe = Probe{From: a.place(), To: a.address(), Port: a.port()}
	p.test = func(s *State) check.Finding {
		to := netip.AddrPortFrom(p.Probe.To, p.Probe.Port)
		got, unsent := sent(s, p.Probe, to)
		switch {
		case unsent.State != "":
			return unsent
		case got.TCP != "":
			return check.Not("%s to %s: %s", p.Probe.From, to, got.TCP)
		}
		return check.OK("%s takes connections from %s", to, p.Probe.From)
	}
}

func owner(p *Predicate, a *arguments) {
	address, machine := a.address(), a.machine()
	p.test = datastore(func(d fact.Datastore) check.Finding {
		for _, e := range d.Endpoints {
			if !slices.ContainsFunc(e.Addresses, func(p netip.Prefix) bool { return p.Addr() == address }) {
				continue
			}
			if e.Node == machine {
				return check.OK("%s belongs to a workload on %s, behind %s", address, machine, e.Interface)
			}
			return check.Not("%s belongs to a workload on %s", address, e.Node)
		}
		return check.Not("%s belongs to no workload", address)
	})
}

func block(p *Predicate, a *arguments) {
	cidr, machine := a.prefix(), a.machine()
	p.test = datastore(func(d fact.Datastore) check.Finding {
		for _, b := range d.Blocks {
			if b.CIDR == cidr && b.Node == machine {
				return check.OK("block %s has an affinity to %s, %d addresses are free", cidr, machine, b.Free)
			} else if b.CIDR == cidr {
				return check.Not("block %s has an affinity to %q", cidr, b.Node)
			}
		}
		return check.Not("there is no block %s", cidr)
	})
}

func pool(p *Predicate, a *arguments) {
	cidr := a.prefix()
	p.test = datastore(func(d fact.Datastore) check.Finding {
		for _, pool := range d.Pools {
			if pool.CIDR == cidr {
				return check.OK("pool %s is %s", pool.Name, cidr)
			}
		}
		return check.Not("no pool is %s", cidr)
	})
}

func container(p *Predicate, a *arguments) {
	machine, name := a.machine(), a.next("a container")
	p.test = on(machine, func(m fact.Machine) check.Finding {
		if m.Docker.Unknown != "" {
			return check.CantSee("%s's containers: %s", machine, m.Docker.Unknown)
		}
		c, ok := m.Docker.Value.Named(name)
		switch {
		case !ok:
			return check.Not("%s has no container %s", machine, name)
		case c.State.Status != "running":
			return check.Not("container %s on %s is %s", name, machine, c.State.Status)
		}
		return check.OK("container %s runs on %s", name, machine)
	})
}

func link(p *Predicate, a *arguments) {
	machine, name := a.machine(), a.next("an interface")
	p.test = on(machine, func(m fact.Machine) check.Finding {
		if m.Links.Unknown != "" {
			return check.CantSee("%s's interfaces: %s", machine, m.Links.Unknown)
		}
		for _, l := range m.Links.Value {
			if matches(name, l.Name) {
				return check.OK("%s has %s", machine, l.Name)
			}
		}
		return check.Not("%s has no interface %s", machine, name)
	})
}

func packets(p *Predicate, a *arguments) {
	p.Counter = Counter{Machine: a.machine(), Chain: a.next("a chain")}
	p.Counter.Text = strings.Join(a.words, " ")
	a.words = nil
	p.test = func(s *State) check.Finding {
		now, counted := s.Counters[p.Counter]
		before, known := s.Before[p.Counter]
		switch {
		case !counted || now.Unknown != "":
			return check.CantSee("%s's counters: %s", p.Counter.Machine, cmp.Or(now.Unknown, "they weren't looked at"))
		case !known || before.Unknown != "":
			return check.CantSee("%s's counters before: %s", p.Counter.Machine, cmp.Or(before.Unknown, "they weren't looked at"))
		case now.Value > before.Value:
			return check.OK("%d packets more", now.Value-before.Value)
		}
		return check.Not("the counters stand at %d, as before", now.Value)
	}
}

func holds(p *Predicate, a *arguments) {
	id := a.next("a condition's name")
	p.Report = true
	p.test = func(s *State) check.Finding {
		if why := s.Report.Unknown; why != "" {
			return check.CantSee("%s: %s", id, why)
		}
		for _, r := range s.Report.Value.Results {
			if r.ID != id {
				continue
			}
			if r.State == check.Refused {
				r.State = check.Broken
			}
			return check.Finding{State: r.State, Found: fmt.Sprintf("%s: %s", id, r.Found)}
		}
		return check.CantSee("check has no condition %s", id)
	}
}

func works(p *Predicate, _ *arguments) {
	p.Report = true
	p.test = func(s *State) check.Finding {
		report := s.Report.Value
		unmet := report.Unmet()
		switch {
		case s.Report.Unknown != "":
			return check.CantSee("the lab's conditions: %s", s.Report.Unknown)
		case len(report.Results) == 0:
			return check.CantSee("no condition was looked at")
		case len(unmet) == 0:
			return check.OK("all %d conditions hold", len(report.Results))
		}
		found := fmt.Sprintf("%s; the first: %s: %s", report.Tally(), unmet[0].ID, unmet[0].Found)
		if report.Count(check.Unknown) == len(unmet) { // none is known not to hold
			return check.CantSee("%s", found)
		}
		return check.Not("%s", found)
	}
}

func restored(p *Predicate, _ *arguments) {
	p.Baseline = true
	p.test = func(s *State) check.Finding {
		if s.Restored.State == "" {
			return check.CantSee("the lab wasn't compared with its baseline")
		}
		return s.Restored
	}
}

// Count adds up what a counter is about in the output of `iptables-save --counters`.
func (c Counter) Count(rules string) int64 {
	var sum int64
	for line := range strings.Lines(rules) {
		counted, rule, ok := strings.Cut(strings.TrimSpace(line), "] -A ")
		if !ok || !strings.HasPrefix(counted, "[") {
			continue
		}
		chain, rest, _ := strings.Cut(rule, " ")
		if !matches(c.Chain, chain) || !strings.Contains(rest, c.Text) {
			continue
		}
		packets, _, _ := strings.Cut(counted[1:], ":")
		if n, err := strconv.ParseInt(packets, 10, 64); err == nil {
			sum += n
		}
	}
	return sum
}
