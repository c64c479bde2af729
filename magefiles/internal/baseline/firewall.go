package baseline

import (
	"cmp"
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

// restoreFirewall writes what brings the chains of one command to what they were, each a transaction of `COMMAND-restore --noflush`: was
// and is are the values of the chains that differ, by "TABLE NAME"; "" where there was, or is, none. saved is what the command's save
// printed. Rules that are extra go one by one, as some may have gone already. Felix' rules stay as they are and where they are, at the
// head of a chain and at its end.
func restoreFirewall(was, is map[string]string, saved string) []string {
	tables := map[string][]string{}
	for k := range was {
		table, name, _ := strings.Cut(k, " ")
		tables[table] = append(tables[table], name)
	}
	var all []string
	transaction := func(table, lines string) {
		if lines != "" {
			all = append(all, "*"+table+"\n"+lines+"COMMIT\n")
		}
	}
	for _, table := range slices.Sorted(maps.Keys(tables)) {
		var heads, rules, gone string
		slices.Sort(tables[table])
		for _, name := range tables[table] {
			old, now := parseValue(was[table+" "+name]), parseValue(is[table+" "+name])
			switch {
			case old.policy == "" && now.policy == "-":
				gone += "-F " + name + "\n"
				rules += "-X " + name + "\n"
				continue
			case old.policy == "-": // emptied, if it is there
				heads += ":" + name + " - [0:0]\n"
				rules = lines(old.rules) + rules
				continue
			case cmp.Or(old.policy, "ACCEPT") != now.policy:
				heads += ":" + name + " " + cmp.Or(old.policy, "ACCEPT") + " [0:0]\n"
			}
			for _, rule := range without(now.rules, old.rules) {
				transaction(table, "-D "+strings.TrimPrefix(rule, "-A ")+"\n")
			}
			if left := without(now.rules, without(now.rules, old.rules)); !slices.Equal(left, old.rules) {
				rules = reinsert(name, left, old.rules, headOf(saved, table, name)) + rules
			}
		}
		transaction(table, heads+gone+rules)
	}
	return all
}

// parseValue takes the value of a chain's item apart.
func parseValue(value string) chain {
	policy, rules, some := strings.Cut(value, "\n")
	c := chain{policy: policy}
	if some {
		c.rules = strings.Split(rules, "\n")
	}
	return c
}

// without are the rules of all without some, each as often as it is there more.
func without(all, some []string) []string {
	n := map[string]int{}
	for _, r := range some {
		n[r]++
	}
	return slices.DeleteFunc(slices.Clone(all), func(r string) bool { n[r]--; return n[r] >= 0 })
}

func lines(rules []string) string {
	if len(rules) == 0 {
		return ""
	}
	return strings.Join(rules, "\n") + "\n"
}

// reinsert removes the rules of a chain that are left, and puts all in their order behind the first head ones, which are Felix'.
func reinsert(name string, left, all []string, head int) string {
	var out strings.Builder
	for _, rule := range left {
		fmt.Fprintf(&out, "-D %s\n", strings.TrimPrefix(rule, "-A "))
	}
	for i, rule := range all {
		fmt.Fprintf(&out, "-I %s %d %s\n", name, head+i+1, strings.TrimPrefix(rule, "-A "+name+" "))
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
