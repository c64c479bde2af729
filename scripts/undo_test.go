package scripts_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestList: what is listed is saved only by note, and what is beside it goes.
func TestList(t *testing.T) {
	m := newMachine(t)
	m.ok(`mkdir "$U/go"; echo mine >"$U/go/VERSION"`)
	before := m.listing()
	const listed = "journal_open\nlist \"$U/go\"\njournal_close\nmkdir \"$U/go.calico-cni-lab-part\"\n"
	m.ok(listed)
	m.undone("cut off", before)
	copies := m.ok(listed + `rm -r "$U/go.calico-cni-lab-part"; cp() { echo copy; command cp "$@"; }` + lab + `lab "$U/go/"`)
	if copies != "copy\n" {
		t.Errorf("not one copy: %q", copies)
	}
	m.undone("put", before)
}

// TestUndoFails: what can't be put back stays in the journal, with its copy; everything else is done, and the next undo does the rest.
func TestUndoFails(t *testing.T) {
	m := newMachine(t)
	m.ok(`mkdir "$U/etc"; echo mine >"$U/etc/cfg"; echo mine >"$U/other"`)
	before := m.listing()
	m.ok(lab + `lab "$U/etc/cfg"; lab "$U/other"; lab "$U/new"`)
	out, err := m.run(`cp() { case "$*" in *etc/cfg*) echo "no space left" >&2; return 1 ;; *) command cp "$@" ;; esac; }`, undo)
	if err == nil || !strings.Contains(out, "no space left") {
		t.Errorf("%v\n%s", err, out)
	}
	for file, want := range map[string]string{"/etc/cfg": "lab", "/other": "mine"} {
		if text, err := os.ReadFile(m.user + file); err != nil || strings.TrimSpace(string(text)) != want {
			t.Errorf("%s: %q, %v", file, text, err)
		}
	}
	if _, err := os.Lstat(m.user + "/new"); err == nil {
		t.Error("/new is there")
	}
	m.undone("again", before)
}

// TestOlderJournal: what an older version of the lab kept is never thrown away.
func TestOlderJournal(t *testing.T) {
	m := newMachine(t)
	if err := os.MkdirAll(m.home+"/undo/originals", 0o755); err != nil {
		t.Fatal(err)
	}
	for _, shell := range []string{undo, lab + `lab "$U/x"`} {
		if out, err := m.run("", shell); err == nil || !strings.Contains(out, "older version of the lab") {
			t.Errorf("%v\n%s", err, out)
		}
	}
	if _, err := os.Stat(m.home + "/undo/originals"); err != nil {
		t.Error(err)
	}
}

// TestRestore gives back one path before the lab ends.
func TestRestore(t *testing.T) {
	m := newMachine(t)
	m.ok(`echo mine >"$U/a"; echo mine >"$U/b"`)
	m.ok(lab + `lab "$U/a"; lab "$U/b"; lab "$U/c"`)
	m.ok(`journal_open; restore "$U/a" "$U/c" "$U/not noted"`)
	for file, want := range map[string]string{"/a": "mine", "/b": "lab"} {
		if text, err := os.ReadFile(m.user + file); err != nil || strings.TrimSpace(string(text)) != want {
			t.Errorf("%s: %q, %v", file, text, err)
		}
	}
	if left, err := filepath.Glob(m.home + "/journal/[0-9]*"); err != nil || len(left) != 1 {
		t.Errorf("in the journal: %v, %v", left, err)
	}
}
