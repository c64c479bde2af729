package target

import (
	"fmt"
	"io"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/magefile"
)

const (
	listWidth = 80 // of a terminal that nobody has made wider
	explained = 3  // sections with a sentence for each target; of those behind them there are the names alone, so that the list fits a screen
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
		fmt.Fprintf(w, "%s:\n", s.Title)
		if i < explained {
			for _, t := range s.Targets {
				text := wrap(strings.Fields(strings.TrimSuffix(t.Synopsis, ".")), listWidth-width-4)
				fmt.Fprintf(w, "  %-*s  %s\n", width, t.Name, strings.Join(text, "\n"+strings.Repeat(" ", width+4)))
			}
			continue
		}
		var names []string
		for _, t := range s.Targets {
			names = append(names, t.Name)
		}
		fmt.Fprintf(w, "  %s\n", strings.Join(wrap(names, listWidth-2), "\n  "))
	}
	fmt.Fprintf(w, "\nMore of one: go tool mage -h TARGET. From A to Z: go tool mage -l\n")
	return nil
}

func wrap(words []string, width int) []string {
	var lines []string
	for _, w := range words {
		if n := len(lines); n > 0 && len(lines[n-1])+1+len(w) <= width {
			lines[n-1] += " " + w
		} else {
			lines = append(lines, w)
		}
	}
	return lines
}
