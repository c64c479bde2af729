package target

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/bundle"
	"github.com/calico-cni-lab/lab/magefiles/internal/computer"
	"github.com/calico-cni-lab/lab/magefiles/internal/keep"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/run"
)

// Bundle writes all that a lab is made of into one file, for computers without a network. Without a name it gets one in the working
// directory.
func Bundle(ctx context.Context, r *run.Run, file string) error {
	l, err := r.Lab(ctx)
	if err != nil {
		return err
	}
	if file == "" {
		file = bundle.Name(l.Maker.Arch)
	}
	if computer.Exists(file) {
		return fmt.Errorf("%s is there already; remove it, or name another file: go tool mage bundle -o=FILE", file)
	}
	if err := r.Begin(ctx); err != nil {
		return err
	}
	if err := asLocked(ctx, r, l); err != nil {
		return err
	}
	dirs, err := l.Maker.All(ctx)
	if err != nil {
		return err
	}
	var contents []bundle.Content
	for _, dir := range dirs {
		contents = append(contents, bundle.Content{Dir: dir})
	}
	if boxer, ok := l.Provider.(machine.Boxer); ok {
		dir, root, err := boxer.Box(ctx)
		if err != nil {
			return err
		}
		contents = append(contents, bundle.Content{Dir: dir, Root: root})
	}
	dirs, err = goDirs(ctx, r)
	if err != nil {
		return err
	}
	m := bundle.Manifest{Arch: l.Maker.Arch, Pins: l.Maker.Pins.Releases()}
	if err := bundle.Write(ctx, r.Exec, file, m, contents, dirs[0], dirs[1]); err != nil {
		return err
	}
	sum, err := artifact.Sum(file)
	if err != nil {
		return err
	}
	if err := keep.Write(file+".sha256", []byte(sum+"  "+filepath.Base(file)+"\n"), 0o644); err != nil {
		return err
	}
	r.Console.Notice("%s has what a lab is made of; elsewhere: %s=%[1]s go tool mage verify", file, bundle.Variable)
	return nil
}

// asLocked refuses what others would refuse in a bundle.
func asLocked(ctx context.Context, r *run.Run, l *run.Lab) error {
	locked, err := artifact.ReadLock(r.Root)
	if err != nil {
		return err
	}
	made, err := l.Maker.Locked(ctx, l.Maker.Components())
	for _, name := range slices.Sorted(maps.Keys(made)) {
		if locked[name] != made[name] {
			return fmt.Errorf("%s isn't what %s says, so no other computer would take it from a bundle; is versions.go of lab.yaml the project's, and is nothing changed "+
				"in the project's source? git status shows that, and after a change that was meant: go tool mage dev:lock", name, artifact.LockFile)
		}
	}
	return err
}

// goDirs are the go command's cache of modules, and its own directory.
func goDirs(ctx context.Context, r *run.Run) ([]string, error) {
	out, err := r.Exec.Output(ctx, "go", "env", "GOMODCACHE", "GOROOT")
	if dirs := strings.Split(out, "\n"); err != nil || len(dirs) == 2 {
		return dirs, err
	}
	return nil, fmt.Errorf("go env GOMODCACHE GOROOT prints %q", out)
}
