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

// undone wants an undo to leave what was there before, and nothing to say.
func (m *machine) undone(where, before string) {
	m.t.Helper()
	out := m.ok(undo)
	if diff := cmp.Diff(before, m.listing()); diff != "" || out != "" {
		m.t.Errorf("%s: %s(-before +after):\n%s", where, out, diff)
	}
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
