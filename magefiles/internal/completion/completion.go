// Package completion writes what a shell completes this project's commands with: targets, flags, machines and chapters.
package completion

import (
	"embed"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/template"

	"github.com/calico-cni-lab/lab/magefiles/internal/magefile"
)

//go:embed *.tmpl
var texts embed.FS

// Shells are those that there is a script for.
var Shells = []string{"bash", "fish", "zsh"}

// Offer is what there is to complete beside targets and flags.
type Offer struct {
	Machines []string            // of lab.yaml; where a lab is up, its own take their place
	Words    map[string][]string // what follows a target, whose it is to the line's end: chapters of learn
	After    map[string][]string // of those words, the ones that machines follow: packet of explain
}

// Write writes a shell's script. What it offers is chosen by one program in awk, which is a part of each, and reads the machines of the lab
// that is up; asking `go tool mage` would take a second for each key.
func Write(w io.Writer, shell string, sections []magefile.Section, o Offer) error {
	if !slices.Contains(Shells, shell) {
		return fmt.Errorf("there is no completion for the shell %q; there is one for %s", shell, strings.Join(Shells, ", "))
	}
	t, err := template.ParseFS(texts, "*.tmpl")
	if err != nil {
		return err
	}
	var data struct{ Targets, Words, Machines, After string }
	var lines, words, after []string
	for _, target := range magefile.Targets(sections) {
		lines = append(lines, strings.Join(append([]string{target.Name}, flags(target)...), " "))
		if follow := o.Words[target.Name]; follow != nil {
			words = append(words, strings.Join(append([]string{target.Name}, follow...), " "))
		}
		if follow := o.After[target.Name]; follow != nil {
			after = append(after, strings.Join(append([]string{target.Name}, follow...), " "))
		}
	}
	data.Targets, data.Words, data.After = strings.Join(lines, ";"), strings.Join(words, ";"), strings.Join(after, ";")
	data.Machines = strings.Join(o.Machines, " ")
	return t.ExecuteTemplate(w, shell+".tmpl", data)
}

// flags are a target's as they are typed; one with a few values is offered with each.
func flags(t magefile.Target) []string {
	var all []string
	for _, f := range t.Flags {
		switch {
		case f.Value == "":
			all = append(all, "-"+f.Name)
		case strings.Contains(f.Value, "|"):
			for _, v := range strings.Split(f.Value, "|") {
				all = append(all, "-"+f.Name+"="+v)
			}
		default:
			all = append(all, "-"+f.Name+"=")
		}
	}
	return all
}
