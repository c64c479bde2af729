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
	replace *strings.Replacer
	shared  bool
	network string
}

// state is the lab as facts show it, in the baseline's tokens.
func (b *Baseline) state(f *fact.Lab) *state {
	s := &state{items: map[Key]Item{}, unknown: map[Key]string{}, off: map[string]bool{}, shared: b.Shared, network: b.Network}
	s.replace = hide(workloads(f, b.Network, b.Workloads))
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
	k := Key{kind, machine, s.replace.Replace(name)}
	s.items[k] = Item{k, s.replace.Replace(value), s.replace.Replace(raw)}
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

// tokens are what stands for a machine's workload, each beside what it stands for. Calico doubles the hyphens of an ID in names.
func (w Workload) tokens(machine string) [][2]string {
	all := [][2]string{
		{w.ID, "{container " + machine + "}"}, {strings.ReplaceAll(w.ID, "-", "--"), "{Container " + machine + "}"},
		{w.Interface, "{interface " + machine + "}"}, {w.MAC, "{MAC " + machine + "}"}, {w.Sandbox, "{sandbox " + machine + "}"},
	}
	return slices.DeleteFunc(all, func(p [2]string) bool { return p[0] == "" })
}

func hide(all map[string]Workload) *strings.Replacer {
	var pairs []string
	for _, machine := range slices.Sorted(maps.Keys(all)) {
		for _, p := range all[machine].tokens(machine) {
			pairs = append(pairs, p[0], p[1])
		}
	}
	return strings.NewReplacer(pairs...)
}

func expand(all map[string]Workload) *strings.Replacer {
	var pairs []string
	for machine, w := range all {
		for _, p := range w.tokens(machine) {
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
