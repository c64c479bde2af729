package scripts_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/calico-cni-lab/lab/scripts"
)

// machine is a directory that the scripts take for a machine: user is what a user has there, home is the lab's. They are on two
// file systems, if there is another.
type machine struct {
	t          *testing.T
	user, home string
	steps      string // file that counts the steps of a run
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	dir := t.TempDir()
	shm, err := os.MkdirTemp("/dev/shm", "undo") //nolint:usetesting // another file system than t.TempDir's
	if err != nil {
		shm = t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(shm) })
	m := &machine{t: t, user: dir + "/user", home: shm + "/calico-cni-lab", steps: dir + "/steps"}
	if err := os.Mkdir(m.user, 0o755); err != nil {
		t.Fatal(err)
	}
	return m
}

// ok runs shell as it must succeed, and returns what it printed.
func (m *machine) ok(shell string, args ...string) string {
	m.t.Helper()
	out, err := m.run("", shell, args...)
	if err != nil {
		m.t.Fatalf("%v\n%s", err, out)
	}
	return out
}

// run runs shell with the journal's functions; before comes first. $U is the user's directory.
func (m *machine) run(before, shell string, args ...string) (string, error) {
	text := "set -euo pipefail\nU=" + m.user + "\n" + before + "\n" + scripts.Text("note-original.sh") + scripts.Text("restore-originals.sh") + shell
	text = strings.ReplaceAll(text, "/var/lib/calico-cni-lab", m.home)
	cmd := exec.Command("bash", append([]string{"-c", text, "bash"}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // to be killed with all that it started
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

// listing is everything below the user's directory, with contents, modes, owners, times and links, and the names below the lab's.
func (m *machine) listing() string {
	m.t.Helper()
	var all strings.Builder
	walk := func(dir string, each func(path string, info fs.FileInfo)) {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err == nil {
				each(path, info)
			}
			return err
		})
		if err != nil {
			m.t.Fatal(err)
		}
	}
	walk(m.user, func(path string, info fs.FileInfo) {
		st := info.Sys().(*syscall.Stat_t)
		fmt.Fprintf(&all, "%q %s %d:%d", strings.TrimPrefix(path, m.user), info.Mode(), st.Uid, st.Gid)
		if !info.IsDir() {
			text, _ := os.ReadFile(path)
			target, _ := os.Readlink(path)
			fmt.Fprintf(&all, " %d %s %q %q", st.Nlink, info.ModTime(), text, target)
		}
		all.WriteByte('\n')
	})
	walk(filepath.Dir(m.home), func(path string, _ fs.FileInfo) { fmt.Fprintln(&all, path) })
	return all.String()
}

// keep keeps everything as it is, and returns a function that brings it back.
func (m *machine) keep() (back func()) {
	m.t.Helper()
	dir := m.t.TempDir()
	sh := func(line string) {
		if out, err := exec.Command("bash", "-c", line, "bash", m.user, m.home, dir).CombinedOutput(); err != nil {
			m.t.Fatalf("%v\n%s", err, out)
		}
	}
	sh(`cp -a "$1" "$3/user"; if [ -e "$2" ]; then cp -a "$2" "$3/home"; fi`)
	return func() {
		sh(`rm -rf "$1" "$2"*; cp -a "$3/user" "$1"; if [ -e "$3/home" ]; then cp -a "$3/home" "$2"; fi`)
	}
}

// killAt kills a run with all that it started right before the n-th command that changes something on the disk.
func (m *machine) killAt(n int) string {
	return fmt.Sprintf(`echo 0 >%[1]s
set -o functrace
trap 'case $BASH_COMMAND in mv\ * | rm\ * | cp\ * | rmdir\ * | mkdir\ * | chmod\ * | sync\ * | *\>*)
	read -r step <%[1]s
	echo $((step + 1)) >%[1]s
	if [ $step = %[2]d ]; then kill -KILL 0; fi ;;
esac' DEBUG`, m.steps, n)
}

// killIn kills a run in the middle of its n-th copy or removal.
func (m *machine) killIn(n int) string {
	return fmt.Sprintf(`echo 0 >%[1]s
turn() {
	local step
	read -r step <%[1]s
	echo $((step + 1)) >%[1]s
	[ $step = %[2]d ]
}
half() { # PATH: without one half of what is in it
	if [ -d "$1" ] && [ ! -L "$1" ]; then find "$1" -mindepth 1 ! -type d | tail -n +2 | xargs -r -d '\n' rm -f; elif [ -f "$1" ]; then truncate -s 1 "$1"; fi
}
cp() { command cp "$@"; if turn; then half "${@: -1}"; kill -KILL 0; fi; }
rm() {
	if turn; then
		for p; do if [ -d "$p" ] && [ ! -L "$p" ]; then half "$p"; fi; done
		kill -KILL 0
	fi
	command rm "$@"
}`, m.steps, n)
}

// everywhere runs shell again and again, killed one step later each time, from the state that the machine has now; after calls
// what has to hold then.
func (m *machine) everywhere(shell string, after func(where string)) {
	m.t.Helper()
	back := m.keep()
	total := 0
	for name, kill := range map[string]func(int) string{"before": m.killAt, "in": m.killIn} {
		n := 0
		for ; ; n++ {
			back()
			out, err := m.run("sync() { :; }\n"+kill(n), shell)
			if err == nil {
				break
			}
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
				m.t.Fatalf("%s step %d: %v\n%s", name, n, err, out)
			}
			after(fmt.Sprintf("killed %s step %d", name, n))
			if m.t.Failed() {
				return
			}
		}
		total += n
	}
	if total < 10 {
		m.t.Errorf("killed only %d times: nothing was tried", total)
	}
	m.t.Logf("killed %d times", total)
}

