package box

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/computer"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/scripts"
	"github.com/calico-cni-lab/lab/templates"
)

// The kinds of virtual machines that there is a box for, as Vagrant calls its providers.
const (
	Libvirt    = "libvirt"
	VirtualBox = "virtualbox"
)

// Arch is the only GOARCH that boxes are made for: the boot loader knows no other.
const Arch = "amd64"

// DiskNeeds are the programs that making a disk takes.
var DiskNeeds = []computer.Need{
	{Program: "mmdebstrap", Package: "mmdebstrap"},
	{Program: "sfdisk", Package: "fdisk"},
	{Program: "mkfs.ext4", Package: "e2fsprogs"},
	{Program: "extlinux", Package: "extlinux"},
	{Program: "/usr/lib/syslinux/mbr/mbr.bin", Package: "syslinux-common"},
	{Program: "qemu-img", Package: "qemu-utils"},
}

// vmPackages are on virtual machines beside packages. The kernel is the one for clouds: it has the drivers of virtual
// hardware, and takes a fifth of the other's space.
var vmPackages = []string{"linux-image-cloud-" + Arch, "initramfs-tools", "udev", "zstd"}

// diskSize is how large a machine finds its disk, in GB. It takes no more space than what is on it.
const diskSize = 8

// buildTimeout is for steps that take a minute where the disk is slow.
const buildTimeout = 10 * time.Minute

const rawDisk = "disk.img"

// What box.ovf names.
const (
	vmdk     = "box.vmdk"
	sizeMark = "DISKSIZE" // the disk's size in bytes comes here
)

// disk is the disk of a virtual machine: the recipe of Tree, a kernel and a boot loader. It is for a store below CacheDir.
func (r Recipe) disk() (artifact.Recipe, error) {
	files, err := filesOf("box", "vm")
	if err != nil {
		return artifact.Recipe{}, err
	}
	setup := scripts.Text("box-setup.sh") + "\n" + strings.TrimPrefix(scripts.Text("vm-setup.sh"), "#!/bin/sh\n")
	all := append(append([]string(nil), packages...), vmPackages...)
	inputs, err := r.debian().Inputs()
	return artifact.Recipe{
		Name:   "vmdisk",
		What:   "making a virtual machine's disk from Debian " + r.Debian,
		Inputs: append(append(inputs, all...), setup, scripts.Text("vm-disk.sh"), hex.EncodeToString(files), strconv.Itoa(diskSize), "disk 1"),
		Make: func(ctx context.Context, out string) error {
			tree, maker := filepath.Join(out, "tree.tar"), filepath.Join(out, "vm-disk.sh")
			if err := r.bootstrap(ctx, out, tree, all, files, setup); err != nil {
				return err
			}
			for _, c := range []command.Cmd{
				{Args: []string{"install", "-m", "0755", "/dev/stdin", maker}, Stdin: strings.NewReader(scripts.Text("vm-disk.sh"))},
				{Args: []string{"bash", maker, tree, filepath.Join(out, rawDisk), fmt.Sprintf("%dG", diskSize)}, Timeout: buildTimeout},
				{Args: []string{"bash", "-c", `tar -x -O -f "$1" "$2" >"$3"`, "bash", tree, "./" + artifact.Packages, filepath.Join(out, path.Base(artifact.Packages))}},
				{Args: []string{"rm", "--", tree}},
			} {
				c.Root = true
				if _, err := r.Run.Run(ctx, c); err != nil {
					return err
				}
			}
			return nil
		},
	}, err
}

// File is a box for `vagrant box add`.
type File struct {
	Path   string
	Recipe string // identifies what it was made from; the box carries it, and Vagrant shows it
}

// Make makes the lab's own box for one of Vagrant's providers, and before it what that takes on this computer. A box that is there, or in
// stock, takes nothing.
func Make(ctx context.Context, o machine.Options, provider string) (File, error) {
	if o.Maker == nil || o.Store == nil {
		return File{}, machine.ErrNoLab
	}
	prepare := func(ctx context.Context) error {
		if err := computer.BecomeRoot(ctx, o.Run, "virtual machine disks", o.Notice); err != nil {
			return err
		}
		return computer.Install(ctx, o.Run, DiskNeeds, o.Notice)
	}
	return Recipe{Debian: o.Maker.Debian, Run: o.Run}.box(ctx, prepare, o.Store, o.Maker.Store, provider)
}

// box makes the box for one of Vagrant's providers. Its disk is kept in trees, which is one below CacheDir, the box itself
// in store, where it belongs to the user.
func (r Recipe) box(ctx context.Context, prepare func(context.Context) error, trees, store *artifact.Store, provider string) (File, error) {
	ofDisk, err := r.disk()
	if err != nil {
		return File{}, err
	}
	vagrantfile, err := fs.ReadFile(templates.FS, "vagrant/"+provider+".rb")
	if err != nil {
		return File{}, err
	}
	ovf, err := fs.ReadFile(templates.FS, "vagrant/box.ovf")
	if err != nil {
		return File{}, err
	}
	recipe := artifact.Recipe{
		Name:   "box-" + provider,
		What:   "making the box for " + provider,
		Inputs: []string{ofDisk.Key(), string(vagrantfile), string(ovf), "box 3"},
	}
	key := recipe.Key()
	recipe.Make = func(ctx context.Context, out string) error {
		if err := prepare(ctx); err != nil {
			return err
		}
		disk, err := trees.Get(ctx, ofDisk)
		if err != nil {
			return err
		}
		metadata := map[string]any{"provider": provider}
		image, format := "box.img", []string{"-O", "qcow2"}
		if provider == VirtualBox {
			image, format = vmdk, []string{"-O", "vmdk", "-o", "subformat=streamOptimized"}
			ovf := bytes.ReplaceAll(ovf, []byte(sizeMark), []byte(strconv.Itoa(diskSize<<30)))
			if err := os.WriteFile(filepath.Join(out, "box.ovf"), ovf, 0o644); err != nil {
				return err
			}
		} else {
			metadata["format"], metadata["virtual_size"] = "qcow2", diskSize
		}
		if err := writeJSON(filepath.Join(out, "metadata.json"), metadata); err != nil {
			return err
		}
		if err := writeJSON(filepath.Join(out, "info.json"), map[string]string{InfoKey: key}); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(out, "Vagrantfile"), vagrantfile, 0o644); err != nil {
			return err
		}
		convert := append([]string{"qemu-img", "convert", "-f", "raw"}, format...)
		convert = append(convert, filepath.Join(disk, rawDisk), filepath.Join(out, image))
		// One file from here: Vagrant unpacks it again.
		pack := []string{"bash", "-c", `cd "$1" && tar --create --remove-files --file=package.box *`, "bash", out}
		// What a machine will read is what was made: VirtualBox' image can't be tried where the lab is tested.
		compare := []string{"qemu-img", "compare", "-f", "raw", "-F", format[1], filepath.Join(disk, rawDisk), filepath.Join(out, image)}
		// Beside it, for the list of what is in a bundle.
		list := []string{"cp", "--", filepath.Join(disk, path.Base(artifact.Packages)), out}
		for _, args := range [][]string{convert, compare, pack, list} {
			if _, err := r.Run.Run(ctx, command.Cmd{Args: args, Timeout: buildTimeout}); err != nil {
				return err
			}
		}
		return nil
	}
	dir, err := store.Get(ctx, recipe)
	return File{filepath.Join(dir, "package.box"), key}, err
}

// InfoKey is where a box's info.json has File.Recipe.
const InfoKey = "recipe"

func writeJSON(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}
