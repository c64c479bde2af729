// Package explain answers questions about a lab: why this address, this route, what becomes of a packet. It reads facts, and
// for a packet a measurement; each sentence has what it was seen by, and the command line that shows it.
package explain

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/pki"
	"github.com/calico-cni-lab/lab/magefiles/internal/spec"
)

// Story is an answer.
type Story struct {
	Question string `json:"question"`          // address 10.1.127.192
	Trouble  string `json:"trouble,omitempty"` // what isn't as it should be in the lab as a whole, and what to type
	Answer   string `json:"answer"`            // in a sentence
	Parts    []Part `json:"parts"`
	Mermaid  string `json:"mermaid,omitempty"` // a picture, where it helps
	// From and To are the ends of a packet's way, Way where it was seen, and Lost the machine where it ended, if it was one of the lab's.
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
	Way  []Hop  `json:"way,omitempty"`
	Lost string `json:"lost,omitempty"`
	// Traces are what a packet's story was made from, by machine.
	Traces map[string]fact.Seen[fact.Trace] `json:"traces,omitempty"`
}

// Hop is a place where a packet was seen.
type Hop struct {
	Machine  string `json:"machine"`
	Workload string `json:"workload,omitempty"` // "": on the machine itself
	Link     string `json:"link"`
	Out      bool   `json:"out"` // it left by the interface; otherwise it came in
	Back     bool   `json:"back"`
	TTL      int    `json:"ttl"`
	Says     string `json:"says"` // echo request, say
	Seen     string `json:"seen"` // a line, as tcpdump would have it
}

// Part is some sentences below a heading.
type Part struct {
	Title     string     `json:"title,omitempty"`
	Sentences []Sentence `json:"sentences"`
}

// Sentence is something that is known, or said to be unknown.
type Sentence struct {
	Text     string   `json:"text"`
	Evidence []string `json:"evidence,omitempty"` // as it was seen, line by line
	Command  string   `json:"command,omitempty"`  // with which a person sees the same
	Unknown  bool     `json:"unknown,omitempty"`
	Wrong    bool     `json:"wrong,omitempty"` // something that isn't as it should be
}

// Lab is what is asked about.
type Lab struct {
	*lab.Lab
	Facts *fact.Lab
	// Certificates are the lab's, as they are on this computer.
	Certificates pki.Set
	// Trace captures on machines while one of them sends.
	Trace func(context.Context, map[string]fact.TraceRequest) map[string]fact.Seen[fact.Trace]
	Slow  int // how much longer than usual an answer may take
}

// Topic is something that can be asked.
type Topic struct {
	Name, Args, About, Example string
	Picture                    bool // whether its story has one
	min, max                   int  // how many arguments
	answer                     func(context.Context, *Lab, []string) (Story, error)
}

// Topics are all that can be asked, with examples that fit a lab.
func Topics(l *lab.Lab) []Topic {
	nodes := l.ByRole(lab.RoleCalico)
	one, two := nodes[0].Name, nodes[1].Name
	return []Topic{
		{"address", "IP", "who has an address, and why this one", one + "/workload", false, 1, 1, address},
		{"route", "MACHINE PREFIX", "who made a route, and what if it goes", one + " " + two + "/workload", true, 2, 2, route},
		{"bgp", "", "who speaks BGP with whom, and what they tell", "", true, 0, 0, bgp},
		{"policy", "WORKLOAD", "what a workload may send and receive, and who says so", one + "/workload", false, 1, 1, policy},
		{"cni", "[MACHINE]", "what the CNI plugin was asked, and what it answered", one, false, 0, 1, cni},
		{"etcd", "", "who keeps the datastore, who may do what there, when certificates end", "", false, 0, 0, etcd},
		{"packet", "FROM TO [PORT]", "sends packets, and tells what became of them", one + "/workload " + two + "/workload", true, 2, 3, packet},
	}
}

// ErrUsage is a question that can't be understood.
var ErrUsage = errors.New("go tool mage explain lists what can be asked")

// Find finds a topic and checks the number of its arguments.
func Find(l *lab.Lab, words []string) (Topic, error) {
	topics := Topics(l)
	var names []string
	for _, t := range topics {
		names = append(names, t.Name)
		if t.Name != strings.ToLower(words[0]) {
			continue
		}
		if n := len(words) - 1; n < t.min || n > t.max {
			return t, fmt.Errorf("say: go tool mage explain %s; for example: go tool mage explain %s",
				strings.TrimSpace(t.Name+" "+t.Args), strings.TrimSpace(t.Name+" "+t.Example))
		}
		return t, nil
	}
	return Topic{}, fmt.Errorf("%w; %w", unknown("nothing to explain about", words[0], names), ErrUsage)
}

// Answer answers a question; words are a topic and its arguments.
func (t Topic) Answer(ctx context.Context, l *Lab, words []string) (Story, error) {
	s, err := t.answer(ctx, l, words[1:])
	s.Question = strings.Join(words, " ")
	return s, err
}

// writer puts a story together.
type writer struct{ story Story }

func (w *writer) part(title string) { w.story.Parts = append(w.story.Parts, Part{Title: title}) }

func (w *writer) add(s Sentence) *Sentence {
	if len(w.story.Parts) == 0 {
		w.part("")
	}
	p := &w.story.Parts[len(w.story.Parts)-1]
	p.Sentences = append(p.Sentences, s)
	return &p.Sentences[len(p.Sentences)-1]
}

func (w *writer) say(format string, args ...any) *Sentence {
	return w.add(Sentence{Text: fmt.Sprintf(format, args...)})
}

func (w *writer) wrong(format string, args ...any) *Sentence {
	return w.add(Sentence{Text: fmt.Sprintf(format, args...), Wrong: true})
}

