package nspawn

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
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
	labs := t.TempDir()
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
}
