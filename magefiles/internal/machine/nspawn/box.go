package nspawn

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/templates"
)

// packages are on every machine.
var packages = []string{
	"systemd", "systemd-sysv", "dbus", "openssh-server", "sudo", "iproute2", "iptables", "ipset", "iputils-ping",
	"docker.io", "ca-certificates", "curl", "jq", "conntrack", "procps", "kmod", "less", "tcpdump",
}

// box gives the file system tree that all machines share, read-only.
func (p *Provider) box(ctx context.Context) (string, error) {
	d := artifact.Debian{Release: p.Debian, Run: p.Run}
	overlay, err := boxFiles()
	if err != nil {
		return "", err
	}
	dir, err := p.Store.Get(ctx, artifact.Recipe{
		Name:   "box",
		What:   "making the machines' box from Debian " + p.Debian,
		Inputs: append(append(d.Inputs(), packages...), script("box-setup.sh"), hex.EncodeToString(overlay)),
		Root:   true,
		Make: func(ctx context.Context, out string) error {
			// mmdebstrap takes its hooks' files by name.
			files := filepath.Join(out, "files.tar")
			setup := filepath.Join(out, "box-setup.sh")
			for name, content := range map[string]string{files: string(overlay), setup: script("box-setup.sh")} {
				if _, err := p.Run.Run(ctx, command.Cmd{Args: []string{"install", "-m", "0755", "/dev/stdin", name}, Stdin: strings.NewReader(content)}); err != nil {
					return err
				}
			}
			return d.Bootstrap(ctx, filepath.Join(out, "root"), packages, files, setup)
		},
	})
	return filepath.Join(dir, "root"), err
}

// boxFiles are the files of templates/box, as a tar.
func boxFiles() ([]byte, error) {
	sub, err := fs.Sub(templates.FS, "box")
	if err != nil {
		return nil, err
	}
	t := newTree()
	err = fs.WalkDir(sub, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(sub, name)
		mode := int64(0o644)
		if bytes.HasPrefix(data, []byte("#!")) {
			mode = 0o755
		}
		return errorsFirst(err, t.file("/"+name, data, mode, 0))
	})
	if err != nil {
		return nil, err
	}
	return t.bytes()
}

// identity is everything that tells a machine from the others, as a tar for its root directory.
func (p *Provider) identity(m machine.Planned, user ssh.PublicKey, hostKey []byte, hostPublic ssh.PublicKey) (io.Reader, error) {
	var hosts strings.Builder
	fmt.Fprintf(&hosts, "127.0.0.1 localhost\n::1 localhost ip6-localhost\n\n")
	for _, other := range p.Plan.Machines {
		fmt.Fprintf(&hosts, "%s %s\n", other.Address, other.Name)
	}
	// Given from the start, so that systemd doesn't take this for a first boot.
	id := make([]byte, 16)
	if _, err := rand.Read(id); err != nil {
		return nil, err
	}
	network := fmt.Sprintf("[Match]\nName=host0\n\n[Network]\nAddress=%s/%d\nGateway=%s\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n",
		m.Address, p.Plan.Subnet.Bits(), p.Plan.Gateway)
	const vagrant = 1000 // its uid and gid in the box
	t := newTree()
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
		{"/home/vagrant/.ssh/authorized_keys", ssh.MarshalAuthorizedKey(user), 0o600, vagrant},
	} {
		if err := t.file(f.name, f.content, f.mode, f.owner); err != nil {
			return nil, err
		}
	}
	data, err := t.bytes()
	return bytes.NewReader(data), err
}

// dockerStore gives a Docker data directory that has the images. Machines get a copy of it, its layers by hard
// links: nothing ever writes into a layer, so this takes 0.1 s where loading them takes 5.
func (p *Provider) dockerStore(ctx context.Context, box string, images artifact.Images) (string, error) {
	inputs := []string{box, "store 1", script("docker-store.sh")}
	for _, img := range images.List() {
		inputs = append(inputs, img.Ref, img.ID)
	}
	dir, err := p.Store.Get(ctx, artifact.Recipe{
		Name: "docker", What: "loading the images into a Docker store", Inputs: inputs, Root: true,
		Make: func(ctx context.Context, out string) error {
			_, err := p.Run.Run(ctx, command.Cmd{
				Args: []string{"bash", "-c", script("docker-store.sh"), "docker-store.sh", box, filepath.Join(out, "docker"), images.Node.Archive},
				Root: true, Timeout: buildTimeout,
			})
			return err
		},
	})
	return filepath.Join(dir, "docker"), err
}

// toolchainLayer gives a tree with nothing but /usr/local/go.
func (p *Provider) toolchainLayer(ctx context.Context) (string, error) {
	dir, err := p.Toolchain(ctx)
	if err != nil {
		return "", err
	}
	layer, err := p.Store.Get(ctx, artifact.Recipe{
		Name: "golayer", What: "unpacking Go for the machines", Inputs: []string{filepath.Base(dir), "layer 1"}, Root: true,
		Make: func(ctx context.Context, out string) error {
			target := filepath.Join(out, "root/usr/local")
			if _, err := p.Run.Root(ctx, "install", "-d", target); err != nil {
				return err
			}
			_, err := p.Run.Root(ctx, "tar", "--extract", "--no-same-owner", "--directory="+target, "--file="+filepath.Join(dir, artifact.ToolchainTar))
			return err
		},
	})
	return filepath.Join(layer, "root"), err
}

const buildTimeout = bootTimeout * 4

// tree writes files into a tar, with the directories above them.
type tree struct {
	buf  bytes.Buffer
	w    *tar.Writer
	dirs map[string]bool
}

func newTree() *tree {
	t := &tree{dirs: map[string]bool{"/": true}}
	t.w = tar.NewWriter(&t.buf)
	return t
}

func (t *tree) file(name string, content []byte, mode int64, owner int) error {
	if err := t.dir(path.Dir(name), owner); err != nil {
		return err
	}
	hdr := &tar.Header{Name: name[1:], Mode: mode, Size: int64(len(content)), Uid: owner, Gid: owner}
	if err := t.w.WriteHeader(hdr); err != nil {
		return err
	}
	_, err := t.w.Write(content)
	return err
}

func (t *tree) dir(name string, owner int) error {
	if t.dirs[name] {
		return nil
	}
	t.dirs[name] = true
	if err := t.dir(path.Dir(name), 0); err != nil {
		return err
	}
	mode := int64(0o755)
	switch {
	case path.Base(name) == ".ssh":
		mode = 0o700
	case path.Dir(name) == "/home":
		owner = 1000
	}
	return t.w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name[1:] + "/", Mode: mode, Uid: owner, Gid: owner})
}

func (t *tree) bytes() ([]byte, error) {
	err := t.w.Close()
	return t.buf.Bytes(), err
}

func errorsFirst(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
