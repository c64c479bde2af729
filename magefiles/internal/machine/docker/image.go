package docker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine/box"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
	"github.com/calico-cni-lab/lab/scripts"
)

// BaseVariable names a Debian image that the lab's are made from, instead of the pinned one: where no registry can be reached, one that
// the daemon has. It may have more packages than Debian's own; those that it lacks are installed.
const BaseVariable = "LAB_DOCKER_BASE"

// pinned are Debian's images by release (hub.docker.com/_/debian).
var pinned = map[string]string{
	"bookworm": "debian:bookworm-20261005-slim@sha256:7c7b2c966bc9ee8cedfeef67e0e279108992c77681fa595db4a9d65c06ccc587",
}

func baseImage(release string) string {
	return cmp.Or(os.Getenv(BaseVariable), pinned[release], "debian:"+release+"-slim")
}

// repository is where the lab's images are; no registry has it.
const repository = "calico-cni-lab/"

const buildTimeout = 15 * time.Minute

// fitMaker has the artifacts made for the daemon's computer, and the images' base at the daemon.
func fitMaker(ctx context.Context, o machine.Options) error {
	p := New(o)
	d, made, err := readDaemon(o.StateDir)
	if err != nil {
		return err
	}
	if !made {
		d = here()
		d.Base = baseImage(o.Lab.Versions.Debian)
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
	return append(sources, "docker 1", scripts.Text("docker-debian.sh"), b.d.Base, layers), err
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

// Tar implements artifact.Base.
func (b debian) Tar(ctx context.Context, out io.Writer, packages []string, script string) error {
	return b.install(ctx, packages, nil, "set -- /\n"+script+"\n", func(container string) error {
		_, err := b.d.run(ctx, b.p.Run, command.Cmd{Args: []string{"export", container}, Stdout: out, Timeout: buildTimeout})
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
		"sources": strings.Join(sources, "\n") + "\n", "served": strings.Join(served, "\n") + "\n", "setup": setup, "install": scripts.Text("docker-debian.sh"),
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

// prepare makes what is still to be made of the images of machines that aren't there yet, and sees whether such machines fit there.
func (p *Provider) prepare(ctx context.Context, d daemon, states map[string]string) (images, error) {
	missing := slices.DeleteFunc(p.Plan.Names(), func(name string) bool { return states[name] != "" })
	if len(missing) == 0 {
		return images{}, nil
	}
	made := images{byRole: map[lab.Role]string{}}
	var toolchain string
	var inside artifact.Images
	roles := []lab.Role{lab.RoleEtcd, lab.RoleCalico}
	files := map[lab.Role][]remote.File{}
	var boxImage string
	var mu sync.Mutex
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		if boxImage, err = p.box(gctx, d); err == nil {
			made.modules, err = p.fit(gctx, d, boxImage, len(missing))
		}
		return err
	})
	g.Go(func() (err error) { toolchain, err = p.Maker.Toolchain(gctx); return err })
	g.Go(func() (err error) { inside, err = p.Maker.Images(gctx); return err })
	for _, role := range roles {
		if p.Files == nil {
			break
		}
		g.Go(func() error {
			list, err := p.Files(gctx, role)
			mu.Lock()
			defer mu.Unlock()
			files[role] = list
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return images{}, err
	}
	store, err := p.store(ctx, d, boxImage, inside)
	if err != nil {
		return images{}, err
	}
	for _, role := range roles {
		more := ""
		if role == lab.RoleCalico {
			more = toolchain
		}
		if made.byRole[role], err = p.machineImage(ctx, d, store, role, files[role], more); err != nil {
			return images{}, err
		}
	}
	return made, nil
}

// image returns an image at the daemon, and has it made where it isn't there. One run at a time makes one.
func (p *Provider) image(ctx context.Context, d daemon, r artifact.Recipe, make func(tag string) error) (string, error) {
	key := r.Key()
	tag := repository + r.Name + ":" + strings.TrimPrefix(key, r.Name+"-")
	if p.has(ctx, d, tag) {
		return tag, nil
	}
	unlock, err := artifact.Lock(ctx, filepath.Join(p.Maker.Store.Dir, "docker-"+key+".lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	if p.has(ctx, d, tag) {
		return tag, nil
	}
	done := p.Maker.Store.Making(r.What)
	err = make(tag)
	done(err)
	if err != nil {
		return "", fmt.Errorf("%s: %w", r.What, err)
	}
	return tag, nil
}

func (p *Provider) has(ctx context.Context, d daemon, tag string) bool {
	_, err := p.docker(ctx, d, "image", "inspect", "--format", "{{.Id}}", tag)
	return err == nil
}

// commit makes an image of a container.
func (p *Provider) commit(ctx context.Context, d daemon, container, tag string) error {
	_, err := p.dockerFor(ctx, d, buildTimeout, "commit", "--change", "LABEL "+labelBox+"="+tag, container, tag)
	return err
}

// box is what all machines start from: the recipe of nspawn containers.
func (p *Provider) box(ctx context.Context, d daemon) (string, error) {
	b := debian{p, d}
	inputs, err := b.Inputs(ctx)
	if err != nil {
		return "", err
	}
	c, err := box.PartsOf()
	if err != nil {
		return "", err
	}
	return p.image(ctx, d, artifact.Recipe{
		Name: "box", What: "making the machines' box from " + d.Base, Inputs: append(append(inputs, c.Packages...), string(c.Files), c.Setup),
	}, func(tag string) error {
		return b.install(ctx, c.Packages, c.Files, c.Setup, func(container string) error { return p.commit(ctx, d, container, tag) })
	})
}

// store is the box with the images in its Docker store. Machines share the layers of it.
func (p *Provider) store(ctx context.Context, d daemon, boxImage string, inside artifact.Images) (string, error) {
	const dir = "/store"
	script := scripts.Text("docker-layers.sh")
	inputs := []string{boxImage, script}
	for _, img := range inside.List() {
		inputs = append(inputs, img.Ref, img.ID)
	}
	return p.image(ctx, d, artifact.Recipe{Name: "store", What: "loading the images into a Docker store", Inputs: inputs}, func(tag string) error {
		options := append([]string{"--network", "none", "--tmpfs", "/run:exec", "--mount", "type=volume,dst=" + dir}, likeMachines...)
		return p.build(ctx, d, builder{options, boxImage, []string{"bash", "-c", script, "docker-layers.sh", dir}}, func(container string) error {
			err := p.pipeIn(ctx, d, container, dir, func(w io.Writer) error { return box.WriteTar(w, inside.Etcd.Archive, inside.Node.Archive) })
			if err == nil {
				_, err = p.dockerFor(ctx, d, buildTimeout, "start", "--attach", container)
			}
			if err == nil {
				err = p.commit(ctx, d, container, tag)
			}
			return err
		})
	})
}

// machineImage is the store's with how a container boots, the files that all machines of a role have, and the toolchain in a directory
// where one is named.
func (p *Provider) machineImage(ctx context.Context, d daemon, store string, role lab.Role, files []remote.File, toolchain string) (string, error) {
	files = slices.SortedFunc(slices.Values(files), func(a, b remote.File) int { return strings.Compare(a.Path, b.Path) })
	own, err := box.DockerFiles()
	if err != nil {
		return "", err
	}
	inputs := append([]string{store, "machine 1", filepath.Base(toolchain), string(own)}, box.FileKeys(files)...)
	return p.image(ctx, d, artifact.Recipe{
		Name: string(role), What: fmt.Sprintf("giving the daemon the files that every %s machine has", role), Inputs: inputs,
	}, func(tag string) error {
		return p.build(ctx, d, builder{[]string{"--network", "none"}, store, []string{"true"}}, func(container string) error {
			err := p.copyIn(ctx, d, own, container, "/")
			if err == nil {
				err = p.pipeIn(ctx, d, container, "/", func(w io.Writer) error { return box.WriteLayer(w, "", files) })
			}
			if err == nil && toolchain != "" {
				err = p.pipeIn(ctx, d, container, "/usr/local", func(w io.Writer) error { return box.WriteFile(w, filepath.Join(toolchain, artifact.ToolchainTar)) })
			}
			if err == nil {
				err = p.commit(ctx, d, container, tag)
			}
			return err
		})
	})
}

// pipeIn is copyIn for a tar that is too large to hold.
func (p *Provider) pipeIn(ctx context.Context, d daemon, container, dir string, write func(io.Writer) error) error {
	return command.Pipe(write, func(r io.Reader) error {
		_, err := d.run(ctx, p.Run, command.Cmd{Args: []string{"cp", "-", container + ":" + dir}, Stdin: r, Timeout: buildTimeout})
		return err
	})
}

// clean removes the lab's images from the daemon that the docker command talks to.
func clean(ctx context.Context, o machine.Options) error {
	if !installed() {
		return nil
	}
	p, d := New(o), here()
	if _, err := p.info(ctx, d); err != nil {
		o.Notice("no Docker daemon answers (%s); images that the lab may have there stay", d)
		return nil //nolint:nilerr // most computers have none
	}
	owners, err := p.docker(ctx, d, "ps", "--all", "--filter", "label="+labelLab, "--format", fmt.Sprintf(`{{.Label %q}}`, labelOwner))
	if err != nil {
		return err
	}
	if users := strings.Fields(owners); len(users) > 0 {
		slices.Sort(users)
		return fmt.Errorf("the lab's images at the Docker daemon are in use by the lab of %s; destroy it there first", strings.Join(slices.Compact(users), " and the one of "))
	}
	for _, step := range []struct{ list, remove []string }{
		{[]string{"ps", "--all", "--quiet", "--filter", "label=" + labelBox}, []string{"rm", "--force", "--volumes"}},
		{[]string{"image", "ls", "--filter", "label=" + labelBox, "--format", "{{.Repository}}:{{.Tag}}"}, []string{"image", "rm"}},
	} {
		if err := p.removeAll(ctx, d, step.list, step.remove); err != nil {
			return err
		}
	}
	return nil
}
