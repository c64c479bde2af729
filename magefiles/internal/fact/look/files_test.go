//go:build linux

package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

func sha(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func stateOf(t *testing.T, path string) string {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return state(info.Sys().(*syscall.Stat_t))
}

func TestFiles(t *testing.T) {
	home, dir := t.TempDir(), t.TempDir()
	l := fact.Login{Home: home}
	write(t, home+"/go/bin/cnitool", "tool")
	write(t, dir+"/bin/calico", "calico")
	write(t, dir+"/etc/a.conf", "a")
	for _, err := range []error{
		os.Chmod(dir+"/bin/calico", 0o750), os.Symlink("calico", dir+"/bin/calico-ipam"), os.Symlink("/nowhere", dir+"/bin/dangling"), os.Mkdir(dir+"/bin/sub", 0o700),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	got := files(fact.Request{
		Files: []string{dir + "/etc/a.conf", dir + "/etc/missing", dir + "/none/missing", "~/.profile"},
		Dirs:  []string{dir + "/bin", dir + "/missing", "~/go/bin"},
	}, l, dir+"/cache/sums")
	want := fact.Known(map[string]fact.File{
		dir + "/etc/a.conf":      {SHA256: sha("a"), Mode: "644"},
		dir + "/bin/calico":      {SHA256: sha("calico"), Mode: "750"},
		dir + "/bin/calico-ipam": {Mode: "777", Link: "calico"},
		dir + "/bin/dangling":    {Mode: "777", Link: "/nowhere"},
		dir + "/bin/sub":         {Mode: "700", Dir: true},
		"~/go/bin/cnitool":       {SHA256: sha("tool"), Mode: "644"},
	})
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(fact.File{}, "Owner")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	owner := userName(uint32(os.Getuid())) + ":" + groupName(uint32(os.Getgid()))
	if f := got.Value[dir+"/bin/calico"]; f.Owner != owner {
		t.Errorf("owner %s, want %s", f.Owner, owner)
	}
	if names := userName(4123456789) + ":" + groupName(4123456789); names != "4123456789:4123456789" {
		t.Errorf("ids without a name: %s", names)
	}
	if got := files(fact.Request{Dirs: []string{dir + "/etc/a.conf"}}, l, dir+"/cache/sums"); got.Unknown != "" || len(got.Value) > 0 {
		t.Errorf("a file where a directory belongs: %+v", got)
	}
}

// TestSums: a file that has not changed is not read again, one that has is.
func TestSums(t *testing.T) {
	dir := t.TempDir()
	file, kept := dir+"/calico", dir+"/cache/sums"
	write(t, file, "first")
	look := func() string {
		t.Helper()
		got := files(fact.Request{Files: []string{file}}, fact.Login{}, kept)
		if got.Unknown != "" {
			t.Fatal(got.Unknown)
		}
		return got.Value[file].SHA256
	}
	if got := look(); got != sha("first") {
		t.Errorf("first: %s", got)
	}
	// Another sum in its place shows whether the file is read.
	known := sha("what was kept")
	write(t, kept, file+"\t"+stateOf(t, file)+" "+known+"\n")
	if got := look(); got != known {
		t.Errorf("it was read again: %s", got)
	}
	write(t, file, "FIRST") // as many bytes
	if got := look(); got != sha("FIRST") {
		t.Errorf("changed, with the same size: %s", got)
	}
	data, err := os.ReadFile(kept)
	if want := file + "\t" + stateOf(t, file) + " " + sha("FIRST") + "\n"; err != nil || string(data) != want {
		t.Errorf("kept %q, %v; want %q", data, err, want)
	}
}

// TestBadSums: whatever has become of what was kept, the files are looked at.
func TestBadSums(t *testing.T) {
	dir := t.TempDir()
	file := dir + "/calico"
	write(t, file, "first")
	write(t, dir+"/plain", "")
	state := stateOf(t, file)
	for name, text := range map[string]string{
		"no tab": file + " " + state + " " + sha("x"), "cut off in the state": file + "\t" + state[:8], "cut off in the sum": file + "\t" + state + " " + sha("first")[:10],
		"no sum": file + "\t" + state + " ", "not text": "\x00\xff\n\t\n\n", "a long line": strings.Repeat("x", 100_000),
	} {
		write(t, dir+"/sums", text)
		if got := files(fact.Request{Files: []string{file}}, fact.Login{}, dir+"/sums"); got.Value[file].SHA256 != sha("first") {
			t.Errorf("%s: %+v", name, got)
		}
	}
	for name, kept := range map[string]string{"a directory": dir, "below a file": dir + "/plain/sums"} {
		if got := files(fact.Request{Files: []string{file}}, fact.Login{}, kept); got.Value[file].SHA256 != sha("first") {
			t.Errorf("sums are %s: %+v", name, got)
		}
	}
	if left, err := filepath.Glob(dir + "/sums.*"); len(left) > 0 || err != nil {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestGoTree: files are counted, and counted again only where a directory is another one than it was.
func TestGoTree(t *testing.T) {
	root, kept := t.TempDir(), t.TempDir()+"/go-tree"
	write(t, root+"/VERSION", "go1.26.8\ntime 2026-01-01T00:00:00Z\n")
	write(t, root+"/bin/go", "")
	write(t, root+"/src/fmt/print.go", "")
	settle := func() {
		for _, dir := range []string{"", "/bin", "/src", "/src/fmt"} {
			if err := os.Chtimes(root+dir, time.Time{}, time.Now().Add(-time.Minute)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
		}
	}
	look := func(want int) {
		t.Helper()
		if got := goTree(root, kept); got != fact.Known(fact.Tree{Version: "go1.26.8", Files: want}) {
			t.Errorf("%+v, want %d files", got, want)
		}
	}
	look(3)
	if _, err := os.Stat(kept); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("kept, though it may still change: %v", err)
	}
	settle()
	look(3)
	data, err := os.ReadFile(kept)
	if err != nil {
		t.Fatal(err)
	}
	// Another number in its place shows whether the directory is read.
	changed := regexp.MustCompile(`(?m)(/src/fmt\t.*) 1$`).ReplaceAll(data, []byte("$1 5"))
	write(t, kept, string(changed))
	look(7)
	for _, damaged := range []string{"", "\x00\n", strings.ReplaceAll(string(data), "\t", " "), string(data) + root + "/none\t1 1\n", string(changed) + root + "\tx"} {
		write(t, kept, damaged)
		look(3)
	}
	if err := os.Remove(root + "/src/fmt/print.go"); err != nil {
		t.Fatal(err)
	}
	look(2)
	settle()
	look(2)
	if err := os.RemoveAll(root + "/src/fmt"); err != nil {
		t.Fatal(err)
	}
	look(2)
	if got := goTree(root+"/none", kept); got != fact.Known(fact.Tree{}) {
		t.Errorf("no Go: %+v", got)
	}
}

func TestAt(t *testing.T) {
	l := fact.Login{Home: "/home/me"}
	for path, want := range map[string]string{"~/go/bin": "/home/me/go/bin", "/opt/cni": "/opt/cni", "~root/x": "~root/x"} {
		if got := at(path, l); got != want {
			t.Errorf("%s: %s", path, got)
		}
	}
}

// TestOwned: the journal's entries are directories, whatever is in the paths; one that is half there has no path yet.
func TestOwned(t *testing.T) {
	journal := t.TempDir()
	want := []string{"/etc/calico/", "/etc/calico/a b\nc"}
	for i, path := range want {
		dir := fmt.Sprintf("%s/%06d", journal, i)
		if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(dir+"/path", []byte(path), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(journal+"/part/000003", 0o700); err != nil {
		t.Fatal(err)
	}
	if got := owned(journal); !slices.Equal(got.Value, want) || got.Unknown != "" {
		t.Errorf("%+v", got)
	}
	if got := owned(journal + "/none"); got.Unknown != "" || len(got.Value) > 0 {
		t.Errorf("no journal: %+v", got)
	}
}