// lab is how the stages put something at a path: a file, with a text, or a directory, whose path has a slash at its end.
const lab = `
lab() {
	local path=${1%/}
	local new=$path.calico-cni-lab-part
	note "$path"
	mkdir -p "${path%/*}"
	rm -rf "$new"
	if [[ $1 == */ ]]; then mkdir "$new"; echo lab >"$new/x"; echo lab >"$new/y"; else echo "${2-lab}" >"$new"; fi
	place "$new" "$path" "$(fingerprint "$new")"
}
strange=$U/a$'\n'"'\"]\$(id)%*"$'\n'
journal_open
`

const undo = `
journal_open
restore_all
leave`

// journeys are what a user has, and what the lab puts there.
var journeys = map[string]struct{ user, lab string }{
	"files": {
		`echo mine >"$U/cfg"; chmod 640 "$U/cfg"; touch -d 2020-01-01 "$U/cfg"; if [ "$(id -u)" = 0 ]; then chown 1:2 "$U/cfg"; fi
		echo same >"$U/same"; chmod 600 "$U/same"; echo strange >"$U/a"$'\n'"'\"]\$(id)%*"$'\n'`,
		`note "$U/cfg" "$U/same"; lab "$U/cfg"; lab "$U/same" same; lab "$strange"`,
	},
	"a directory": {
		`mkdir -p "$U/go/src"; echo one >"$U/go/VERSION"; echo two >"$U/go/src/a b"; ln "$U/go/VERSION" "$U/go/src/hard"
		ln -s ../VERSION "$U/go/src/link"; touch -d 2020-01-01 "$U/go/src" "$U/go"; if [ "$(id -u)" = 0 ]; then chown -hR 1:2 "$U/go"; fi`,
		`lab "$U/go/"`,
	},
	"a link, an empty directory": {`ln -s /nowhere "$U/link"; mkdir "$U/empty"`, `lab "$U/link"; lab "$U/empty"`},
	"nothing":                    {``, `lab "$U/new dir/deep/file"; lab "$U/tree/"`},
	"what programs make": {
		`mkdir "$U/var"; echo mine >"$U/var/x"`,
		`note_filled "$U/var/lib/x-*" "$U/own"; mkdir -p "$U/var/lib/x-1" "$U/own"; echo >"$U/var/lib/x-1/f"; echo >"$U/own/f"; echo >"$U/var/lib/x-2"`,
	},
}

// each runs f for each journey, on a machine that has only what the user has.
func each(t *testing.T, f func(m *machine, put, before string)) {
	for name, j := range journeys {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			m.ok(j.user)
			f(m, lab+j.lab, m.listing())
		})
	}
}

// TestUndoInterrupted: whatever an undo was interrupted at, the next gives back what was there before.
func TestUndoInterrupted(t *testing.T) {
	each(t, func(m *machine, put, before string) {
		m.ok(put)
		if m.listing() == before {
			m.t.Fatal("the lab has put nothing")
		}
		m.everywhere(undo, func(where string) { m.undone(where, before) })
		m.undone("again", before)
	})
}

// undone wants an undo to leave what was there before, and nothing to say.
func (m *machine) undone(where, before string) {
	m.t.Helper()
	out := m.ok(undo)
	if diff := cmp.Diff(before, m.listing()); diff != "" || out != "" {
		m.t.Errorf("%s: %s(-before +after):\n%s", where, out, diff)
	}
}

// TestPutInterrupted: whatever putting was interrupted at, an undo gives back what was there before, at once or after the next run
// has finished the job.
func TestPutInterrupted(t *testing.T) {
	each(t, func(m *machine, put, before string) {
		n := 0
		m.everywhere(put, func(where string) {
			if n++; n%2 == 0 {
				m.ok(put)
			}
			m.undone(where, before)
		})
		m.undone("not interrupted", before)
	})
}

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

// has wants these files below the user's directory, and nothing of the lab's home.
func (m *machine) has(where string, want map[string]string) {
	m.t.Helper()
	got := map[string]string{}
	err := filepath.WalkDir(m.user, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		got[strings.TrimPrefix(path, m.user+"/")] = strings.TrimSpace(string(text))
		return err
	})
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		m.t.Errorf("%s: %v (-want +got):\n%s", where, err, diff)
	}
	if _, err := os.Stat(m.home); !errors.Is(err, fs.ErrNotExist) {
		m.t.Errorf("%s: the lab's home: %v", where, err)
	}
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
