package nspawn

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/computer"
	"github.com/calico-cni-lab/lab/scripts"
)

// TestHolder: the file of today and of an older version, and whose lab is mine.
func TestHolder(t *testing.T) {
	p, me := provider("lab"), os.Getuid()
	for text, mine := range map[string]bool{
		fmt.Sprintf("/project/.lab\n%d\n/ 1234\n", me):   true,
		fmt.Sprintf("/project/.lab\n%d\n/ 1234\n", me+1): me == 0, // root may in a user's checkout
		"/project/.lab": true,
		fmt.Sprintf("/elsewhere/.lab\n%d\n/ 1234\n", me): false,
		"/elsewhere/.lab": false,
		fmt.Sprintf("/elsewhere/.lab\n%d\n/a b 12\n", me+1): false,
	} {
		h, err := parseHolder(text)
		if err != nil || p.mine(h) != mine {
			t.Errorf("%q: %+v, mine: %t, %v", text, h, p.mine(h), err)
		}
	}
	for _, text := range []string{"", "relative/.lab\n0\n", "/project/.lab\nroot\n", "\n0\n"} {
		if h, err := parseHolder(text); err == nil {
			t.Errorf("%q: %+v", text, h)
		}
	}
}

// TestGone: only what root's look finds to be gone, on the mount that it was on, is certainly gone.
func TestGone(t *testing.T) {
	dir := t.TempDir()
	p := provider("lab")
	p.Run, p.StateDir = &command.Runner{}, dir
	here, err := p.me(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(dir+"/unmounted/x", dir+"/link"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ path, mount, want string }{
		{dir, here.mount, "there"},
		{dir + "/project/.lab", here.mount, "gone"},
		{dir + "/link/.lab", here.mount, "gone"},
		{dir + "/project/.lab", "/home " + strings.Fields(here.mount)[1], "unsure: " + dir + " is not on the file system"},
		{dir + "/project/.lab", strings.Fields(here.mount)[0] + " 0", "unsure: "},
		{dir + "/project/.lab", "", "unsure: "},
		{dir + "/file/.lab", here.mount, "unknown: "},
		{filepath.Join(dir, strings.Repeat("x", 300), ".lab"), here.mount, "unknown: "},
	} {
		out, err := exec.CommandContext(t.Context(), "bash", "-c", scripts.Text("owner-gone.sh"), "owner-gone.sh", c.path, c.mount).CombinedOutput()
		if err != nil || !strings.HasPrefix(string(out), c.want) {
			t.Errorf("%s on %q: %s, %v, not %s", c.path, c.mount, out, err, c.want)
		}
	}
}

// TestClaim: of two labs that take a name at once, one has it; a directory that is somebody's, or that has other things in it, stays.
func TestClaim(t *testing.T) {
	labs := openDir(t)
	claim := func(name, owner, before string) error {
		return exec.CommandContext(t.Context(), "bash", "-c", scripts.Text("nspawn-claim.sh"), "nspawn-claim.sh", filepath.Join(labs, name), owner, before).Run()
	}
	failed := make(chan error, 8)
	for i := range cap(failed) {
		go func() { failed <- claim("lab", fmt.Sprintf("/%d/.lab\n0\n/ 1", i), "") }()
	}
	won := 0
	for range cap(failed) {
		if <-failed == nil {
			won++
		}
	}
	if won != 1 {
		t.Errorf("%d labs have the name", won)
	}
	data, err := os.ReadFile(filepath.Join(labs, "lab", "owner"))
	if err != nil {
		t.Fatal(err)
	}
	now := strings.TrimSpace(string(data))
	if err := claim("lab", now, "whatever it was"); err != nil {
		t.Errorf("its own: %v", err)
	}
	if err := claim("lab", "/new/.lab\n0\n/ 1", "/other/.lab\n0\n/ 1"); err == nil {
		t.Error("another one was looked at than the one that is taken")
	}
	if err := claim("lab", "/new/.lab\n0\n/ 1", now); err != nil {
		t.Errorf("a leftover: %v", err)
	}
	if err := os.MkdirAll(filepath.Join(labs, "mine", "precious"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := claim("mine", "/new/.lab\n0\n/ 1", ""); err == nil {
		t.Error("a directory without an owner was taken")
	}
	// Another user can read whose a lab is, and lock nothing.
	if os.Getuid() == 0 {
		if err := nobody(t, "cat", filepath.Join(labs, "lab", "owner")); err != nil {
			t.Errorf("another user reads the owner: %v", err)
		}
		if nobody(t, "flock", "--nonblock", labs, "true") == nil {
			t.Error("another user can lock the labs' directory")
		}
	}
}

// TestCacheUsers: a lab counts however many machines it has, and what can't be read is an error.
func TestCacheUsers(t *testing.T) {
	labs := t.TempDir()
	const cache = "/var/lib/calico-cni-lab/cache/0"
	files := map[string]string{
		labs + "/new/owner": "/new/.lab\n", labs + "/other/owner": "/other/.lab\n", labs + "/other/calico1/layers": cache + "1/box-0123456789abcdef/root\n",
		labs + "/big/owner": "/big/.lab\n0\n/ 1\n",
	}
	for i := range 60 {
		files[fmt.Sprintf("%s/big/calico%d/layers", labs, i)] = strings.Repeat(cache+"/files-0123456789abcdef/root:", 20) + cache + "/box-0123456789abcdef/root\n"
	}
	writeAll(t, files)
	look := func() (string, error) {
		out, err := exec.CommandContext(t.Context(), "bash", "-c", scripts.Text("nspawn-cache-users.sh"), "nspawn-cache-users.sh", labs, cache).Output()
		return string(out), err
	}
	for range 20 { // it was a race
		if out, err := look(); err != nil || out != "/big/.lab\n" {
			t.Fatalf("%q, %v", out, err)
		}
	}
	if err := os.Symlink("gone", labs+"/other/calico1/part"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(labs+"/other/calico1/part", labs+"/other/calico1/layers"); err != nil {
		t.Fatal(err)
	}
	if out, err := look(); err == nil {
		t.Errorf("a file is gone: %q", out)
	}
}

// TestRemove: the file that says whose a lab is goes last, and who holds what is to be removed is named.
func TestRemove(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "labs", "lab")
	files := map[string]string{dir + "/owner": "/project/.lab\n", dir + "/zz.lock": ""}
	for i := range 20 { // whatever order the file system has
		files[fmt.Sprintf("%s/calico%d/layers", dir, i)] = "x"
	}
	writeAll(t, files)
	bin := t.TempDir()
	rm := func(script string) {
		t.Helper()
		if err := os.WriteFile(bin+"/rm", []byte("#!/bin/bash\n"+script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	name := fmt.Sprintf("test-remove-%d", os.Getpid())
	remove := func() (string, error) {
		cmd := exec.CommandContext(t.Context(), "bash", "-c", scripts.Text("nspawn-remove.sh"), "nspawn-remove.sh", dir, name, bridge, name, "0.2")
		cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	holder := exec.CommandContext(t.Context(), "flock", dir+"/zz.lock", "sh", "-c", "echo; read x")
	in, err1 := holder.StdinPipe()
	held, err2 := holder.StdoutPipe()
	if err := errors.Join(err1, err2, holder.Start()); err != nil {
		t.Fatal(err)
	}
	if _, err := held.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("zz.lock is still held after 0.2 seconds, by the process %d (flock ", holder.Process.Pid)
	if out, err := remove(); err == nil || !strings.Contains(out, want) {
		t.Errorf("while it is held: %v, %s, not %s", err, out, want)
	}
	_ = in.Close()
	_ = holder.Wait()
	// Killed while it removes: as if after each of the files.
	rm(`kill -KILL $PPID; for last; do :; done; [ "$last" != "` + dir + `" ] || last=$last/owner; exec /bin/rm -rf -- "$last"`)
	for tries := 1; ; tries++ {
		_, err := remove()
		entries, rerr := os.ReadDir(dir)
		if rerr != nil || tries > 30 {
			t.Fatalf("%v, %d times", rerr, tries)
		}
		if len(entries) == 0 {
			break
		}
		if err == nil || !computer.Exists(dir+"/owner") {
			t.Fatalf("killed %d times: %v; left without an owner: %v", tries, err, entries)
		}
	}
	if err := os.Remove(bin + "/rm"); err != nil {
		t.Fatal(err)
	}
	if out, err := remove(); err != nil || computer.Exists(dir) {
		t.Errorf("at last: %v, %s", err, out)
	}
}

// TestComeAndGo: labs that are made and removed at once, each of which may be the last, don't get in each other's way.
func TestComeAndGo(t *testing.T) {
	labs := filepath.Join(t.TempDir(), "labs")
	script := func(name string, args ...string) error {
		out, err := exec.CommandContext(t.Context(), "bash", append([]string{"-c", scripts.Text(name), name}, args...)...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w: %s", name, err, out)
		}
		return nil
	}
	done := make(chan error)
	for i := range 4 {
		go func() {
			var err error
			name := fmt.Sprintf("test-come-%d-%d", os.Getpid(), i)
			for n := 0; n < 20 && err == nil; n++ {
				lab := filepath.Join(labs, name)
				if err = script("nspawn-claim.sh", lab, name, ""); err == nil {
					err = script("nspawn-remove.sh", lab, name, bridge, name, "1")
				}
			}
			done <- err
		}()
	}
	for range 4 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if computer.Exists(labs) {
		t.Error("the directory of all labs is left")
	}
}
