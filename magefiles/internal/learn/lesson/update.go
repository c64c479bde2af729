package lesson

import (
	"slices"
	"strings"
)

// Printed is what a command printed, as it is to stand in its chapter from now on.
type Printed struct {
	Command Command
	Output  []string
}

// Rewrite returns a chapter's text with other output below some of its commands.
func Rewrite(text string, renewed []Printed) string {
	lines := strings.Split(text, "\n")
	// From the end, so that the lines before keep their numbers.
	slices.SortFunc(renewed, func(a, b Printed) int { return b.Command.Line - a.Command.Line })
	for _, r := range renewed {
		begin := r.Command.Line + strings.Count(r.Command.Command, "\n")
		lines = slices.Replace(lines, begin, begin+len(r.Command.Output), r.Output...)
	}
	return strings.Join(lines, "\n")
}
