package baseline

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// chain is a chain of a table, as iptables-save(8) writes it.
type chain struct {
	table, name, policy string   // policy is "-" for one that somebody made
	rules               []string // -A NAME ...
}

// felix says whether a rule or a chain is Felix' own: its chains' names begin with cali-, its rules elsewhere have a comment cali:.
func felix(text string) bool {
	return strings.Contains(text, "cali:") || strings.Contains(text, "cali-")
}

// parseFirewall returns the chains of what iptables-save printed, but for Felix' and those that are as the kernel makes them.
func parseFirewall(text string) []chain {
	var all []chain
	table := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "*"):
			table = line[1:]
		case strings.HasPrefix(line, ":"):
			f := strings.Fields(line[1:])
			all = append(all, chain{table: table, name: f[0], policy: f[1]})
		case strings.HasPrefix(line, "-A "):
			name, _, _ := strings.Cut(line[3:], " ")
			for i := range all {
				if all[i].table == table && all[i].name == name {
					all[i].rules = append(all[i].rules, line)
				}
			}
		}
	}
	return slices.DeleteFunc(all, func(c chain) bool {
		return strings.HasPrefix(c.name, "cali-") || c.policy == "ACCEPT" && len(c.others()) == 0
	})
}

// others are the rules that aren't Felix'.
func (c chain) others() []string {
	return slices.DeleteFunc(slices.Clone(c.rules), felix)
}

// foreign is the chain without what is Felix': its policy and its rules, a line each.
func (c chain) foreign() string { return strings.Join(append([]string{c.policy}, c.others()...), "\n") }

// restoreFirewall writes what brings the chains of one command to what they were, for `COMMAND-restore --noflush`: was and is are
// the values of the chains that differ, by "TABLE NAME"; "" where there was, or is, none. saved is what the command's save printed.
// Felix' rules stay as they are and where they are, at the head of a chain and at its end.
func restoreFirewall(was, is map[string]string, saved string) string {
	tables := map[string][]string{}
	for k := range was {
		table, name, _ := strings.Cut(k, " ")
		tables[table] = append(tables[table], name)
	}
	var out strings.Builder
	for _, table := range slices.Sorted(maps.Keys(tables)) {
		fmt.Fprintf(&out, "*%s\n", table)
		names := tables[table]
		slices.Sort(names)
		var made, gone []string
		for _, name := range names {
			lines := strings.Split(was[table+" "+name], "\n")
			policy := lines[0]
			switch {
			case policy == "" && builtin(is[table+" "+name]):
				fmt.Fprintf(&out, ":%s ACCEPT [0:0]\n", name)
			case policy == "":
				gone = append(gone, name)
			case policy != "-":
				fmt.Fprintf(&out, ":%s %s [0:0]\n", name, policy)
			default:
				made = append(made, name)
			}
		}
		for _, name := range made { // emptied, if it is there
			fmt.Fprintf(&out, ":%s - [0:0]\n", name)
		}
		for _, name := range names {
			out.WriteString(rewrite(name, was[table+" "+name], is[table+" "+name], headOf(saved, table, name)))
		}
		for _, name := range gone {
			fmt.Fprintf(&out, "-F %s\n", name)
		}
		for _, name := range gone {
			fmt.Fprintf(&out, "-X %s\n", name)
		}
		out.WriteString("COMMIT\n")
	}
	return out.String()
}

func builtin(value string) bool { return value != "" && !strings.HasPrefix(value, "-") }

// rewrite removes the rules of a chain that aren't Felix', and puts those in their place that were there; head is how many rules of
// Felix' are before them.
func rewrite(name, was, is string, head int) string {
	var out strings.Builder
	_, rules, _ := strings.Cut(is, "\n")
	own := strings.HasPrefix(was, "-") // it was emptied
	for rule := range strings.SplitSeq(rules, "\n") {
		if rule != "" && !own && builtin(is) {
			fmt.Fprintf(&out, "-D %s\n", strings.TrimPrefix(rule, "-A "))
		}
	}
	_, rules, _ = strings.Cut(was, "\n")
	for rule := range strings.SplitSeq(rules, "\n") {
		if rule == "" {
			continue
		}
		if own {
			out.WriteString(rule + "\n")
			continue
		}
		head++
		fmt.Fprintf(&out, "-I %s %d %s\n", name, head, strings.TrimPrefix(rule, "-A "+name+" "))
	}
	return out.String()
}

// headOf counts the rules of Felix' that a chain begins with: those that jump to its chains. The ones that it appends don't.
func headOf(saved, table, name string) int {
	n, in := 0, ""
	for line := range strings.Lines(saved) {
		if strings.HasPrefix(line, "*") {
			in = strings.TrimSpace(line[1:])
		}
		if in == table && strings.HasPrefix(line, "-A "+name+" ") && felix(line) && strings.Contains(line, "-j cali-") {
			n++
		}
	}
	return n
}
