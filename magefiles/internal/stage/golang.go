package stage

import (
	"context"
	"path/filepath"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
	"github.com/calico-cni-lab/lab/scripts"
)

type golang struct{ *Env }

// Golang is the stage that puts the Go toolchain on the Calico nodes.
func Golang(e *Env) Stage { return golang{e} }

func (golang) Name() string { return "golang" }

func (s golang) profile() ([]remote.File, error) {
	data, err := render("golang.sh.tmpl", nil)
	return []remote.File{{Path: "/etc/profile.d/golang.sh", Mode: 0o644, Content: data}}, err
}

func (s golang) Check(ctx context.Context) (bool, string, error) {
	profile, err := s.profile()
	if err != nil {
		return false, "", err
	}
	want := s.release()
	return s.check(ctx, s.nodes(), want+" is in /usr/local/go", func(ctx context.Context, _ lab.Machine, h *remote.Host) (string, error) {
		return first(
			func() (string, error) { return s.otherGo(ctx, h) },
			func() (string, error) { return missing(ctx, h, profile) },
		)
	})
}

func (s golang) release() string { return "go" + s.Maker.GoOnNode }

// otherGo says which Go is on a machine instead of the pinned one, or "".
func (s golang) otherGo(ctx context.Context, h *remote.Host) (string, error) {
	// Its first line is the release; the tree gets this name only when it is whole.
	out, _ := h.Run(ctx, "cat", "/usr/local/go/VERSION")
	have, _, _ := strings.Cut(out, "\n")
	switch have {
	case "":
		return "no Go in /usr/local/go", ctx.Err()
	case s.release():
		return "", nil
	}
	return have + " is in /usr/local/go", nil
}

// unpack replaces /usr/local/go by the tar at standard input, in one step as far as a reader can see.
const unpack = `set -e
rm -rf /usr/local/go.part
mkdir /usr/local/go.part
tar --extract --no-same-owner --directory=/usr/local/go.part
note /usr/local/go
rm -rf /usr/local/go
mv /usr/local/go.part/go /usr/local/go
rmdir /usr/local/go.part`

func (s golang) Apply(ctx context.Context) error {
	profile, err := s.profile()
	if err != nil {
		return err
	}
	return s.on(ctx, s.nodes(), func(ctx context.Context, _ lab.Machine, h *remote.Host) error {
		// Embedded machines have it from the start, as a layer below their own files.
		other, err := s.otherGo(ctx, h)
		if err != nil {
			return err
		}
		if other != "" {
			dir, err := s.Maker.Toolchain(ctx)
			if err != nil {
				return err
			}
			if _, err := h.Stream(ctx, filepath.Join(dir, artifact.ToolchainTar), scripts.Text("note-original.sh")+unpack); err != nil {
				return err
			}
		}
		return putMissing(ctx, h, profile)
	})
}
