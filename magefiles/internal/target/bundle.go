package target

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/bundle"
	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/computer"
	"github.com/calico-cni-lab/lab/magefiles/internal/keep"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/progress"
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
	if err := asShipped(r, l.Lab); err != nil {
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
	from, err := goDirs(ctx, r)
	if err != nil {
		return err
	}
	temp, err := os.MkdirTemp(r.StateDir, "bundle-*") // which destroy removes
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	project, err := copyProject(ctx, r, temp, l.Maker.Arch)
	if err != nil {
		return err
	}
	commit, err := r.Exec.Output(ctx, "git", "-C", r.Root, "describe", "--always", "--dirty", "--abbrev=12")
	if err != nil {
		return err
	}
	m := bundle.Manifest{Arch: l.Maker.Arch, Pins: l.Maker.Pins.Releases(), Commit: commit}
	if err := bundle.Write(ctx, r.Exec, file, m, contents, project, from); err != nil {
		return err
	}
	sum, err := artifact.Sum(file)
	if err != nil {
		return err
	}
	if err := keep.Write(file+".sha256", []byte(sum+"  "+filepath.Base(file)+"\n"), 0o644); err != nil {
		return err
	}
	r.Console.Notice("%s has what a lab is made of; on another computer with the Debian packages that a lab needs, and zstd, without Go and without a network:\n"+
		"  tar -xf %[2]s %[3]s && cd %[3]s\n  %[4]s=../%[2]s ./%[5]s verify", file, filepath.Base(file), filepath.Base(project), bundle.Variable, run.Program)
	return nil
}

// compileTime is for all targets, with nothing cached.
const compileTime = 15 * time.Minute

// copyProject copies what git knows of the project to a directory in dir, and compiles the targets there, so that who has them needs no Go.
func copyProject(ctx context.Context, r *run.Run, dir, arch string) (project string, err error) {
	project = filepath.Join(dir, "calico-cni-lab")
	const copied = `mkdir -- "$1" && git ls-files -z | tar -c --null --files-from=- | tar -x -C "$1"`
	if _, err := r.Exec.Run(ctx, command.Cmd{
		Args: []string{"bash", "-o", "pipefail", "-c", copied, "bash", project}, Dir: r.Root, Hint: "a bundle is made of a clone of the project, by what git says is in it",
	}); err != nil {
		return "", err
	}
	err = progress.Do(ctx, progress.Making, "compiling the targets", func(ctx context.Context) error {
		_, err := r.Exec.Run(ctx, command.Cmd{
			Args: []string{"go", "tool", "mage", "-compile", filepath.Join(project, run.Program), "-goos=linux", "-goarch=" + arch, "-ldflags=-s -w"},
			Dir:  project, Env: []string{"CGO_ENABLED=0", "GOFLAGS=-trimpath -buildvcs=false", "GOWORK=off"}, Timeout: compileTime,
		})
		return err
	})
	return project, err
}

// asShipped refuses a lab that is made of other things than the one of the project's lab.yaml, which is the one in the bundle.
func asShipped(r *run.Run, l *lab.Lab) error {
	shipped, err := lab.Load(filepath.Join(r.Root, "lab.yaml"))
	if err != nil {
		return err
	}
	if l.Versions.Debian != shipped.Versions.Debian || !l.Versions.Go.Equal(shipped.Versions.Go) {
		return fmt.Errorf("%s has other versions (Debian %s, Go %s) than the project's lab.yaml (%s, %s), which goes into the bundle; put them there, too",
			r.LabFile, l.Versions.Debian, l.Versions.Go, shipped.Versions.Debian, shipped.Versions.Go)
	}
	if l.Versions.Source == lab.Release || shipped.Versions.Source == lab.Release {
		return fmt.Errorf("a bundle has what is compiled, and with versions.source: %s a lab would fetch more; take that out of lab.yaml", lab.Release)
	}
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

// goDirs are where the go command has the sources of what it compiles.
func goDirs(ctx context.Context, r *run.Run) (bundle.Sources, error) {
	out, err := r.Exec.Output(ctx, "go", "env", "GOMODCACHE", "GOROOT")
	if err != nil {
		return bundle.Sources{}, err
	}
	modules, goroot, ok := strings.Cut(out, "\n")
	if !ok {
		return bundle.Sources{}, fmt.Errorf("go env GOMODCACHE GOROOT prints %q", out)
	}
	return bundle.Sources{Modules: modules, Go: goroot}, nil
}
