package nspawn

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine/box"
	"github.com/calico-cni-lab/lab/scripts"
)

// identity returns the files that are different on every machine, as a tar for its root directory.
func (p *Provider) identity(m machine.Planned, user ssh.PublicKey, hostKey []byte, hostPublic ssh.PublicKey) (io.Reader, error) {
	var hosts strings.Builder
	fmt.Fprintf(&hosts, "127.0.0.1 localhost\n::1 localhost ip6-localhost\n\n")
	for _, other := range p.Plan.Machines {
		fmt.Fprintf(&hosts, "%s %s\n", other.Address, other.Name)
	}
	// Set from the start, so that systemd doesn't take this for a first boot.
	id := make([]byte, 16)
	if _, err := rand.Read(id); err != nil {
		return nil, err
	}
	network := fmt.Sprintf("[Match]\nName=host0\n\n[Network]\nAddress=%s/%d\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n\n[Route]\nGateway=%s\nMetric=%d\n",
		m.Address, p.Plan.Subnet.Bits(), p.Plan.Gateway, routeMetric)
	t := box.NewFiles()
	for _, f := range []struct {
		name    string
		content []byte
		mode    int64
		owner   int
	}{
		{"/etc/hostname", []byte(m.Name + "\n"), 0o644, 0},
		{"/etc/hosts", []byte(hosts.String()), 0o644, 0},
		{"/etc/machine-id", []byte(hex.EncodeToString(id) + "\n"), 0o444, 0},
		{"/etc/systemd/network/10-underlay.network", []byte(network), 0o644, 0},
		{"/etc/ssh/ssh_host_ed25519_key", hostKey, 0o600, 0},
		{"/etc/ssh/ssh_host_ed25519_key.pub", ssh.MarshalAuthorizedKey(hostPublic), 0o644, 0},
		{"/home/" + box.User + "/.ssh/authorized_keys", ssh.MarshalAuthorizedKey(user), 0o600, box.UID},
	} {
		if err := t.Add(f.name, f.content, f.mode, f.owner); err != nil {
			return nil, err
		}
	}
	data, err := t.Tar()
	return bytes.NewReader(data), err
}

// dockerStore returns a Docker data directory that has the images. Machines get a copy of it, its layers by hard
// links: nothing ever writes into a layer, so this takes 0.1 s where loading them takes 5.
func (p *Provider) dockerStore(ctx context.Context, box string, images artifact.Images) (string, error) {
	inputs := []string{box, "store 1", scripts.Text("docker-store.sh")}
	for _, img := range images.List() {
		inputs = append(inputs, img.Ref, img.ID)
	}
	dir, err := p.Store.Get(ctx, artifact.Recipe{
		Name: "docker", What: "loading the images into a Docker store", Inputs: inputs,
		Make: func(ctx context.Context, out string) error {
			return p.pipe(ctx, func(w io.Writer) error { return tarOf(w, images.Etcd.Archive, images.Node.Archive) },
				"bash", "-c", scripts.Text("docker-store.sh"), "docker-store.sh", box, filepath.Join(out, "docker"))
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
			return p.pipe(ctx, func(w io.Writer) error { return copyTo(w, file) }, "install", "-m", "0755", "/dev/stdin", filepath.Join(out, "rootfs"))
		},
	})
	return filepath.Join(dir, "rootfs"), err
}

// tarOf writes files of the user's into a tar.
func tarOf(w io.Writer, files ...string) error {
	t := tar.NewWriter(w)
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			return err
		}
		if err := t.WriteHeader(&tar.Header{Name: filepath.Base(file), Mode: 0o600, Size: info.Size()}); err != nil {
			return err
		}
		if err := copyTo(t, file); err != nil {
			return err
		}
	}
	return t.Close()
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
			return p.pipe(ctx, func(w io.Writer) error { return copyTo(w, filepath.Join(dir, artifact.ToolchainTar)) },
				"tar", "--extract", "--no-same-owner", "--preserve-permissions", "--directory="+target)
		},
	})
	return filepath.Join(layer, "root"), err
}

const buildTimeout = bootTimeout * 4

// routeMetric is the default route's. It leads nowhere: any other default route that somebody adds comes before it.
const routeMetric = 100
