// Package box makes what machines start from: one recipe of Debian packages, files and settings, as a tree of files for
// nspawn containers and, with a kernel and a boot loader, as a box for Vagrant.
package box

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/scripts"
	"github.com/calico-cni-lab/lab/templates"
)

// User is the login user of every machine that is made from a box, as Vagrant has it.
const User = "vagrant"

// UID is the user's number, and its group's.
const UID = 1000

// packages are on every machine.
var packages = []string{
	"systemd", "systemd-sysv", "dbus", "openssh-server", "sudo", "iproute2", "iptables", "ipset", "iputils-ping",
	"docker.io", "ca-certificates", "curl", "jq", "conntrack", "procps", "kmod", "less", "tcpdump",
	"python3", // for Ansible's modules, see ansible/
}

// Recipe is what a box is made of.
type Recipe struct {
	Debian string // release
	Run    *command.Runner
}

// CacheDir is where the trees of this user lie. It is named for the user and belongs to root, because root works in it.
func CacheDir() string { return filepath.Join(machine.Home, "cache", fmt.Sprint(os.Getuid())) }

// root is the directory of the tree in its artifact.
const root = "root"

// Tree returns the file system tree that nspawn containers share, read-only. store is one below CacheDir.
func (r Recipe) Tree(ctx context.Context, store *artifact.Store) (string, error) {
	recipe, err := r.tree()
	if err != nil {
		return "", err
	}
	dir, err := store.Get(ctx, recipe)
	return filepath.Join(dir, root), err
}

func (r Recipe) tree() (artifact.Recipe, error) {
	files, err := filesOf("box")
	if err != nil {
		return artifact.Recipe{}, err
	}
	inputs, err := r.debian().Inputs()
	return artifact.Recipe{
		Name:   "box",
		What:   "making the machines' box from Debian " + r.Debian,
		Inputs: append(append(inputs, packages...), scripts.Text("box-setup.sh"), hex.EncodeToString(files)),
		Make: func(ctx context.Context, out string) error {
			return r.bootstrap(ctx, out, filepath.Join(out, root), packages, files, scripts.Text("box-setup.sh"))
		},
	}, err
}

// Key is of Tree's artifact.
func (r Recipe) Key() (string, error) {
	recipe, err := r.tree()
	return recipe.Key(), err
}

// Stocked says whether a stock, which may be nil, has the tree.
func (r Recipe) Stocked(ctx context.Context, stock artifact.Stock) (bool, error) {
	key, err := r.Key()
	if err != nil || stock == nil {
		return false, err
	}
	return stock.Has(ctx, key, true)
}

// Unstock writes the tree as a tar. After an error nothing of it may be used.
func (r Recipe) Unstock(ctx context.Context, stock artifact.Stock, out io.Writer) error {
	key, err := r.Key()
	if err == nil && stock == nil {
		err = fmt.Errorf("there is no %s any more, and no bundle to take it from", key)
	}
	if err != nil {
		return err
	}
	return stock.Tar(ctx, key, root, true, out)
}

// Parts are what a box is made of, by who has a Debian to start from.
type Parts struct {
	Packages []string
	Files    []byte // a tar
	Setup    string // script to run on the tree, which is its argument
}

// PartsOf returns the parts of every box.
func PartsOf() (Parts, error) {
	files, err := filesOf("box")
	return Parts{packages, files, scripts.Text("box-setup.sh")}, err
}

// DockerFiles are, as a tar, what a box has besides where its machines are Docker containers.
func DockerFiles() ([]byte, error) { return filesOf("docker") }

// bootstrap makes target from packages, files and a script to run on it. temp is for the files that mmdebstrap takes by name.
func (r Recipe) bootstrap(ctx context.Context, temp, target string, packages []string, files []byte, setup string) error {
	tarFile, setupFile := filepath.Join(temp, "files.tar"), filepath.Join(temp, "setup.sh")
	for name, content := range map[string]string{tarFile: string(files), setupFile: setup} {
		install := command.Cmd{Args: []string{"install", "-m", "0755", "/dev/stdin", name}, Stdin: strings.NewReader(content), Root: true}
		if _, err := r.Run.Run(ctx, install); err != nil {
			return err
		}
	}
	return r.debian().Bootstrap(ctx, target, nil, packages, tarFile, setupFile)
}

func (r Recipe) debian() artifact.Debian { return artifact.Debian{Release: r.Debian, Run: r.Run} }

// filesOf are the files of directories of templates, as one tar.
func filesOf(dirs ...string) ([]byte, error) {
	t := NewFiles()
	for _, dir := range dirs {
		sub, err := fs.Sub(templates.FS, dir)
		if err != nil {
			return nil, err
		}
		err = fs.WalkDir(sub, ".", func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			data, err := fs.ReadFile(sub, name)
			if err != nil {
				return err
			}
			mode := int64(0o644)
			if bytes.HasPrefix(data, []byte("#!")) {
				mode = 0o755
			}
			return t.Add("/"+name, data, mode, 0)
		})
		if err != nil {
			return nil, err
		}
	}
	return t.Tar()
}

// Files writes files into a tar, with the directories above them.
type Files struct {
	buf  bytes.Buffer
	w    *tar.Writer
	dirs map[string]bool
}

// NewFiles returns an empty tar.
func NewFiles() *Files {
	t := &Files{dirs: map[string]bool{"/": true}}
	t.w = tar.NewWriter(&t.buf)
	return t
}

// Add adds a file; owner is the number of its user and its group.
func (t *Files) Add(name string, content []byte, mode int64, owner int) error {
	if err := t.dir(path.Dir(name), owner); err != nil {
		return err
	}
	hdr := &tar.Header{Name: name[1:], Mode: mode, Size: int64(len(content)), Uid: owner, Gid: owner, ModTime: time.Unix(0, 0)}
	if err := t.w.WriteHeader(hdr); err != nil {
		return err
	}
	_, err := t.w.Write(content)
	return err
}

func (t *Files) dir(name string, owner int) error {
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
		owner = UID
	}
	return t.w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name[1:] + "/", Mode: mode, Uid: owner, Gid: owner, ModTime: time.Unix(0, 0)})
}

// Tar ends the tar and returns it.
func (t *Files) Tar() ([]byte, error) {
	err := t.w.Close()
	return t.buf.Bytes(), err
}
