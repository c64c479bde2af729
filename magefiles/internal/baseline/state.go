package baseline

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

// state is a lab as items.
type state struct {
	items   map[Key]Item
	unknown map[Key]string  // why a machine's items of a kind couldn't be seen; Name is ""
	off     map[string]bool // machines of which nothing could be seen
	hidden  map[string]Workload
	on      map[string]*strings.Replacer // hides a machine's own workloads, by machine
	shared  bool
	network string
}

// state is the lab as facts show it, in the baseline's tokens.
func (b *Baseline) state(f *fact.Lab) *state {
	s := &state{items: map[Key]Item{}, unknown: map[Key]string{}, off: map[string]bool{}, on: map[string]*strings.Replacer{}, shared: b.Shared, network: b.Network}
	s.hidden = workloads(f, b.Network, b.Workloads)
	for name, why := range f.Unreached {
		s.unknown[Key{Container, name, ""}], s.off[name] = why, true
	}
	for name, m := range f.Machines {
		s.machine(name, m)
		s.datastore(m.Datastore)
	}
	known(s, Entry, "", f.Datastore)
	return s
}

// list are the items, sorted.
func (s *state) list() []Item { return slices.SortedFunc(maps.Values(s.items), byKey) }

func byKey(a, b Item) int {
	return cmp.Or(cmp.Compare(a.Machine, b.Machine), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
}

// add takes in an item, with tokens for what is another one whenever a workload is plumbed anew.
func (s *state) add(kind Kind, machine, name, value, raw string) {
	hide := s.hide(machine, name+value+raw)
	k := Key{kind, machine, hide.Replace(name)}
	s.items[k] = Item{k, hide.Replace(value), hide.Replace(raw)}
}

// hide returns what puts tokens for workloads into texts about a machine, or about the datastore: for the machine's own, or for those
// whose IDs stand there. Interfaces of workloads on two machines may have the same name: cnitool gives it three digits.
func (s *state) hide(machine, texts string) *strings.Replacer {
	if machine == "" {
		return hide(s.hidden, func(_ string, w Workload) bool {
			return w.ID != "" && (strings.Contains(texts, w.ID) || strings.Contains(texts, doubled(w.ID)))
		})
	}
	if s.on[machine] == nil {
		s.on[machine] = hide(s.hidden, func(key string, _ Workload) bool { return fact.WorkloadMachine(key) == machine })
	}
	return s.on[machine]
}

// known says whether a fact was seen, and remembers why it wasn't.
func known[T any](s *state, kind Kind, machine string, f fact.Seen[T]) bool {
	if f.Unknown != "" {
		s.unknown[Key{kind, machine, ""}] = f.Unknown
	}
	return f.Unknown == ""
}

// workloads are those of the facts; where one isn't plumbed, what stands for it is what it was.
func workloads(f *fact.Lab, network string, was map[string]Workload) map[string]Workload {
	all := maps.Clone(was)
	if all == nil {
		all = map[string]Workload{}
	}
	for name, m := range f.Machines {
		for _, w := range m.Workloads(network) {
			a, key := w.Attachment, fact.WorkloadKey(name, w.Name)
			if !a.Live || !a.Address().IsValid() {
				continue
			}
			inside, _ := w.Sandbox.Link(a.IfName)
			all[key] = Workload{a.ContainerID, a.HostInterface(), cmp.Or(inside.MAC, all[key].MAC), a.NetNS, a.Address()}
		}
	}
	return all
}

// doubled is an ID as Calico has it in names.
func doubled(id string) string { return strings.ReplaceAll(id, "-", "--") }

// tokens are what stands for a workload, each beside what it stands for.
func (w Workload) tokens(key string) [][2]string {
	all := [][2]string{
		{w.ID, "{container " + key + "}"}, {doubled(w.ID), "{Container " + key + "}"},
		{w.Interface, "{interface " + key + "}"}, {w.MAC, "{MAC " + key + "}"}, {w.Sandbox, "{sandbox " + key + "}"},
	}
	return slices.DeleteFunc(all, func(p [2]string) bool { return p[0] == "" })
}

func hide(all map[string]Workload, these func(key string, w Workload) bool) *strings.Replacer {
	var pairs []string
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if !these(key, all[key]) {
			continue
		}
		for _, p := range all[key].tokens(key) {
			pairs = append(pairs, p[0], p[1])
		}
	}
	return strings.NewReplacer(pairs...)
}

func expand(all map[string]Workload) *strings.Replacer {
	var pairs []string
	for key, w := range all {
		for _, p := range w.tokens(key) {
			pairs = append(pairs, p[1], p[0])
		}
	}
	return strings.NewReplacer(pairs...)
}

// prefixes writes networks in one order.
func prefixes(all []netip.Prefix) string {
	var out []string
	for _, p := range all {
		out = append(out, p.String())
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}
