//go:build linux

package e2e

import (
	"debug/elf"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/run"
)

// TestArchitectures: what is compiled, for this computer's CPU and for the other one, is for that one, statically linked, and to the byte
// what components/artifacts.lock says.
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
	locked, err := artifact.ReadLock(root)
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
	all := os.Getenv("LAB_TEST_ARCHITECTURES") == "all" // also what takes minutes: go tool mage dev:testArchitectures
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		m := &artifact.Maker{Store: store, Run: runner, Root: root, Arch: arch, Pins: pins, GoOnNode: strings.TrimPrefix(pins.Compiler, "go")}
		for _, c := range m.Components() {
			if c.Slow && arch != runtime.GOARCH && !all {
				continue
			}
			programs, err := m.Locked(t.Context(), []artifact.Component{c})
			if err != nil {
				t.Fatal(err)
			}
			made, err := c.Make(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for name, sum := range programs {
				if locked[name] != sum {
					t.Errorf("%s is %s, and locked %q; where it was meant to change: go tool mage dev:lock", name, sum, locked[name])
				}
				file := filepath.Join(made, path.Base(name))
				if c.Name == "go" || c.Name == "node" { // no programs, but tars
					continue
				}
				f, err := elf.Open(file)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				if libraries, err := f.ImportedLibraries(); f.Machine != machine || err != nil || len(libraries) > 0 {
					t.Errorf("%s is for %s, not %s, and needs %v (%v)", file, f.Machine, machine, libraries, err)
				}
			}
			for name := range locked {
				if _, made := programs[name]; !made && strings.HasPrefix(name, arch+"/"+c.Name+"/") {
					t.Errorf("%s is locked, and isn't made; go tool mage dev:lock", name)
				}
			}
		}
	}
}
