package target

import (
	"fmt"
	"slices"
	"strings"

	"github.com/magefile/mage/parse"
)

// takesRest are the targets that what follows on the command line is for: a machine's command, a chapter, a question.
var takesRest = []string{"ssh", "learn", "explain"}

// CheckWords looks through a whole command line, what follows the program's name, before the first of its targets is run: Mage
// itself meets a misspelt one only when it is its turn, and after `destroy` that is late. magefiles is the targets' directory.
func CheckWords(magefiles string, words []string) error {
	info, err := parse.Package(magefiles, nil, false)
	if err != nil {
		return fmt.Errorf("the targets of %s: %w", magefiles, err)
	}
	for len(words) > 0 && strings.HasPrefix(words[0], "-") { // Mage's own flags
		skip := 1
		if words[0] == "-t" { // has a value
			skip = 2
		}
		words = words[min(skip, len(words)):]
	}
	for len(words) > 0 {
		name := words[0]
		i := slices.IndexFunc(info.Funcs, func(f *parse.Function) bool { return strings.EqualFold(f.TargetName(), name) })
		if i < 0 {
			return fmt.Errorf("there is no target %q; nothing was done. go tool mage -l lists the targets", name)
		}
		if slices.Contains(takesRest, strings.ToLower(name)) {
			return nil
		}
		f := info.Funcs[i]
		if words = words[1:]; len(words) < f.NumRequiredArgs() {
			return fmt.Errorf("%s wants %d more on the command line; nothing was done. go tool mage -h %[1]s says what", name, f.NumRequiredArgs()-len(words))
		}
		words = words[f.NumRequiredArgs():]
		for len(words) > 0 && strings.HasPrefix(words[0], "-") {
			flag, _, _ := strings.Cut(words[0][1:], "=")
			if !slices.ContainsFunc(f.OptionalArgs(), func(a parse.Arg) bool { return strings.EqualFold(a.Name, flag) }) {
				return fmt.Errorf("%s has no flag -%s; nothing was done. go tool mage -h %[1]s lists them", name, flag)
			}
			words = words[1:]
		}
	}
	return nil
}
