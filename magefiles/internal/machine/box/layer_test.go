package box

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/calico-cni-lab/lab/magefiles/internal/machine/box/boxtest"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
)

func TestWriteLayer(t *testing.T) {
	tree, me, home := boxtest.Tree(t), os.Getuid(), os.Getuid()
	if me == 0 {
		home = 1000
	}
	var b bytes.Buffer
	if err := WriteLayer(&b, tree, boxtest.Files(t)); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for tr := tar.NewReader(&b); ; {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		if _, twice := got[hdr.Name]; twice {
			t.Errorf("%s is there twice", hdr.Name)
		}
		got[hdr.Name] = fmt.Sprintf("%s %d:%d %s%s%s%s", hdr.FileInfo().Mode(), hdr.Uid, hdr.Gid, data, hdr.Linkname, hdr.Uname, hdr.Gname)
	}
	root, mine, homes := "0:0 ", fmt.Sprintf("%d:%d ", me, os.Getgid()), fmt.Sprintf("%d:%d ", home, home)
	if me != 0 {
		homes = mine
	}
	want := map[string]string{
		"usr/": "drwxr-xr-x " + mine, "usr/local/": "drwxr-xr-x " + mine, "usr/local/bin/": "drwxr-xr-x " + mine,
		"usr/local/bin/calicoctl": "-rwxr-xr-x " + root + "a program",
		"opt/":                    "drwxr-xr-x " + root, "opt/cni/": "drwxr-xr-x " + root, "opt/cni/bin/": "drwxr-xr-x " + root,
		"opt/cni/bin/calico-ipam": "Lrwxrwxrwx " + root + "calico",
		"home/":                   "drwxr-xr-x " + mine, "home/vagrant/": "drwxr-x--- " + homes, "home/vagrant/go/": "drwxr-xr-x " + homes,
		"home/vagrant/go/bin/": "drwxr-xr-x " + homes, "home/vagrant/go/bin/cnitool": "-rwxr-x--- 1000:1000 a program",
		"tmp/": "dtrwxrwxrwx " + mine, "tmp/x": "-r--r--r-- 0:1000 text",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWriteLayerRefuses(t *testing.T) {
	tree := boxtest.Tree(t)
	good := boxtest.Files(t)[0]
	for _, c := range []struct {
		name   string
		change func(*remote.File)
		want   string
	}{
		{"a source that was changed", func(f *remote.File) { f.SHA256 = boxtest.Sum("another") }, "has been changed"},
		{"no source", func(f *remote.File) { f.Source += ".gone" }, "no such file"},
		{"a directory that is a link in the box", func(f *remote.File) { f.Path = "/bin/calicoctl" }, "name the file by its real path"},
		{"a relative path", func(f *remote.File) { f.Path = "bin/calicoctl" }, "not absolute"},
		{"a path that leads up", func(f *remote.File) { f.Path = "/usr/../../x" }, "not absolute"},
		{"an owner nobody knows", func(f *remote.File) { f.Owner = "nobody:root" }, `owner "nobody"`},
		{"half an owner", func(f *remote.File) { f.Owner = "root" }, "not user:group"},
	} {
		f := good
		c.change(&f)
		if err := WriteLayer(io.Discard, tree, []remote.File{f}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: no %q in %v", c.name, c.want, err)
		}
	}
}
