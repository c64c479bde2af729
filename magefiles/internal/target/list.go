package target

import (
	"fmt"
	"io"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/magefile"
)

const (
	listWidth = 80 // of a terminal that nobody has made wider
	explained = 3  // sections with a line for each target; of those behind them there are the names alone, so that the list fits a screen of 24 lines
)

// List writes the targets in the order of use.
func List(w io.Writer, magefiles string) error {
	sections, err := magefile.Read(magefiles)
	if err != nil {
		return err
	}
	width := 0
	for _, s := range sections[:min(explained, len(sections))] {
		for _, t := range s.Targets {
			width = max(width, len(t.Name))
		}
	}
	for i, s := range sections {
		if i < explained {
			fmt.Fprintf(w, "%s:\n", s.Title)
			for _, t := range s.Targets {
				fmt.Fprintf(w, "  %-*s  %s\n", width, t.Name, strings.TrimSuffix(t.Synopsis, "."))
			}
			continue
		}
		line := s.Title + ":"
		for _, name := range folded(s.Targets) {
			if len(line)+1+len(name) > listWidth {
				fmt.Fprintln(w, line)
				line = " "
			}
			line += " " + name
		}
		fmt.Fprintln(w, line)
	}
	fmt.Fprintf(w, "More of one: go tool mage -h TARGET. All, from A to Z: go tool mage -l\n")
	return nil
}

// folded are the names of targets; of a namespace there is only the first.
func folded(targets []magefile.Target) []string {
	var names []string
	spaces := map[string]bool{}
	for _, t := range targets {
		space, _, in := strings.Cut(t.Name, ":")
		if in && spaces[space] {
			continue
		}
		name := t.Name
		if in {
			spaces[space], name = true, name+" ..."
		}
		names = append(names, name)
	}
	return names
}
