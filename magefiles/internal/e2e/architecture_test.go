//go:build linux

package e2e

import (
	"context"
	"debug/elf"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/run"
)

// TestArchitectures: what is compiled for a daemon on another CPU is for that one, statically linked.
func TestArchitectures(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles for another CPU")
	}
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	pins, err := artifact.ReadPins(root)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := run.CacheDir()
	if err != nil {
		t.Fatal(err)
	}
	runner := &command.Runner{}
	store := &artifact.Store{Dir: dir, Run: runner}
	t.Cleanup(func() {
		if err := store.Release(); err != nil {
			t.Error(err)
		}
	})
	want, other := elf.EM_AARCH64, "arm64"
	if runtime.GOARCH == other {
		want, other = elf.EM_X86_64, "amd64"
	}
	m := &artifact.Maker{Store: store, Run: runner, Root: root, Arch: other, Debian: "bookworm", Pins: pins}
	look := func(ctx context.Context) (string, error) {
		file, _, err := m.Look(ctx)
		return filepath.Dir(file), err
	}
	type part struct {
		name  string
		make  func(context.Context) (string, error)
		least int // programs
	}
	parts := []part{{"look", look, 1}, {"cnitool and the plugins", m.CNI, 3}}
	if os.Getenv("LAB_TEST_ARCHITECTURES") == "all" { // what takes minutes: go tool mage dev:testArchitectures
		parts = append(parts, part{"etcd", m.Etcd, 2}, part{"Calico", m.Calico, 3})
	}
	for _, c := range parts {
		made, err := c.make(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		err = filepath.WalkDir(made, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || d.Name() == "SHA256SUMS" {
				return err
			}
			n++
			f, err := elf.Open(path)
			if err != nil {
				return err
			}
			defer f.Close()
			if libraries, err := f.ImportedLibraries(); f.Machine != want || err != nil || len(libraries) > 0 {
				t.Errorf("%s is for %s, not %s, and needs %v (%v)", path, f.Machine, want, libraries, err)
			}
			return nil
		})
		if err != nil || n < c.least {
			t.Errorf("%s: %d programs, %v", c.name, n, err)
		}
	}
}
