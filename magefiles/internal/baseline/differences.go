package baseline

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/spec"
)

// How is in which way an item differs.
type How string

// The ways.
const (
	Extra   How = "extra"   // it wasn't there
	Missing How = "missing" // it was there
	Changed How = "changed"
	Unseen  How = "unseen" // it can't be looked at; Is.Value says why
)

// Difference is an item that isn't as it was.
type Difference struct {
	Key
	How     How
	Was, Is Item
	About   string // what differs, for people: "container mine"
	Lost    string // why nothing can put it back; "" where something can
}

// Differences are what isn't as the baseline says, by the facts of a deep look: sorted by machine and kind. What changes by itself
// is none: counters, times, revisions, and what a workload has anew whenever it is plumbed, its container's ID and its MAC; its
// address is.
func Differences(b *Baseline, f *fact.Lab) []Difference {
	s := b.state(f)
	names := expand(b.Workloads)
	var all []Difference
	add := func(d Difference) {
		d.About = names.Replace(about(d))
		d.Lost = lost(d)
		all = append(all, d)
	}
	was := map[Key]Item{}
	for _, i := range b.Items {
		was[i.Key] = i
		is, ok := s.items[i.Key]
		switch {
		case s.blind(i.Key):
		case !ok && !follows(i.Key):
			add(Difference{Key: i.Key, How: Missing, Was: i})
		case ok && is.Value != i.Value:
			add(Difference{Key: i.Key, How: Changed, Was: i, Is: is})
		}
	}
	for _, i := range s.list() {
		if _, ok := was[i.Key]; !ok && !follows(i.Key) && !b.users(i) {
			add(Difference{Key: i.Key, How: Extra, Is: i})
		}
	}
	for _, k := range slices.SortedFunc(maps.Keys(s.unknown), func(a, b Key) int { return cmp.Compare(a.Machine+string(a.Kind), b.Machine+string(b.Kind)) }) {
		add(Difference{Key: k, How: Unseen, Is: Item{k, s.unknown[k], ""}})
	}
	return all
}

// blind says whether an item's kind couldn't be looked at.
func (s *state) blind(k Key) bool {
	_, unknown := s.unknown[Key{k.Kind, k.Machine, ""}]
	_, blind := s.unknown[Key{Container, k.Machine, ""}]
	return unknown || s.off[k.Machine] || blind && (k.Kind == Sandbox || k.Kind == Service || k.Kind == Rendered)
}

// follows says whether an item is there or not with another one: an interface's settings with the interface.
func follows(k Key) bool {
	return k.Kind == Qdisc || k.Kind == Sandbox || k.Kind == Service || k.Kind == Rendered ||
		k.Kind == Sysctl && strings.HasPrefix(k.Name, "net/ipv4/conf/")
}

// users says whether an item that wasn't there is none of the lab's business: what is in the login user's own directory, and any
// file at all on machines that are somebody's, but for what libcni remembers of the lab's network.
func (b *Baseline) users(i Item) bool {
	return i.Kind == Path && (strings.HasPrefix(i.Name, "~/") || b.Shared && i.Raw == "")
}

// lost says why nothing can put an item back.
func lost(d Difference) string {
	if d.How != Missing && d.How != Changed {
		return ""
	}
	switch {
	case d.Kind == Container && d.Was.Raw == "" && !sameContainer(d.Was, d.Is):
		return "only who made that container can make it again"
	case d.Kind == Network && d.How == Missing:
		return "only who made that network can make it again"
	case d.Kind == Link && d.How == Missing && !strings.HasPrefix(d.Name, "{") && d.Name != dockerBridge:
		return "only who made that interface can make it again"
	}
	return ""
}

// dockerBridge is the interface that Docker makes when it starts.
const dockerBridge = "docker0"

// sameContainer compares the IDs.
func sameContainer(a, b Item) bool {
	_, ida, _ := strings.Cut(a.Value, " ")
	_, idb, _ := strings.Cut(b.Value, " ")
	return ida == idb
}

func about(d Difference) string {
	k := d.Key
	if d.How == Unseen {
		return map[bool]string{true: "the datastore", false: "what there is of kind " + string(k.Kind)}[k.Kind == Entry]
	}
	switch k.Kind {
	case Route:
		return "route " + cmp.Or(d.Was.Value, d.Is.Value)
	case Entry:
		return entryName(k.Name)
	case Chain:
		f := append(strings.Fields(k.Name), "", "", "")
		return fmt.Sprintf("chain %s of %s, table %s", f[2], f[0], f[1])
	case Path:
		return k.Name
	case Sysctl:
		return strings.ReplaceAll(k.Name, "/", ".")
	case Service:
		return "calico-node's " + k.Name
	case Rendered:
		return "BIRD's " + k.Name
	}
	return strings.TrimSpace(string(k.Kind) + " " + k.Name)
}

// few is how many things of a kind are told one by one.
const few = 5

// width is how long a line of several things may be.
const width = 78

// group names what a difference is one of, as several.
func (d Difference) group() string {
	switch kind, _, ok := strings.Cut(d.About, "/"); {
	case d.Kind == Entry && ok && !strings.Contains(kind, " "):
		return kind
	case d.Kind == Entry:
		return "entries of IPAM's"
	}
	return strings.Replace(string(d.Kind)+"s", "ys", "ies", 1)
}

// keeps says whether undoing a difference keeps what was taken away: files that somebody wrote, not what libcni and the plugins remember.
func (d Difference) keeps() bool {
	return d.Kind == Path && d.How == Extra && !strings.HasPrefix(d.Name, spec.CNIState+"/")
}

