package nspawn

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine/box"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
	"github.com/calico-cni-lab/lab/scripts"
)

// filesLayer returns a tree with nothing but files, for above the box's tree; "" where there are no files. The machines
// share it, and it is read-only to them: what one of them changes is a copy in its own layer.
func (p *Provider) filesLayer(ctx context.Context, tree string, role lab.Role, files []remote.File) (string, error) {
	if len(files) == 0 {
		return "", nil
	}
	files = slices.SortedFunc(slices.Values(files), func(a, b remote.File) int { return strings.Compare(a.Path, b.Path) })
	dir, err := p.Store.Get(ctx, artifact.Recipe{
		Name: "files", What: fmt.Sprintf("copying the files that every %s machine has", role),
		Inputs: append([]string{filepath.Base(filepath.Dir(tree)), "layer 2", scripts.Text("nspawn-sums.sh")}, box.FileKeys(files)...),
		Make: func(ctx context.Context, out string) error {
			target := filepath.Join(out, "root")
			if _, err := p.Run.Root(ctx, "install", "-d", target); err != nil {
				return err
			}
			err := p.pipe(ctx, func(w io.Writer) error { return box.WriteLayer(w, tree, files) },
				"tar", "--extract", "--numeric-owner", "--same-owner", "--preserve-permissions", "--directory="+target)
			if err != nil {
				return err
			}
			return p.pipe(ctx, func(w io.Writer) error { return writeSums(w, files) },
				"bash", "-c", scripts.Text("nspawn-sums.sh"), "nspawn-sums.sh", target, target+fact.SumsFile)
		},
	})
	return filepath.Join(dir, "root"), err
}

// writeSums writes what the files' SHA-256 are: WriteLayer has made sure of them, so no machine has to read the files for it.
func writeSums(w io.Writer, files []remote.File) error {
	for _, f := range files {
		if f.Source == "" {
			continue // small, or a link
		}
		if _, err := fmt.Fprintf(w, "%s\t%s\n", f.SHA256, f.Path); err != nil {
			return err
		}
	}
	return nil
}

// pipe runs a command as root, with what write writes as its standard input: it may be hundreds of MB, and root opens no file
// by a path that a user can change.
func (p *Provider) pipe(ctx context.Context, write func(io.Writer) error, args ...string) error {
	return command.Pipe(write, func(r io.Reader) error {
		_, err := p.Run.Run(ctx, command.Cmd{Args: args, Stdin: r, Root: true, Timeout: buildTimeout})
		return err
	})
}