func (w *writer) unknown(format string, args ...any) *Sentence {
	return w.add(Sentence{Text: "Unknown: " + fmt.Sprintf(format, args...), Unknown: true})
}

// answers is the sentence that the story comes to.
func (w *writer) answers(format string, args ...any) { w.story.Answer = fmt.Sprintf(format, args...) }

// saw adds evidence.
func (s *Sentence) saw(lines ...string) *Sentence {
	s.Evidence = append(s.Evidence, lines...)
	return s
}

// by says with which command on a machine a person sees it. What a shell here would take apart is one word.
func (s *Sentence) by(machine, line string) *Sentence {
	if line != "" && strings.ContainsAny(line, "$|;&<>()`*'\"") {
		line = command.Quote(line)
	}
	s.Command = strings.TrimSpace("go tool mage ssh " + machine + " " + line)
	return s
}

// plural writes a number of things.
func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// etcd is where calicoctl is asked.
func (l *Lab) etcd() string { return l.Etcd().Name }

// Workload is a container with an interface of the lab's network.
type Workload struct {
	Name      string // calico1/workload
	Machine   string
	Address   netip.Addr
	Interface string // on the machine: cali...
	Sandbox   string // key
	Endpoint  string // its name in the datastore; "" where there is none
	Container string
}

// Workloads are all that were plumbed and still run, by the attachments that libcni remembers.
func (l *Lab) Workloads() []Workload {
	var all []Workload
	for _, m := range l.ByRole(lab.RoleCalico) {
		seen := l.Facts.Machines[m.Name]
		for _, a := range seen.Attachments.Value {
			if !a.Live || !a.Address().IsValid() {
				continue
			}
			w := Workload{Name: m.Name + "/" + a.Address().String(), Machine: m.Name, Address: a.Address(), Interface: a.HostInterface(), Sandbox: a.NetNS}
			for _, c := range seen.Docker.Value.Containers {
				if c.NetworkSettings.SandboxKey == a.NetNS && c.State.Status == "running" {
					w.Container = strings.TrimPrefix(c.Name, "/")
					w.Name = m.Name + "/" + w.Container
				}
			}
			for _, e := range l.Facts.Datastore.Value.Endpoints {
				if e.Node == m.Name && slices.Contains(e.Addresses, netip.PrefixFrom(w.Address, w.Address.BitLen())) {
					w.Endpoint = e.Name
				}
			}
			all = append(all, w)
		}
	}
	return all
}

// Place is an end of a packet's way.
type Place struct {
	Name     string
	Machine  string    // "" is outside of the lab
	Workload *Workload // nil: the machine itself, or an address that nobody has
	Address  netip.Addr
}

// Place finds what a person names: a machine, MACHINE/CONTAINER, or an address.
func (l *Lab) Place(name string) (Place, error) {
	workloads := l.Workloads()
	if a, err := netip.ParseAddr(name); err == nil {
		if !a.Is4() {
			return Place{}, fmt.Errorf("%s: the lab has IPv4 addresses only", a)
		}
		for _, w := range workloads {
			if w.Address == a {
				return Place{w.Name, w.Machine, &w, a}, nil
			}
		}
		p := Place{Name: name, Address: a}
		for _, m := range l.Machines {
			if _, ok := l.Facts.Machines[m.Name].LinkWith(a); ok || m.Address == a {
				p.Name, p.Machine = m.Name, m.Name
				break
			}
		}
		return p, nil
	}
	var names []string
	for _, m := range l.Machines {
		if m.Name == name {
			return Place{name, name, nil, m.Address}, nil
		}
		names = append(names, m.Name)
	}
	for _, w := range workloads {
		if w.Name == name {
			return Place{name, w.Machine, &w, w.Address}, nil
		}
		names = append(names, w.Name)
	}
	if m, container, ok := strings.Cut(name, "/"); ok {
		if _, there := l.Facts.Machines[m].Docker.Value.Named(container); there {
			return Place{}, fmt.Errorf("%s has no interface of a network; give it one with: go tool mage plumb", name)
		}
	}
	return Place{}, unknown("there is no machine, workload or address", name, names)
}

// workload finds a workload by its name or address.
func (l *Lab) workload(name string) (Workload, error) {
	p, err := l.Place(name)
	if err != nil {
		return Workload{}, err
	}
	if p.Workload == nil {
		var names []string
		for _, w := range l.Workloads() {
			names = append(names, w.Name)
		}
		return Workload{}, unknown("there is no workload", name, names)
	}
	return *p.Workload, nil
}

// owner is the machine that has an address, "" where none has.
func (l *Lab) owner(a netip.Addr) string {
	for _, m := range l.Machines {
		if _, ok := l.Facts.Machines[m.Name].LinkWith(a); ok || m.Address == a {
			return m.Name
		}
	}
	return ""
}

// called is an address with the name of the machine that has it.
func (l *Lab) called(a netip.Addr) string {
	if name := l.owner(a); name != "" {
		return fmt.Sprintf("%s (%s)", a, name)
	}
	for _, w := range l.Workloads() {
		if w.Address == a {
			return fmt.Sprintf("%s (%s)", a, w.Name)
		}
	}
	return a.String()
}

// birdc is the command line that asks BIRD on a machine.
func (l *Lab) birdc(machine, ask string) string {
	if m, _ := l.Machine(machine); m.Role == lab.RoleRouter {
		return "sudo docker exec " + spec.RouterContainer + " birdc " + ask
	}
	name := "calico-node"
	for _, c := range l.Facts.Machines[machine].Docker.Value.Part(fact.PartNode) {
		name = strings.TrimPrefix(c.Name, "/")
	}
	return "sudo docker exec " + name + " birdcl -s /var/run/calico/bird.ctl " + ask
}
