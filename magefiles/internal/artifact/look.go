package artifact

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
)

// The program that looks at a machine, and everything that it is compiled from besides modules.
const (
	lookProgram = "look"
	lookPackage = "magefiles/internal/fact/look"
	factPackage = "magefiles/internal/fact"
)

// Look returns the program that looks at a machine, as a file of this computer, and its SHA-256 in hex. It is compiled
// for the machines from the project's own source.
func (m *Maker) Look(ctx context.Context) (file, sha256 string, err error) {
	inputs, err := m.lookSources()
	if err != nil {
		return "", "", err
	}
	compiler, err := m.goVersion(ctx)
	if err != nil {
		return "", "", err
	}
	flags := []string{"-trimpath", "-buildvcs=false", "-mod=readonly", "-ldflags=-s -w"}
	dir, err := m.Store.Get(ctx, Recipe{
		Name:   lookProgram,
		What:   "compiling the program that looks at the machines",
		Inputs: append(append(inputs, compiler, m.Arch), flags...),
		Make: func(ctx context.Context, out string) error {
			_, err := m.Run.Run(ctx, command.Cmd{
				Args:    append(append([]string{"go", "build"}, flags...), "-o", filepath.Join(out, lookProgram), "./"+lookPackage),
				Dir:     m.Root,
				Env:     []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=" + m.Arch, "GOFLAGS=", "GOWORK=off"},
				Timeout: buildTimeout,
				Hint:    "go build ./" + lookPackage + " in the project's directory shows the same; git status shows what was changed there",
			})
			if err != nil {
				return err
			}
			return writeSums(out)
		},
	})
	if err != nil {
		return "", "", err
	}
	sums, err := Sums(dir)
	return filepath.Join(dir, lookProgram), sums[lookProgram], err
}

// lookSources returns the names and contents of the files that the program is compiled from. The modules' contents are
// in go.sum.
func (m *Maker) lookSources() ([]string, error) {
	names := []string{"go.mod", "go.sum"}
	for _, pkg := range []string{factPackage, lookPackage} {
		entries, err := os.ReadDir(filepath.Join(m.Root, pkg)) // sorted by name
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if name := e.Name(); strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") {
				names = append(names, filepath.Join(pkg, name))
			}
		}
	}
	var inputs []string
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join(m.Root, name))
		if err != nil {
			return nil, err
		}
		inputs = append(inputs, name, string(data))
	}
	return inputs, nil
}
