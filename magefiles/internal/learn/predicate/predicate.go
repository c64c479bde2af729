// Package predicate is the language of a lesson's checks: a line says what must hold in the lab.
//
//	route MACHINE PREFIX [via ADDRESS] [dev NAME] [proto NAME] [type NAME]    the machine's main routing table has it
//	bgp MACHINE ADDRESS                    BGP is Established with the peer at that address
//	ping FROM ADDRESS                      an echo request is answered; FROM is a machine, MACHINE/CONTAINER or MACHINE/NETNS
//	tcp FROM ADDRESS PORT                  a connection is taken, and something is said
//	owner ADDRESS MACHINE                  the address belongs to a workload endpoint of that node
//	block PREFIX MACHINE                   the block has an affinity to that node
//	pool PREFIX                            there is such an IP pool
//	container MACHINE NAME                 it runs
//	link MACHINE NAME                      there is such a network interface; * stands for anything
//	packets MACHINE CHAIN [TEXT]           more packets than before were counted by rules of the chain that have TEXT in them
//	holds CONDITION                        a condition of `check` holds, by its name there
//	works                                  all of them do
//	restored                               nothing differs from the lab's baseline
//
// With "no" before it, a line says that this is not so.
package predicate

import (
	"cmp"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

// State is what is known when predicates are tested.
type State struct {
	Facts    fact.Lab
	Report   fact.Seen[check.Report]         // of the lab's conditions, where one of the predicates asks for it
	Restored check.Finding                   // whether the lab is as its baseline says, where one asks for it
	Probes   map[Probe]fact.Seen[fact.Probe] // those of the predicates
	Counters map[Counter]fact.Seen[int64]    // now
	Before   map[Counter]fact.Seen[int64]    // when the step began
}

// Probe is a packet to be sent.
type Probe struct {
	From Place
	To   netip.Addr
	Port uint16 // 0: only an echo request
}

// Place is a machine, or a container or a named network namespace on it.
type Place struct{ Machine, Container string }

func (p Place) String() string {
	if p.Container == "" {
		return p.Machine
	}
	return p.Machine + "/" + p.Container
}

// Counter is the packets that rules of a machine's filter table have counted.
type Counter struct{ Machine, Chain, Text string }

// Predicate is one line, understood.
type Predicate struct {
	Line string
	not  bool
	test func(*State) check.Finding
	// What has to be found out for it beside facts; zero where nothing has.
	Probe    Probe
	Counter  Counter
	Report   bool
	Baseline bool
}

// Test says whether it holds. A fact that is missing makes it unknown, never broken.
func (p Predicate) Test(s *State) check.Finding {
	f := p.test(s)
	if !p.not {
		return f
	}
	switch f.State {
	case check.Holds:
		f.State = check.Broken
	case check.Broken:
		f.State = check.Holds
	}
	return f
}

// Parse understands a line. machines are the names that there are.
func Parse(line string, machines []string) (Predicate, error) {
	p := Predicate{Line: line}
	words := strings.Fields(line)
	if len(words) > 0 && words[0] == "no" {
		p.not, words = true, words[1:]
	}
	if len(words) == 0 {
		return p, fmt.Errorf("%q is no check: %s", line, known())
	}
	make, ok := makers[words[0]]
	if !ok {
		return p, fmt.Errorf("%q: no check is called %q; %s", line, words[0], known())
	}
	a := &arguments{words: words[1:], machines: machines}
	make(&p, a)
	if a.err == nil && len(a.words) > 0 {
		a.err = fmt.Errorf("%q is too much", strings.Join(a.words, " "))
	}
	if a.err != nil {
		return p, fmt.Errorf("%q: %w", line, a.err)
	}
	return p, nil
}

func known() string {
	var names []string
	for name := range makers {
		names = append(names, name)
	}
	slices.Sort(names)
	return "there are " + strings.Join(names, ", ")
}

// arguments are the words behind a predicate's name. The first that is wrong stays in err.
type arguments struct {
	words    []string
	machines []string
	err      error
}

func (a *arguments) next(what string) string {
	if len(a.words) == 0 {
		a.err = cmp.Or(a.err, fmt.Errorf("%s is missing", what))
		return ""
	}
	w := a.words[0]
	a.words = a.words[1:]
	return w
}

func (a *arguments) machine() string {
	m := a.next("a machine")
	if m != "" && !slices.Contains(a.machines, m) {
		a.err = cmp.Or(a.err, fmt.Errorf("there is no machine %s", m))
	}
	return m
}

func (a *arguments) place() Place {
	machine, container, _ := strings.Cut(a.next("a machine"), "/")
	if machine != "" && !slices.Contains(a.machines, machine) {
		a.err = cmp.Or(a.err, fmt.Errorf("there is no machine %s", machine))
	}
	return Place{machine, container}
}

func (a *arguments) address() netip.Addr {
	addr, err := netip.ParseAddr(a.next("an address"))
	if err != nil && a.err == nil {
		a.err = err
	}
	return addr
}

func (a *arguments) prefix() netip.Prefix {
	text := a.next("a prefix")
	if text == "default" {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	if addr, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(addr, addr.BitLen())
	}
	p, err := netip.ParsePrefix(text)
	if err != nil && a.err == nil {
		a.err = err
	}
	return p
}

func (a *arguments) port() uint16 {
	n, err := strconv.ParseUint(a.next("a port"), 10, 16)
	if err != nil && a.err == nil {
		a.err = err
	}
	return uint16(n)
}

// of takes "KEY VALUE" pairs as far as they go.
func (a *arguments) of(keys ...string) map[string]string {
	got := map[string]string{}
	for len(a.words) > 1 && slices.Contains(keys, a.words[0]) {
		key := a.next("")
		got[key] = a.next(key)
	}
	return got
}

// on looks at one machine's facts.
func on(machine string, test func(fact.Machine) check.Finding) func(*State) check.Finding {
	return func(s *State) check.Finding {
		m, ok := s.Facts.Machine(machine)
		if !ok {
			return check.CantSee("%s: %s", machine, cmp.Or(s.Facts.Unreached[machine], "it wasn't looked at"))
		}
		return test(m)
	}
}

// datastore looks at what Calico keeps.
func datastore(test func(fact.Datastore) check.Finding) func(*State) check.Finding {
	return func(s *State) check.Finding {
		if why := s.Facts.Datastore.Unknown; why != "" {
			return check.CantSee("the datastore: %s", why)
		}
		return test(s.Facts.Datastore.Value)
	}
}

// matches compares with a name in which * stands for anything.
func matches(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return err == nil && ok
}
