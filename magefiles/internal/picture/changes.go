package picture

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// Change is what two looks differ in.
type Change struct {
	ID    string `json:"id"`    // of what changed, in the drawings
	Text  string `json:"text"`  // in words
	State State  `json:"state"` // how it is now
}

// Changes are what came, went or became another since an earlier picture of the same lab.
func (p *Picture) Changes(before *Picture) []Change {
	var all []Change
	add := func(id string, s State, format string, args ...any) {
		all = append(all, Change{id, fmt.Sprintf(format, args...), s})
	}
	for _, m := range p.Machines {
		if was, ok := before.Machine(m.Name); ok {
			m.changes(was, add)
		}
	}
	then, these := before.sessions(), p.sessions()
	for key, now := range these {
		if was, ok := then[key]; !ok || was.State != now.State {
			add("session-"+now.A+"-"+now.B, now.State, "BGP %s – %s: %s", now.A, now.B, now.Says)
		}
	}
	for key, was := range then {
		if _, ok := these[key]; !ok {
			add("", Unknown, "BGP %s – %s: the session is gone", was.A, was.B)
		}
	}
	if p.Hidden == "" && before.Hidden == "" {
		came, went := differ(before.names(), p.names())
		for _, n := range came {
			add("", OK, "%s came", n)
		}
		for _, n := range went {
			add("", Unknown, "%s went", n)
		}
	}
	slices.SortStableFunc(all, func(a, b Change) int { return cmp.Or(rank(a.State)-rank(b.State), cmp.Compare(a.ID, b.ID)) })
	return all
}

// rank puts what is wrong first.
func rank(s State) int { return slices.Index([]State{Bad, Unknown, Planned, OK}, s) }

func (m *Machine) changes(was *Machine, add func(string, State, string, ...any)) {
	id := "machine-" + m.Name
	switch m.State {
	case was.State:
	case OK:
		add(id, OK, "%s is well again", m.Name)
	default:
		add(id, m.State, "%s: %s", m.Name, m.Why)
	}
	if m.Routes == nil { // it can't be looked at, and has lost nothing that is known
		return
	}
	for i, part := range m.Parts {
		if i < len(was.Parts) && part.State != was.Parts[i].State {
			add(id, part.State, "%s on %s: %s", part.Name, m.Name, map[State]string{OK: "runs", Bad: "doesn't run as it should", Unknown: "can't be seen"}[part.State])
		}
	}
	if was.Routes != nil {
		came, went := differ(routes(was.Routes), routes(m.Routes))
		tell(came, func(r string) { add(id, OK, "%s: route %s came", m.Name, r) })
		tell(went, func(r string) { add(id, Unknown, "%s: route %s went", m.Name, r) })
	}
	before := map[string]Workload{}
	for _, w := range was.Workloads {
		before[w.Name] = w
	}
	for _, w := range m.Workloads {
		old, ok := before[w.Name]
		delete(before, w.Name)
		switch {
		case !ok:
			add("workload-"+w.Name, w.State, "workload %s came", w.inWords())
		case old.State != w.State || old.Address != w.Address:
			add("workload-"+w.Name, w.State, "workload %s", w.inWords())
		}
	}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		add(id, Unknown, "workload %s went", name)
	}
}

// tell tells a few of many.
func tell(all []string, one func(string)) {
	const most = 4
	for i, s := range all {
		if i == most && len(all) > most+1 {
			one(fmt.Sprintf("and %d more", len(all)-most))
			return
		}
		one(s)
	}
}

func routes(all []Route) []string {
	var texts []string
	for _, r := range all {
		texts = append(texts, r.Route)
	}
	return texts
}

// names are the pools, blocks and policies.
func (p *Picture) names() []string {
	var all []string
	for _, pool := range p.Pools {
		all = append(all, "pool "+pool.Name)
		for _, b := range pool.Blocks {
			all = append(all, fmt.Sprintf("block %s, %s,", b.CIDR, holder(b)))
		}
	}
	for _, name := range p.Policies {
		all = append(all, "policy "+name)
	}
	return all
}

func (p *Picture) sessions() map[[2]string]Session {
	all := map[[2]string]Session{}
	for _, s := range p.Sessions {
		key := [2]string{s.A, s.B}
		slices.Sort(key[:])
		all[key] = s
	}
	return all
}

// differ are the texts that only the one has, and only the other.
func differ(before, after []string) (came, went []string) {
	for _, s := range after {
		if !slices.Contains(before, s) {
			came = append(came, s)
		}
	}
	for _, s := range before {
		if !slices.Contains(after, s) {
			went = append(went, s)
		}
	}
	return came, went
}
