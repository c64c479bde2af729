package magefile

import (
	"fmt"
	"slices"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/nearest"
)

// takesRest are the targets that what follows on the command line is for: a machine's command, a chapter, a challenge, a question.
var takesRest = []string{"ssh", "learn", "challenge", "explain"}

// CheckWords looks through a whole command line, what follows the program's name, before the first of its targets is run: Mage
// itself meets a misspelt one only when it is its turn, and after `destroy` that is late. magefiles is the targets' directory.
func CheckWords(magefiles string, words []string) error {
	sections, err := Read(magefiles)
	if err != nil {
		return err
	}
	return Check(Targets(sections), words)
}

// Check is CheckWords for targets that are read already.
func Check(targets []Target, words []string) error {
	for len(words) > 0 && strings.HasPrefix(words[0], "-") { // Mage's own flags
		skip := 1
		if words[0] == "-t" { // has a value
			skip = 2
		}
		words = words[min(skip, len(words)):]
	}
	for len(words) > 0 {
		name := words[0]
		i := slices.IndexFunc(targets, func(t Target) bool { return strings.EqualFold(t.Name, name) })
		if i < 0 {
			return fmt.Errorf("there is no target %q; nothing was done. %s", name, instead(targets, name))
		}
		if slices.Contains(takesRest, strings.ToLower(name)) {
			return nil
		}
		t := targets[i]
		if words = words[1:]; len(words) < t.Required {
			return fmt.Errorf("%s wants %d more on the command line; nothing was done. go tool mage -h %[1]s says what", name, t.Required-len(words))
		}
		words = words[t.Required:]
		for len(words) > 0 && strings.HasPrefix(words[0], "-") {
			flag, _, _ := strings.Cut(words[0][1:], "=")
			if !slices.ContainsFunc(t.Flags, func(f Flag) bool { return strings.EqualFold(f.Name, flag) }) {
				return fmt.Errorf("%s has no flag -%s; nothing was done. go tool mage -h %[1]s lists them", name, flag)
			}
			words = words[1:]
		}
	}
	return nil
}

// instead is what somebody may have meant, by a name without its namespace or with a slip in it.
func instead(targets []Target, name string) string {
	var names []string
	for _, t := range targets {
		if _, rest, found := strings.Cut(t.Name, ":"); found && strings.EqualFold(rest, name) {
			return "Perhaps: go tool mage " + t.Name
		}
		names = append(names, t.Name)
	}
	if meant := nearest.Of(name, names); len(meant) > 0 {
		return "Perhaps: go tool mage " + meant[0]
	}
	return "go tool mage lists the targets"
}
