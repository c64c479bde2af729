//go:build linux

package nspawn

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/computer"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/progress"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
)

func sumOf(text string) string {
	s := sha256.Sum256([]byte(text))
	return hex.EncodeToString(s[:])
}

// boxTree makes what the layer of files lies on: a home directory, and a link where others have a directory. Its directories
// belong to whoever runs the test.
func boxTree(t *testing.T) string {
	t.Helper()
	tree := t.TempDir()
	for dir, mode := range map[string]os.FileMode{"usr/local/bin": 0o755, "tmp": 0o777 | os.ModeSticky, "home/vagrant": 0o750, "usr/bin": 0o755} {
		if err := os.MkdirAll(filepath.Join(tree, dir), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(tree, dir), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("usr/bin", filepath.Join(tree, "bin")); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(filepath.Join(tree, "home/vagrant"), 1000, 1000); err != nil {
			t.Fatal(err)
		}
	}
	return tree
}

func layerFiles(t *testing.T) []remote.File {
	t.Helper()
	source := filepath.Join(t.TempDir(), "calicoctl")
	if err := os.WriteFile(source, []byte("a program"), 0o600); err != nil {
		t.Fatal(err)
	}
	return []remote.File{
		{Path: "/usr/local/bin/calicoctl", Mode: 0o755, Source: source, SHA256: sumOf("a program")},
		{Path: "/opt/cni/bin/calico-ipam", Link: "calico"},
		{Path: "/home/vagrant/go/bin/cnitool", Mode: 0o750, Owner: "vagrant:vagrant", Source: source, SHA256: sumOf("a program")},
		{Path: "/tmp/x", Mode: 0o444, Owner: "root:1000", Content: []byte("text")},
	}
}

// TestFilesLayer makes a real layer. Only root can give files away.
func TestFilesLayer(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	making := 0
	run := &command.Runner{}
	ctx := progress.In(t.Context(), &progress.Tree{Began: func(string) { making++ }})
	p := New(machine.Options{Run: run, Store: &artifact.Store{Dir: t.TempDir(), Run: run}})
	tree, files := boxTree(t), layerFiles(t)
	if layer, err := p.filesLayer(ctx, tree, lab.RoleCalico, nil); layer != "" || err != nil {
		t.Errorf("a layer without files: %q, %v", layer, err)
	}
	layer, err := p.filesLayer(ctx, tree, lab.RoleCalico, files)
	if err != nil {
		t.Fatal(err)
	}
	facts := func(paths ...string) string {
		out, err := run.Run(t.Context(), command.Cmd{Args: append([]string{"stat", "-c", "%A %u:%g %n"}, paths...), Dir: layer})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	want := `drwxr-x--- 1000:1000 home/vagrant
drwxr-xr-x 1000:1000 home/vagrant/go/bin
-rwxr-x--- 1000:1000 home/vagrant/go/bin/cnitool
lrwxrwxrwx 0:0 opt/cni/bin/calico-ipam
drwxrwxrwt 0:0 tmp
-r--r--r-- 0:1000 tmp/x
`
	if diff := cmp.Diff(want, facts("home/vagrant", "home/vagrant/go/bin", "home/vagrant/go/bin/cnitool", "opt/cni/bin/calico-ipam", "tmp", "tmp/x")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if data, err := os.ReadFile(filepath.Join(layer, "usr/local/bin/calicoctl")); string(data) != "a program" {
		t.Errorf("%q, %v", data, err)
	}

	// The look program finds programs' sums by their states.
	var sums strings.Builder
	for _, f := range []remote.File{files[2], files[0]} {
		var st unix.Stat_t
		if err := unix.Lstat(layer+f.Path, &st); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&sums, "%s\t%d %d %d.%09d %d.%09d %s\n", f.Path, st.Ino, st.Size, st.Mtim.Sec, st.Mtim.Nsec, st.Ctim.Sec, st.Ctim.Nsec, f.SHA256)
	}
	if data, err := os.ReadFile(layer + fact.SumsFile); string(data) != sums.String() {
		t.Errorf("sums are\n%s%v, want\n%s", data, err, sums.String())
	}

	// The order doesn't count; everything else does.
	p.Store = &artifact.Store{Dir: p.Store.Dir, Run: run}
	files[0], files[1] = files[1], files[0]
	if again, err := p.filesLayer(ctx, tree, lab.RoleCalico, files); again != layer || err != nil || making != 1 {
		t.Errorf("%s, %v, made %d times", again, err, making)
	}
	for _, change := range []func(*remote.File){
		func(f *remote.File) { f.Mode = 0o400 }, func(f *remote.File) { f.Owner = "" }, func(f *remote.File) { f.Content = []byte("other") },
		func(f *remote.File) { f.Path += "y" },
	} {
		other := append([]remote.File(nil), files...)
		change(&other[3])
		if changed, err := p.filesLayer(ctx, tree, lab.RoleCalico, other); changed == layer || err != nil {
			t.Errorf("%+v: %s, %v", other[3], changed, err)
		}
	}

	// A layer that can't be made leaves none behind, and says why.
	files[1].SHA256 = sumOf("another")
	if got, err := p.filesLayer(ctx, tree, lab.RoleCalico, files); err == nil || !strings.Contains(err.Error(), "has been changed") || computer.Exists(got) {
		t.Errorf("%q, %v", got, err)
	}
}
