package scripts_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestUndoChanged: what isn't as the lab put it there stays, and what was there before comes beside it.
func TestUndoChanged(t *testing.T) {
	m := newMachine(t)
	m.ok(`echo mine >"$U/cfg"; echo mine >"$U/cfg.before-calico-cni-lab"; mkdir "$U/go"; echo mine >"$U/go/VERSION"; touch "$U/filled-1"; echo mine >"$U/late"`)
	m.ok(lab + `lab "$U/cfg"; lab "$U/go/"; lab "$U/new"; lab "$U/dir/file"; lab "$U/tree/"
note "$U/late" "$U/never"; note_filled "$U/filled-*"
echo changed >"$U/cfg"; echo changed >"$U/go/added"; echo changed >"$U/new"; echo mine >"$U/dir/mine"; touch -d 2020-01-01 "$U/tree/x"
rm "$U/late"; echo new >"$U/late"; echo mine >"$U/never"
note "$U/meantime"; echo mine >"$U/meantime"; lab "$U/meantime"`)
	want := map[string]string{
		"cfg": "changed", "cfg.before-calico-cni-lab": "mine", "cfg.before-calico-cni-lab.2": "mine", "go/added": "changed", "go/x": "lab", "go/y": "lab",
		"go.before-calico-cni-lab/VERSION": "mine", "new": "changed", "dir/mine": "mine", "tree/x": "lab", "tree/y": "lab", "late": "new", "never": "mine", "meantime": "mine", "filled-1": "",
	}
	// Of two files with the same contents one is older.
	m.ok(`touch -d 2020-01-01 "$U/cfg.before-calico-cni-lab"`)
	said := strings.ReplaceAll(m.ok(undo), m.user, "")
	const changed = " stays: it was changed since the lab put it there"
	const before = changed + "; what was there before is in "
	if diff := cmp.Diff([]string{
		"/tree" + changed, "/dir/ stays: something else is in it now", "/new" + changed,
		"/go" + before + m.user + "/go.before-calico-cni-lab", "/cfg" + before + m.user + "/cfg.before-calico-cni-lab.2",
	}, strings.Split(strings.TrimSpace(strings.ReplaceAll(said, " in /", " in "+m.user+"/")), "\n")); diff != "" {
		t.Errorf("said (-want +got):\n%s", diff)
	}
	m.has("not interrupted", want)
}

// TestUndoChangedInterrupted: what was there before comes beside what stays once, whatever is interrupted.
func TestUndoChangedInterrupted(t *testing.T) {
	m := newMachine(t)
	m.ok(`echo mine >"$U/cfg"; echo theirs >"$U/cfg.before-calico-cni-lab"`)
	m.ok(lab + `lab "$U/cfg"; echo changed >"$U/cfg"`)
	m.everywhere(undo, func(where string) {
		m.ok(undo)
		m.has(where, map[string]string{"cfg": "changed", "cfg.before-calico-cni-lab": "theirs", "cfg.before-calico-cni-lab.2": "mine"})
	})
}

// changedAgain is what a user changes after the lab has put it, before the lab puts it again.
const changedAgain = `
lab "$U/cfg"; lab "$U/go/"; lab "$U/link"; lab "$U/same"; lab "$U/gone"; lab "$U/chmod"; lab "$U/back"
echo changed >"$U/cfg"; rm -r "$U/go"; mkdir "$U/go"; echo changed >"$U/go/x"; ln -sfT mine "$U/link"; rm "$U/gone"; chmod 600 "$U/chmod"; cp -a "$U/mine" "$U/back"`

// TestPutChanged: on a machine that existed before the lab, what a user has put at the lab's paths since is kept when the lab puts its
// own there again, once, and destroy leaves it. On the lab's own machines it isn't.
func TestPutChanged(t *testing.T) {
	const again = lab + `lab "$U/cfg"; lab "$U/go/"; lab "$U/link"; lab "$U/same" other; lab "$U/gone"; lab "$U/chmod"; lab "$U/back"`
	const user = `echo mine >"$U/mine"; cp -a "$U/mine" "$U/back"`
	m := newMachine(t)
	m.ok(user)
	m.ok(lab + changedAgain)
	if out := m.ok(again); out != "" {
		t.Errorf("on a machine of the lab's own: %s", out)
	}
	m.ok(undo)
	m.has("a machine of the lab's own", map[string]string{"mine": "mine", "back": "mine"})

	m = newMachine(t)
	m.ok(user + `; echo theirs >"$U/cfg.changed-calico-cni-lab"`)
	m.ok(lab + changedAgain + "\n: >/var/lib/calico-cni-lab/mark")
	said := m.ok(again)
	for path, kept := range map[string]string{"cfg": "cfg.changed-calico-cni-lab.2", "go": "go.changed-calico-cni-lab", "link": "link.changed-calico-cni-lab"} {
		if want := m.user + "/" + path + " was changed since the lab put it there; what it was is in " + m.user + "/" + kept + "\n"; !strings.Contains(said, want) {
			t.Errorf("no %q in:\n%s", want, said)
		}
	}
	if n := strings.Count(said, "\n"); n != 3 {
		t.Errorf("it says %d things:\n%s", n, said)
	}
	if out := m.ok(again); out != "" {
		t.Errorf("nothing was changed any more: %s", out)
	}
	m.ok("rm /var/lib/calico-cni-lab/mark" + undo)
	m.has("an old machine", keptChanges)
}

// keptChanges are what is left of changedAgain, and what was there before the lab.
var keptChanges = map[string]string{
	"mine": "mine", "back": "mine", "cfg.changed-calico-cni-lab": "theirs", "cfg.changed-calico-cni-lab.2": "changed", "go.changed-calico-cni-lab/x": "changed",
	"link.changed-calico-cni-lab": "mine",
}

// TestPutChangedInterrupted: a change is kept once, whatever the lab was interrupted at.
func TestPutChangedInterrupted(t *testing.T) {
	const again = lab + `lab "$U/cfg"; lab "$U/go/"`
	m := newMachine(t)
	m.ok(lab + `lab "$U/cfg"; lab "$U/go/"; echo changed >"$U/cfg"; echo changed >"$U/go/x"; : >/var/lib/calico-cni-lab/mark`)
	m.everywhere(again, func(where string) {
		m.ok(again + "\nrm /var/lib/calico-cni-lab/mark" + undo)
		m.has(where, map[string]string{"cfg.changed-calico-cni-lab": "changed", "go.changed-calico-cni-lab/x": "changed", "go.changed-calico-cni-lab/y": "lab"})
	})
}
