// Package boxtest has a box and files for above it, for tests of whatever makes layers.
package boxtest

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
)

// Sum is a text's SHA-256, in hexadecimal digits.
func Sum(text string) string {
	s := sha256.Sum256([]byte(text))
	return hex.EncodeToString(s[:])
}

// Tree makes what the layer of files lies on: a home directory, and a link where others have a directory. Its directories
// belong to whoever runs the test.
func Tree(t *testing.T) string {
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

// Files are a program, a link, a program of the user's in his home, and a small file.
func Files(t *testing.T) []remote.File {
	t.Helper()
	source := filepath.Join(t.TempDir(), "calicoctl")
	if err := os.WriteFile(source, []byte("a program"), 0o600); err != nil {
		t.Fatal(err)
	}
	return []remote.File{
		{Path: "/usr/local/bin/calicoctl", Mode: 0o755, Source: source, SHA256: Sum("a program")},
		{Path: "/opt/cni/bin/calico-ipam", Link: "calico"},
		{Path: "/home/vagrant/go/bin/cnitool", Mode: 0o750, Owner: "vagrant:vagrant", Source: source, SHA256: Sum("a program")},
		{Path: "/tmp/x", Mode: 0o444, Owner: "root:1000", Content: []byte("text")},
	}
}
