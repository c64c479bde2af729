package docker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine/box"
	"github.com/calico-cni-lab/lab/scripts"
)

// BaseVariable names a Debian image that the lab's are made from, instead of the pinned one: where no registry can be reached, one that
// the daemon has. It may have more packages than Debian's own; those that it lacks are installed.
const BaseVariable = "LAB_DOCKER_BASE"

// baseImage is the one that the environment names, else the pinned one; of another release of Debian's, which isn't pinned, the newest.
func (p *Provider) baseImage() (string, error) {
	if named := os.Getenv(BaseVariable); named != "" {
		return named, nil
	}
	return p.usualBase()
}

func (p *Provider) usualBase() (string, error) {
	image, err := artifact.ReadDebianImage(p.Maker.Root)
	if release := p.Lab.Versions.Debian; err == nil && release != image.Release {
		return image.Repository + ":" + release + "-slim", nil
	}
	return image.String(), err
}

// rebased is d with the base that the environment names now: so that a run can name one after another had none to pull.
func (d daemon) rebased() daemon {
	if named := os.Getenv(BaseVariable); named != "" && named != d.Base {
		d.Base, d.Layers = named, ""
	}
	return d
}

// fitMaker has the artifacts made for the daemon's computer, and the images' base at the daemon.
func fitMaker(ctx context.Context, o machine.Options) error {
	p := New(o)
	d, made, err := readDaemon(o.StateDir)
	if err != nil {
		return err
	}
	if d = d.rebased(); !made {
		d = here()
		if d.Base, err = p.baseImage(); err != nil {
			return err
		}
		// A daemon that doesn't answer has Preflight say so, and nothing is made before.
		if i, err := p.info(ctx, d); err == nil {
			d.Arch = i.arch()
		}
	}
	if d.Arch != "" {
		o.Maker.Arch = d.Arch
	}
	o.Maker.Base = debian{p, d}
	return nil
}

// debian makes file systems in containers of a Debian image.
type debian struct {
	p *Provider
	d daemon
}

// Inputs implements artifact.Base.
func (b debian) Inputs(ctx context.Context) ([]string, error) {
	sources, err := artifact.Debian{Release: b.p.Lab.Versions.Debian, Run: b.p.Run}.Inputs()
	if err != nil {
		return nil, err
	}
	layers, err := b.p.layers(ctx, b.d)
	return append(sources, scripts.Text("docker-debian.sh"), b.d.Base, layers), err
}

// layers tell which image a base is whose name may be another's tomorrow. Not its ID, in which is when it was made.
func (p *Provider) layers(ctx context.Context, d daemon) (string, error) {
	if d.Layers != "" || strings.Contains(d.Base, "@sha256:") {
		return d.Layers, nil
	}
	args := []string{"image", "inspect", "--format", "{{.RootFS.Layers}}", d.Base}
	out, err := p.docker(ctx, d, args...)
	if err == nil {
		return out, nil
	}
	if _, err := p.dockerFor(ctx, d, buildTimeout, "pull", "--quiet", d.Base); err != nil {
		return "", debian{p, d}.unpulled(err)
	}
	return p.docker(ctx, d, args...)
}

func (b debian) unpulled(err error) error {
	var failed *command.Error
	if !errors.As(err, &failed) || failed.Status < 0 {
		return err
	}
	return fmt.Errorf("%w\n  what to do: check that the daemon can reach the registry; without one, name a Debian image that the daemon has: %s=IMAGE go tool mage verify", err, BaseVariable)
}

// Named implements artifact.Base.
func (b debian) Named() bool { return b.p.named(b.d) }

// named says that somebody wants the lab made from another image than is usual.
func (p *Provider) named(d daemon) bool {
	usual, err := p.usualBase()
	return err == nil && d.Base != usual
}

// Tar implements artifact.Base.
func (b debian) Tar(ctx context.Context, out io.Writer, packages []string, script string) error {
	return b.install(ctx, packages, nil, "set -- /\n"+script+"\n", func(container string) error {
		_, err := b.d.run(ctx, b.p.Run, command.Cmd{Args: []string{"export", container}, Stdout: out, Timeout: b.p.patience(buildTimeout)})
		return err
	})
}

// install installs packages and files in a container of the base, runs a script in it, and has it taken by take before it goes.
func (b debian) install(ctx context.Context, packages []string, files []byte, setup string, take func(container string) error) error {
	const dir = "/lab-build"
	from := artifact.Debian{Release: b.p.Lab.Versions.Debian, Run: b.p.Run}
	sources, served, err := from.Sources(ctx)
	if err != nil {
		return err
	}
	t := box.NewFiles()
	for name, content := range map[string]string{
		"sources": strings.Join(sources, "\n") + "\n", "served": strings.Join(served, "\n") + "\n", "setup": setup, "install": scripts.Text("docker-debian.sh"), "note-packages": scripts.Text("note-packages.sh"),
	} {
		if err := t.Add(dir+"/"+name, []byte(content), 0o644, 0); err != nil {
			return err
		}
	}
	mine, err := t.Tar()
	if err != nil {
		return err
	}
	var options []string
	for _, name := range []string{"http_proxy", "https_proxy", "no_proxy"} {
		if v := cmp.Or(os.Getenv(name), os.Getenv(strings.ToUpper(name))); v != "" {
			options = append(options, "--env", name+"="+v)
		}
	}
	return b.p.build(ctx, b.d, builder{options: options, image: b.d.Base, args: append([]string{"sh", dir + "/install", dir}, packages...)}, func(container string) error {
		for _, tar := range [][]byte{mine, files} {
			if tar == nil {
				continue
			}
			if err := b.p.copyIn(ctx, b.d, tar, container, "/"); err != nil {
				return err
			}
		}
		if _, err := b.p.dockerFor(ctx, b.d, buildTimeout, "start", "--attach", container); err != nil {
			return fmt.Errorf("%w\n  what to do: check that containers of this daemon can reach %s, or name another mirror of Debian's packages: LAB_DEBIAN_MIRROR=http://HOST/debian; "+
				"or an image that has the packages: %s", err, strings.Fields(served[0])[2], BaseVariable)
		}
		return take(container)
	})
}

// builder is a container that an image is made in.
type builder struct {
	options []string
	image   string
	args    []string
}

// build makes a container, and removes it when with has done with it. What a run left that was killed goes first: who makes the same of the
// same cache holds its lock.
func (p *Provider) build(ctx context.Context, d daemon, b builder, with func(container string) error) (err error) {
	key := artifact.Recipe{Name: "builder", Inputs: slices.Concat([]string{user(), p.Maker.Store.Dir, b.image}, b.options, b.args)}.Key()
	name := "calico-cni-lab-" + key
	remove := func() error {
		return p.removeAll(context.WithoutCancel(ctx), d, []string{"ps", "--all", "--quiet", "--filter", "name=^" + name + "$"}, []string{"rm", "--force", "--volumes"})
	}
	if err := remove(); err != nil {
		return err
	}
	args := append([]string{"create", "--name", name, "--label", labelBox + "=builder"}, b.options...)
	if _, err := p.dockerFor(ctx, d, buildTimeout, append(append(args, b.image), b.args...)...); err != nil {
		return debian{p, d}.unpulled(err)
	}
	defer func() { err = errors.Join(err, remove()) }()
	return with(name)
}
