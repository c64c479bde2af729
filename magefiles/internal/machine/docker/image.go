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
	key, tag := r.Key(), tagOf(r)
	if there, err := p.has(ctx, d, tag); there || err != nil {
		return tag, err
	}
	unlock, err := artifact.Lock(ctx, filepath.Join(p.Maker.Store.Dir, "docker-"+key+".lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	if there, err := p.has(ctx, d, tag); there || err != nil {
		return tag, err
	}
	if err := progress.Do(ctx, progress.Making, r.What, func(context.Context) error { return make(tag) }); err != nil {
		return "", fmt.Errorf("%s: %w", r.What, err)
	}
	return tag, nil
}

func tagOf(r artifact.Recipe) string {
	return repository + r.Name + ":" + strings.TrimPrefix(r.Key(), r.Name+"-")
}

func (p *Provider) has(ctx context.Context, d daemon, tag string) (bool, error) {
	out, err := p.docker(ctx, d, "image", "ls", "--quiet", tag)
	return out != "", err
}

// commit makes an image of a container.
func (p *Provider) commit(ctx context.Context, d daemon, container, tag string) error {
	_, err := p.dockerFor(ctx, d, buildTimeout, "commit", "--change", "LABEL "+labelBox+"="+tag, container, tag)
	return err
}

// box is what all machines start from: the recipe of nspawn containers, made at the daemon, or the tree of such containers from the bundle.
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
	own := artifact.Recipe{Name: "box", What: "making the machines' box from " + d.Base, Inputs: append(append(inputs, c.Packages...), string(c.Files), c.Setup)}
	tree := box.Recipe{Debian: p.Lab.Versions.Debian, Run: p.Run}
	key, err := tree.Key()
	if err != nil {
		return "", err
	}
	stock := p.Maker.Store.Stock
	imported := artifact.Recipe{Name: "box", What: "giving the daemon the machines' box from the bundle", Inputs: []string{"imported 1", key}}
	take, err := p.takesImported(ctx, d, own, imported, func() (bool, error) { return tree.Stocked(ctx, stock) })
	if err != nil {
		return "", err
	}
	if take {
		return p.image(ctx, d, imported, func(tag string) error {
			return p.importTree(ctx, d, func(out io.Writer) error { return tree.Unstock(ctx, stock, out) }, tag)
		})
	}
	return p.image(ctx, d, own, func(tag string) error {
		return b.install(ctx, c.Packages, c.Files, c.Setup, func(container string) error { return p.commit(ctx, d, container, tag) })
	})
}

// takesImported says which of two boxes machines start from: the one that the user named the base of, else the one that is at the daemon, so that a
// lab's machines are alike, else what is in stock.
func (p *Provider) takesImported(ctx context.Context, d daemon, own, imported artifact.Recipe, stocked func() (bool, error)) (bool, error) {
	if p.named(d) {
		return false, nil
	}
	if there, err := p.has(ctx, d, tagOf(own)); there || err != nil {
		return false, err
	}
	if there, err := p.has(ctx, d, tagOf(imported)); there || err != nil {
		return there, err
	}
	return stocked()
}

// importTree makes an image of a tree. It gets its name once all of the tree was as it should be; what a run that was killed has left is found by
// its label.
func (p *Provider) importTree(ctx context.Context, d daemon, tree func(io.Writer) error, tag string) error {
	id := ""
	err := command.Pipe(tree, func(r io.Reader) (err error) {
		id, err = d.run(ctx, p.Run, command.Cmd{
			Args: []string{"import", "--change", "LABEL " + labelBox + "=" + tag, "-"}, Stdin: r, Timeout: p.patience(buildTimeout),
		})
		return err
	})
	id = strings.TrimSpace(id)
	if err == nil {
		_, err = p.docker(ctx, d, "tag", id, tag)
	}
	if err != nil && id != "" {
		_, _ = p.docker(context.WithoutCancel(ctx), d, "image", "rm", id)
	}
	return err
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
