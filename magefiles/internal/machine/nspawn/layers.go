package nspawn

import (
	"context"
	"io"
	"path/filepath"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine/box"
	"github.com/calico-cni-lab/lab/scripts"
)

// dockerStore returns a Docker data directory that has the images. Machines get a copy of it, its layers by hard
// links: nothing ever writes into a layer, so this takes 0.1 s where loading them takes 5.
func (p *Provider) dockerStore(ctx context.Context, tree string, images artifact.Images) (string, error) {
	inputs := []string{tree, "store 1", scripts.Text("docker-store.sh")}
	for _, img := range images.List() {
		inputs = append(inputs, img.Ref, img.ID)
	}
	dir, err := p.Store.Get(ctx, artifact.Recipe{
		Name: "docker", What: "loading the images into a Docker store", Inputs: inputs,
		Make: func(ctx context.Context, out string) error {
			return p.pipe(ctx, func(w io.Writer) error { return box.WriteTar(w, images.Etcd.Archive, images.Node.Archive) },
				"bash", "-c", scripts.Text("docker-store.sh"), "docker-store.sh", tree, filepath.Join(out, "docker"))
		},
	})
	return filepath.Join(dir, "docker"), err
}

// rootfs returns the program that mounts machines' root file systems, as a file that only root can change: root runs it.
func (p *Provider) rootfs(ctx context.Context) (string, error) {
	file, err := p.Maker.Rootfs(ctx)
	if err != nil {
		return "", err
	}
	dir, err := p.Store.Get(ctx, artifact.Recipe{
		Name: "rootfs", What: "copying the program that mounts the machines' files", Inputs: []string{filepath.Base(filepath.Dir(file))},
		Make: func(ctx context.Context, out string) error {
			return p.pipe(ctx, func(w io.Writer) error { return box.WriteFile(w, file) }, "install", "-m", "0755", "/dev/stdin", filepath.Join(out, "rootfs"))
		},
	})
	return filepath.Join(dir, "rootfs"), err
}

// toolchainLayer returns a tree with nothing but /usr/local/go.
func (p *Provider) toolchainLayer(ctx context.Context) (string, error) {
	dir, err := p.Maker.Toolchain(ctx)
	if err != nil {
		return "", err
	}
	layer, err := p.Store.Get(ctx, artifact.Recipe{
		Name: "golayer", What: "unpacking Go for the machines", Inputs: []string{filepath.Base(dir), "layer 1"},
		Make: func(ctx context.Context, out string) error {
			target := filepath.Join(out, "root/usr/local")
			if _, err := p.Run.Root(ctx, "install", "-d", target); err != nil {
				return err
			}
			return p.pipe(ctx, func(w io.Writer) error { return box.WriteFile(w, filepath.Join(dir, artifact.ToolchainTar)) },
				"tar", "--extract", "--no-same-owner", "--preserve-permissions", "--directory="+target)
		},
	})
	return filepath.Join(layer, "root"), err
}

const buildTimeout = bootTimeout * 4
