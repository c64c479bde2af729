//go:build linux

// Rootfs mounts a machine's root file system where the machine has a user namespace. On the disk all files keep the owners
// that they have in every machine; a machine sees them through idmapped mounts (mount_setattr(2)), so that machines whose
// users have different numbers on this computer share layers. It is compiled on this computer and run as root, in the mount
// namespace that the machine's own is made from. (util-linux can't map before 2.39, and Debian 12 has 2.38.)
//
//	rootfs BASE try DIR...                 whether these directories can be mapped, or what is above one that isn't there; mounts nothing
//	rootfs BASE mount ROOT OWN LAYERS      mounts LAYERS (as overlay's lowerdir) and OWN/upper on ROOT
//
// BASE is the number on this computer of the machine's root.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// users is how many users and groups a machine has.
const users = 65536

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 3 {
		return errors.New("usage: rootfs BASE try DIR... | rootfs BASE mount ROOT OWN LAYERS")
	}
	base, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	ns, err := userNamespace(base)
	if err != nil {
		return fmt.Errorf("this computer gives no user namespace, which the machines need: %w; see the settings kernel.unprivileged_userns_clone and user.max_user_namespaces", err)
	}
	defer ns.Close()
	switch rest := args[2:]; {
	case args[1] == "try":
		for _, dir := range rest {
			fd, err := mapped(ns, dir)
			for errors.Is(err, unix.ENOENT) { // not there yet, or just removed: what is above it has the same file system
				dir = filepath.Dir(dir)
				fd, err = mapped(ns, dir)
			}
			if err != nil {
				return err
			}
			_ = unix.Close(fd) // and the mount goes
		}
		return nil
	case args[1] == "mount" && len(rest) == 3:
		return mount(ns, base, rest[0], rest[1], strings.Split(rest[2], ":"))
	}
	return fmt.Errorf("rootfs %s: what is that", strings.Join(args, " "))
}

// userNamespace returns one in which this computer's users from base on are 0 and following. The process that has it
// is gone; the namespace stays as long as the file.
func userNamespace(base int) (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: base, Size: users}}
	child := exec.Command("/bin/cat") // until its input ends
	child.Stdin = r
	child.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids}
	if err := child.Start(); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/user", child.Process.Pid))
	return ns, errors.Join(err, w.Close(), child.Wait())
}

// mapped returns a mount of dir that is nowhere yet, with owners as seen in ns.
func mapped(ns *os.File, dir string) (int, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("open_tree %s: %w", dir, err)
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(ns.Fd())}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("the file system of %s can't show files with other owners (mount_setattr: %w), which the machines need; ext4, xfs and btrfs can", dir, err)
	}
	return fd, nil
}

// mount mounts a machine's root file system.
func mount(ns *os.File, base int, root, own string, layers []string) error {
	// The parts have to be somewhere: on root, below what comes there in the end.
	if err := unix.Mount("lab", root, "tmpfs", 0, "size=1m,mode=0700"); err != nil {
		return fmt.Errorf("tmpfs on %s: %w", root, err)
	}
	var shown []string
	for i, dir := range append(layers, own) {
		fd, err := mapped(ns, dir)
		if err != nil {
			return err
		}
		target := filepath.Join(root, strconv.Itoa(i))
		if err := os.Mkdir(target, 0o700); err != nil {
			return err
		}
		if err := unix.MoveMount(fd, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
			return fmt.Errorf("move_mount %s: %w", target, err)
		}
		shown = append(shown, target)
	}
	last := len(shown) - 1
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s/upper,workdir=%[2]s/work", strings.Join(shown[:last], ":"), shown[last])
	// An overlay makes its files as whoever mounts it, and this computer's root is nobody in the mapped directories: it would
	// be read-only, without a word. So the machine's root mounts it, with all capabilities.
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_SECUREBITS, 1<<2, 0, 0, 0); err != nil { // SECBIT_NO_SETUID_FIXUP: another user keeps them
		return fmt.Errorf("prctl: %w", err)
	}
	for _, set := range []func(int) (int, error){unix.SetfsgidRetGid, unix.SetfsuidRetUid} {
		if _, err := set(base); err != nil {
			return fmt.Errorf("setfsuid, setfsgid: %w", err)
		}
	}
	if err := unix.Mount("lab", root, "overlay", 0, options); err != nil {
		return fmt.Errorf("overlay on %s (%s): %w", root, options, err)
	}
	return nil
}