// Lines tell of differences that were undone, a line each; many of a kind on a machine are one. What is kept is said with its path.
func Lines(all []Difference) []string {
	type group struct{ where, verb, kind, kept string }
	groups := map[group][]string{}
	var order []group
	for _, d := range causes(all) {
		g := group{where: cmp.Or(d.Machine, "datastore"), verb: "put back", kind: d.group()}
		if d.How == Extra {
			g.verb = "took away"
		}
		if d.How == Unseen {
			continue
		}
		if d.keeps() {
			g.kept = kept
		}
		if len(groups[g]) == 0 {
			order = append(order, g)
		}
		groups[g] = append(groups[g], d.About)
	}
	var lines []string
	for _, g := range order {
		if names := groups[g]; len(names) > few {
			line := fmt.Sprintf("%-9s %s %d %s", g.where, g.verb, len(names), g.kind)
			short := strings.NewReplacer(g.kind+"/", "", strings.TrimSuffix(g.kind, "s")+" ", "")
			if more := fmt.Sprintf("%s: %s ... %s", line, short.Replace(names[0]), short.Replace(names[len(names)-1])); len(more) < width {
				line = more
			}
			if g.kept != "" {
				line += "; they are in " + g.kept
			}
			lines = append(lines, line)
			continue
		}
		for _, name := range groups[g] {
			line := fmt.Sprintf("%-9s %s %s", g.where, g.verb, name)
			if g.kept != "" {
				line += "; it is kept as " + path.Join(g.kept, path.Base(name))
			}
			lines = append(lines, line)
		}
	}
	return lines
}

// causes are the differences without those that come of another one: what is on an interface that comes or goes, what the plugins and
// IPAM remember of it, what Docker makes for a network, an interface's forwarding.
func causes(all []Difference) []Difference {
	has, made := map[Key]bool{}, map[Key]bool{}
	for _, d := range all {
		has[d.Key] = d.How != Changed || d.Kind == Sysctl
		made[Key{d.Kind, d.Machine, ""}] = made[Key{d.Kind, d.Machine, ""}] || d.How == Extra
	}
	return slices.DeleteFunc(slices.Clone(all), func(d Difference) bool {
		text := d.Name + " " + d.Was.Value + d.Is.Value
		switch d.Kind {
		case Route, Neighbour:
			_, dev, ok := strings.Cut(text, " dev ")
			dev, _, _ = strings.Cut(dev+" ", " ")
			return ok && has[Key{Link, d.Machine, dev}] || strings.HasPrefix(dev, "{")
		case Path:
			return strings.HasPrefix(d.Name, spec.CNIState+"/results/")
		case Sysctl:
			return strings.HasSuffix(d.Name, "/forwarding") && has[Key{Sysctl, d.Machine, "net/ipv4/ip_forward"}]
		case Entry:
			return strings.HasPrefix(d.Name, fact.IPAMPrefix+"handle/")
		}
		bridges := made[Key{Network, d.Machine, ""}]
		plumbed := made[Key{Container, d.Machine, ""}] || made[Key{Namespace, d.Machine, ""}]
		return d.Kind == Chain && bridges && strings.Contains(text, " br-") ||
			d.Kind == Link && (strings.HasPrefix(d.Name, "{") || bridges && strings.HasPrefix(d.Name, "br-") || plumbed && strings.HasPrefix(d.Name, "cali"))
	})
}

// Condition is that a lab is as its baseline says: that undo restored it exactly.
func Condition(b *Baseline) check.Condition {
	return check.Condition{
		ID: "baseline", Expected: "the lab is as it was when its baseline was recorded", Mend: "takes away and puts back what differs",
		Try: "go tool mage status", Left: "put it back with: go tool mage reset",
		Test: func(f *fact.Lab) check.Finding {
			var differ, unseen []string
			for _, d := range Differences(b, f) {
				if d.How == Unseen {
					unseen = append(unseen, fmt.Sprintf("%s (%s)", d.About, d.Is.Value))
				} else {
					differ = append(differ, strings.TrimSpace(d.Machine+" "+string(d.How)+" "+d.About))
				}
			}
			switch {
			case len(differ) > 0:
				return check.Not("%s", check.Names(differ))
			case len(unseen) > 0:
				return check.CantSee("%s", check.Names(unseen))
			}
			return check.OK("all %d things are as they were", len(b.Items))
		},
	}
}

// readers are the kinds of resources that nobody but a reader makes.
var readers = []string{
	"globalnetworkpolicies/", "networkpolicies/", "staged", "bgppeers/", "bgpfilters/", "bgpconfigurations/", "hostendpoints/", "globalnetworksets/",
	"networksets/", "ipreservations/", "ippools/", "workloadendpoints/",
}

// Beyond names what a baseline has that nobody's lab.yaml asks for and that an older one, which may be nil, hasn't: policies, peers,
// other pools, containers, network namespaces. asked are lab.yaml's resources, by kind and name.
func (b *Baseline) Beyond(older *Baseline, asked ...string) []string {
	var all []string
	for _, i := range b.Items {
		name, resource := strings.CutPrefix(i.Name, fact.ResourcePrefix)
		beyond := i.Kind == Namespace || i.Kind == Container && i.Raw == "" ||
			i.Kind == Entry && resource && hasPrefix(name, readers...) && !slices.Contains(asked, name) && !strings.Contains(name, "{Container ")
		if beyond && (older == nil || !slices.ContainsFunc(older.Items, func(o Item) bool { return o.Key == i.Key })) {
			all = append(all, about(Difference{Key: i.Key, Is: i}))
		}
	}
	return all
}
