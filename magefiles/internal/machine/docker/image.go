package docker

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine/box"
	"github.com/calico-cni-lab/lab/magefiles/internal/progress"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
	"github.com/calico-cni-lab/lab/scripts"
)

// images are what a machine of a role is made of.
type images struct {
	byRole  map[lab.Role]string
	modules []string // options that show a machine the kernel's modules
}

// repository is where the lab's images are; no registry has it.
const repository = "calico-cni-lab/"

const buildTimeout = 15 * time.Minute

// prepare makes what is still to be made of the images of machines that aren't there yet, and sees whether such machines fit there.
func (p *Provider) prepare(ctx context.Context, d daemon, states map[string]string) (images, error) {
	missing := slices.DeleteFunc(p.Plan.Names(), func(name string) bool { return states[name] != "" })
	if len(missing) == 0 {
		return images{}, nil
	}
	made := images{byRole: map[lab.Role]string{}}
	var toolchain string
	var inside artifact.Images
	roles := p.Plan.Roles()
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
	if err := progress.Do(ctx, progress.Making, r.What, func(context.Context) error { return make(tag) }); err != nil {
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
		_, err := d.run(ctx, p.Run, command.Cmd{Args: []string{"cp", "-", container + ":" + dir}, Stdin: r, Timeout: p.patience(buildTimeout)})
		return err
	})
}
