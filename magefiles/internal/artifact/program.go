package artifact

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
)

// program is one that is compiled from the project's own source.
type program struct {
	name     string
	what     string   // compiles it, for the reader of a report
	packages []string // its own first, then all others of the project that it is compiled from
}

const (
	lookPackage   = "magefiles/internal/fact/look"
	factPackage   = "magefiles/internal/fact"
	rootfsPackage = "magefiles/internal/machine/nspawn/rootfs"
)

// Look returns the program that looks at a machine, as a file of this computer, and its SHA-256 in hex.
func (m *Maker) Look(ctx context.Context) (file, sha256 string, err error) {
	return m.program(ctx, program{"look", "compiling the program that looks at the machines", []string{lookPackage, factPackage}})
}

// Rootfs returns the program that mounts the root file system of an nspawn container.
func (m *Maker) Rootfs(ctx context.Context) (file string, err error) {
	file, _, err = m.program(ctx, program{"rootfs", "compiling the program that mounts the machines' files", []string{rootfsPackage}})
	return file, err
}

func (m *Maker) program(ctx context.Context, p program) (file, sha256 string, err error) {
	inputs, err := m.sources(p.packages)
	if err != nil {
		return "", "", err
	}
	flags := []string{"-trimpath", "-buildvcs=false", "-mod=readonly", "-ldflags=-s -w"}
	dir, err := m.Store.Get(ctx, Recipe{
		Name:   p.name,
		What:   p.what,
		Inputs: append(append(inputs, m.goEnv()...), flags...),
		Make: func(ctx context.Context, out string) error {
			env, err := m.buildEnv(ctx)
			if err != nil {
				return err
			}
			_, err = m.Run.Run(ctx, command.Cmd{
				Args:    append(append([]string{"go", "build"}, flags...), "-o", filepath.Join(out, p.name), "./"+p.packages[0]),
				Dir:     m.Root,
				Env:     env,
				Timeout: buildTimeout,
				Hint:    "go build ./" + p.packages[0] + " in the project's directory shows the same; git status shows what was changed there",
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
	return filepath.Join(dir, p.name), sums[p.name], err
}

// sources returns the names and contents of the files that a program is compiled from. The modules' contents are in go.sum.
func (m *Maker) sources(packages []string) ([]string, error) {
	names := []string{"go.mod", "go.sum"}
	for _, pkg := range packages {
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
