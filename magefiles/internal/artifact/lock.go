package artifact

import (
	"context"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/calico-cni-lab/lab/magefiles/internal/keep"
)

// LockFile has, below the project's root, the SHA-256 of every program that is compiled, and of the toolchain that is fetched. Whoever
// compiles the same gets the same, on whatever computer.
const LockFile = "components/artifacts.lock"

const lockHead = "# SHA-256 of what is the same wherever it is made, by ARCHITECTURE/COMPONENT/FILE. Written by: go tool mage dev:lock\n"

// ReadLock returns the SHA-256, in hex, by ARCHITECTURE/COMPONENT/FILE.
func ReadLock(root string) (map[string]string, error) {
	data, err := os.ReadFile(filepath.Join(root, LockFile))
	return parseSums(string(data)), err
}

// WriteLock writes it.
func WriteLock(root string, sums map[string]string) error {
	return keep.Write(filepath.Join(root, LockFile), []byte(lockHead+sumsText(sums)), 0o644)
}

// Component is something for the machines that is the same wherever it is made, as a directory of files.
type Component struct {
	Name string
	Make func(context.Context) (dir string, err error)
	Slow bool // takes minutes where it isn't cached
}

// Components are all of them.
func (m *Maker) Components() []Component {
	own := func(p func(context.Context) (string, string, error)) func(context.Context) (string, error) {
		return func(ctx context.Context) (string, error) {
			file, _, err := p(ctx)
			return filepath.Dir(file), err
		}
	}
	rootfs := func(ctx context.Context) (string, string, error) { file, err := m.Rootfs(ctx); return file, "", err }
	return []Component{
		{"go", m.Toolchain, true}, {"calico", m.Calico, true}, {"etcd", m.Etcd, true},
		{"node", m.Node, false}, {"cni", m.CNI, false}, {"look", own(m.Look), false}, {"rootfs", own(rootfs), false},
	}
}

// All makes everything that takes long of what machines are made of, but their box, and returns the artifacts' directories. The images are
// made of that in seconds.
func (m *Maker) All(ctx context.Context) ([]string, error) {
	return makeAll(ctx, append(m.Components(), Component{Make: m.base}))
}

func makeAll(ctx context.Context, components []Component) ([]string, error) {
	dirs := make([]string, len(components))
	g, gctx := errgroup.WithContext(ctx)
	for i, c := range components {
		g.Go(func() (err error) { dirs[i], err = c.Make(gctx); return err })
	}
	return dirs, g.Wait()
}

// Locked makes components, and returns the SHA-256 of their files as the lock has them.
func (m *Maker) Locked(ctx context.Context, components []Component) (map[string]string, error) {
	dirs, err := makeAll(ctx, components)
	if err != nil {
		return nil, err
	}
	all := map[string]string{}
	for i, c := range components {
		sums, err := Hash(dirs[i])
		if err != nil {
			return nil, err
		}
		for name, sum := range sums {
			all[m.Arch+"/"+c.Name+"/"+name] = sum
		}
	}
	return all, nil
}
