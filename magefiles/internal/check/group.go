package check

import (
	"fmt"
	"strings"
)

// Group is results that say the same of several machines.
type Group struct {
	Result            // the first
	Machines []string // all
}

// Grouped puts results together that say the same of different machines, in the order of the first of each.
func Grouped(results []Result) []Group {
	var all []Group
	at := map[string]int{}
	for _, r := range results {
		// What differs only in the machine's name is the same.
		key := strings.Join([]string{r.Stage, string(r.State), blank(r.Expected, r.Machine), blank(r.Found, r.Machine)}, "\x00")
		if i, ok := at[key]; ok && r.Machine != "" {
			all[i].Machines = append(all[i].Machines, r.Machine)
			continue
		}
		at[key] = len(all)
		g := Group{Result: r}
		if r.Machine != "" {
			g.Machines = []string{r.Machine}
		}
		all = append(all, g)
	}
	return all
}

func blank(s, machine string) string {
	if machine == "" {
		return s
	}
	return strings.ReplaceAll(s, machine, "\x01")
}

// Names writes a list of names so that it stays short: "calico1, calico2" or "calico1 ... calico20 (20)".
func Names(names []string) string {
	const most = 3
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s ... %s (%d)", names[0], names[len(names)-1], len(names))
}

// Summary writes what results lack in one line: "calico1, calico2: there is no container workload; ..."
func Summary(results []Result) string {
	var parts []string
	groups := Grouped(results)
	for i, g := range groups {
		if i == 3 && len(groups) > 4 {
			parts = append(parts, fmt.Sprintf("and %d more", len(groups)-i))
			break
		}
		text, _, _ := strings.Cut(g.Found, "\n")
		if len(g.Machines) > 0 {
			text = Names(g.Machines) + ": " + text
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, "; ")
}
