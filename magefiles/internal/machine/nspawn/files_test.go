//go:build linux

package nspawn

import (
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
	"github.com/calico-cni-lab/lab/magefiles/internal/machine/box/boxtest"
	"github.com/calico-cni-lab/lab/magefiles/internal/progress"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
)

// TestFilesLayer makes a real layer. Only root can give files away.
func TestFilesLayer(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	making := 0
	run := &command.Runner{}
	ctx := progress.In(t.Context(), &progress.Tree{Began: func(string) { making++ }})
	p := New(machine.Options{Run: run, Store: &artifact.Store{Dir: t.TempDir(), Run: run}})
	tree, files := boxtest.Tree(t), boxtest.Files(t)
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
	files[1].SHA256 = boxtest.Sum("another")
	if got, err := p.filesLayer(ctx, tree, lab.RoleCalico, files); err == nil || !strings.Contains(err.Error(), "has been changed") || computer.Exists(got) {
		t.Errorf("%q, %v", got, err)
	}
}
