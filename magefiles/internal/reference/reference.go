// Package reference writes those parts of docs/ that the code says: the targets, the keys of lab.yaml, and their schema for editors.
package reference

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/magefile"
)

// What stands around the part of docs/lab-yaml.md that is written here.
const (
	beginKeys = "<!-- written by dev:docs, from here -->\n"
	endKeys   = "<!-- to here -->\n"
)

// Files are the contents that the files have to have, by their paths below the project's directory.
func Files(root string) (map[string][]byte, error) {
	sections, err := magefile.Read(filepath.Join(root, "magefiles"))
	if err != nil {
		return nil, err
	}
	var schema bytes.Buffer
	e := json.NewEncoder(&schema)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(lab.Schema()); err != nil {
		return nil, err
	}
	const labYAML = "docs/lab-yaml.md"
	have, err := os.ReadFile(filepath.Join(root, labYAML))
	if err != nil {
		return nil, err
	}
	before, rest, begins := strings.Cut(string(have), beginKeys)
	_, after, ends := strings.Cut(rest, endKeys)
	if !begins || !ends {
		return nil, fmt.Errorf("%s: the lines around the table of keys are gone: %s", labYAML, beginKeys+endKeys)
	}
	return map[string][]byte{
		"docs/targets.md":      []byte(targets(sections)),
		"docs/lab.schema.json": schema.Bytes(),
		labYAML:                []byte(before + beginKeys + keys(lab.Keys()) + endKeys + after),
	}, nil
}

// Write brings the files up to date, and returns the paths of those that it changed.
func Write(root string) (changed []string, err error) {
	files, err := Files(root)
	if err != nil {
		return nil, err
	}
	for path, want := range files {
		file := filepath.Join(root, path)
		if have, err := os.ReadFile(file); err == nil && bytes.Equal(have, want) {
			continue
		}
		if err := os.WriteFile(file, want, 0o644); err != nil {
			return changed, err
		}
		changed = append(changed, path)
	}
	return changed, nil
}

func targets(sections []magefile.Section) string {
	var b strings.Builder
	b.WriteString(`# The targets

<!-- Written by dev:docs from magefiles/magefile.go: change it there. -->

` + "`go tool mage TARGET`" + ` runs one, several run in their order: ` + "`go tool mage destroy verify`" + `. Flags stand behind their target. Names are taken
in upper and lower case. Whoever has [Mage](https://magefile.org) installed types ` + "`mage TARGET`" + ` instead, which is the same.
`)
	for _, s := range sections {
		fmt.Fprintf(&b, "\n## %s\n", s.Title)
		for _, t := range s.Targets {
			fmt.Fprintf(&b, "\n### %s\n\n`%s` %s\n", t.Name, call(t), t.Text)
			if len(t.Flags) > 0 {
				b.WriteString("\n| flag | |\n|---|---|\n")
			}
			for _, f := range t.Flags {
				fmt.Fprintf(&b, "| `%s` | %s |\n", strings.ReplaceAll(f.String(), "|", `\|`), f.Text)
			}
		}
	}
	return b.String()
}

// call is a target with what it takes.
func call(t magefile.Target) string {
	return strings.TrimSuffix("go tool mage "+t.Name+" "+t.Usage, " ")
}

func keys(all []lab.Key) string {
	var b strings.Builder
	b.WriteString("\n| key | what | values | for example | without it |\n|---|---|---|---|---|\n")
	for _, k := range all {
		without := k.Without
		if k.Required {
			without = "**has to be there**"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | `%s` | %s |\n", k.Path, k.Text, k.Values(), k.Example, without)
	}
	b.WriteString("\n")
	return b.String()
}
