package check

import (
	"fmt"
	"iter"
	"slices"
	"strings"
)

// About is what is expected, of each of several machines where there are several.
func (g Group) About() string {
	if len(g.Machines) < 2 {
		return g.Expected
	}
	return strings.ReplaceAll(g.Expected, g.Machine, "each")
}

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

// blank takes a machine's name out of a text, but not out of a longer word: calico1 isn't in calico10.
func blank(s, machine string) string {
	if machine == "" {
		return s
	}
	var b strings.Builder
	for word := range words(s) {
		if word == machine {
			word = "\x01"
		}
		b.WriteString(word)
	}
	return b.String()
}

// words cuts a text into what may be names, and what is between them.
func words(s string) iter.Seq[string] {
	inName := func(c byte) bool {
		return c == '-' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
	}
	return func(yield func(string) bool) {
		for start, i := 0, 1; i <= len(s); i++ {
			if i == len(s) || inName(s[i]) != inName(s[start]) {
				if !yield(s[start:i]) {
					return
				}
				start = i
			}
		}
	}
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
	// What is unknown is so because of something that is broken, if anything is.
	if known := slices.DeleteFunc(slices.Clone(results), func(r Result) bool { return r.State == Unknown }); len(known) > 0 {
		results = known
	}
	var parts []string
	groups := Grouped(results)
	for i, g := range groups {
		if i == 2 && len(groups) > 3 {
			parts = append(parts, fmt.Sprintf("and %d more", len(groups)-i))
			break
		}
		text, _, _ := strings.Cut(g.Found, "\n")
		if len(g.Machines) > 0 {
			text = Names(g.Machines) + ": " + text
		}
		if !slices.Contains(parts, text) {
			parts = append(parts, text)
		}
	}
	return strings.Join(parts, "; ")
}
