package magefile

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const source = `//go:build mage

// A lab.
package main

// Ends in nothing.

// Begin here. In this order.

// Verify proves it. And more: verify once.
func Verify(
	ctx context.Context,
	v *bool, // shows all
	forget *string, // MACHINE,...: leaves some out
	as *string, // svg|json: how
	rounds *int, time *time.Duration, word *string,
) error { return nil }

func helper() {} // looks odd

// Work on it.

// Dev is a namespace.
type Dev mg.Namespace

// CNIPlugins takes two words: dev:cniPlugins NAME VERSION; dev:cniPlugins all.
func (Dev) CNIPlugins(name, version string) {
	// Not a section.
}

// SSH logs in: ssh MACHINE [COMMAND]. All.
func SSH(machine string) error { return nil }
`

// TestRead: sections, names as Mage has them, flags with their comments.
func TestRead(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "magefile.go"), []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	// What another run of Mage has just begun to write is no magefile.
	if err := os.WriteFile(filepath.Join(dir, "mage_output_file.go"), []byte("//go:build ignore\n\npackage ma"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := []Section{
		{Title: "Begin here", Targets: []Target{{
			Name: "verify", Synopsis: "proves it.", Text: "proves it. And more: verify once.",
			Flags: []Flag{
				{Name: "v", Text: "shows all"}, {Name: "forget", Value: "MACHINE,...", Text: "leaves some out"},
				{Name: "as", Value: "svg|json", Text: "how"},
				{Name: "rounds", Value: "N"}, {Name: "time", Value: "DURATION"}, {Name: "word", Value: "TEXT"},
			},
		}}},
		{Title: "Work on it", Targets: []Target{
			{
				Name: "dev:cniPlugins", Usage: "NAME VERSION", Required: 2,
				Synopsis: "takes two words: dev:cniPlugins NAME VERSION; dev:cniPlugins all.", Text: "takes two words: dev:cniPlugins NAME VERSION; dev:cniPlugins all.",
			},
			{Name: "ssh", Usage: "MACHINE [COMMAND]", Required: 1, Synopsis: "logs in: ssh MACHINE [COMMAND].", Text: "logs in: ssh MACHINE [COMMAND]. All."},
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestReadFails(t *testing.T) {
	if got, err := Read(t.TempDir()); err == nil {
		t.Errorf("an empty directory has targets: %v", got)
	}
}
