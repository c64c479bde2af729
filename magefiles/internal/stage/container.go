package stage

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
)

// Labels that the lab's containers carry.
const (
	labelPart = "calico-cni-lab.part" // which of the lab's containers it is, whatever its name
	labelSpec = "calico-cni-lab.spec" // hash of how it was started
)

// container is a container as it is to run.
type container struct {
	part  string
	name  string
	image artifact.Image
	flags []string // of docker run
	cmd   []string
}

// spec identifies how the container is started.
func (c container) spec() string {
	sum := sha256.Sum256([]byte(command.Quote(append(append([]string{c.name, c.image.ID}, c.flags...), c.cmd...)...)))
	return hex.EncodeToString(sum[:8])
}

// lack says what keeps the container from running as it should, or "".
func (c container) lack(ctx context.Context, h *remote.Host) (string, error) {
	out, err := h.Sudo(ctx, "docker", "ps", "--all", "--no-trunc", "--filter", "label="+labelPart+"="+c.part,
		"--format", `{{.Names}} {{.State}} {{.Label "`+labelSpec+`"}}`)
	if err != nil {
		return "", err
	}
	if out == "" {
		return "no container " + c.name, nil
	}
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		switch {
		case len(f) != 3 || f[2] != c.spec():
			return "container " + f[0] + " is not as it should be", nil
		case f[1] != "running":
			return "container " + c.name + " is " + f[1], nil
		}
	}
	return "", nil
}

// ensure makes the container run as it should.
func (c container) ensure(ctx context.Context, h *remote.Host) error {
	lack, err := c.lack(ctx, h)
	if err != nil || lack == "" {
		return err
	}
	if err := load(ctx, h, c.image); err != nil {
		return err
	}
	// Whatever is there of this part: another version's, a half-made one, or one of that name.
	old, err := h.Sudo(ctx, "docker", "ps", "--all", "--quiet", "--filter", "label="+labelPart+"="+c.part)
	if err != nil {
		return err
	}
	byName, err := h.Sudo(ctx, "docker", "ps", "--all", "--quiet", "--filter", "name=^/"+c.name+"$")
	if err != nil {
		return err
	}
	ids := strings.Fields(old + "\n" + byName)
	slices.Sort(ids)
	if ids = slices.Compact(ids); len(ids) > 0 {
		if _, err := h.Sudo(ctx, append([]string{"docker", "rm", "--force"}, ids...)...); err != nil {
			return err
		}
	}
	args := []string{"docker", "run", "--detach", "--name", c.name, "--label", labelPart + "=" + c.part, "--label", labelSpec + "=" + c.spec()}
	args = append(append(append(args, c.flags...), c.image.Ref), c.cmd...)
	_, err = h.Sudo(ctx, args...)
	return err
}

// load sees that a machine has an image.
func load(ctx context.Context, h *remote.Host, img artifact.Image) error {
	if id, err := h.Sudo(ctx, "docker", "image", "inspect", "--format", "{{.Id}}", img.Ref); err == nil && id == img.ID {
		return nil
	}
	if _, err := h.Stream(ctx, img.Archive, "docker load --quiet"); err != nil {
		return fmt.Errorf("loading %s: %w", img.Ref, err)
	}
	return nil
}
