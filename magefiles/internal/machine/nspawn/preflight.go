package nspawn

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/computer"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
)

// Needs are the programs that are called on this computer.
var Needs = []computer.Need{
	{Program: "systemd-nspawn", Package: "systemd-container"},
	{Program: "mmdebstrap", Package: "mmdebstrap"},
	{Program: artifact.DebianKeyring, Package: "debian-archive-keyring"}, // Ubuntu lacks it
	{Program: "socat", Package: "socat"},
	{Program: "ip", Package: "iproute2"},
	{Program: "ssh", Package: "openssh-client"},
	{Program: "nsenter", Package: "util-linux"},
}

// freeSpace is what a lab needs below machine.Home: box, Docker store and what the machines write. Measured: 0.9 GB.
const freeSpace = 2 << 30

// theDefault is why nspawn containers, where they can be had.
const theDefault = "the default; LAB_HARDWARE asks for another kind"

// chosen implements machine.Kind: this computer can have nspawn containers, and this user may be root, for all that can be seen without
// asking for a password.
func chosen(ctx context.Context, o machine.Options) (reason string, ok bool) {
	if reason, ok := possible(); !ok {
		return reason, false
	}
	if os.Geteuid() == 0 || o.Run != nil && sudoer(ctx, o.Run) {
		return theDefault, true
	}
	return "it needs root, and this user isn't known to be one who may use sudo", false
}

// otherwise implements machine.Kind: sudo may let the user do it.
func otherwise(context.Context, machine.Options) (reason string, ok bool) {
	if reason, ok := possible(); !ok {
		return reason, false
	}
	_, err := exec.LookPath("sudo")
	return theDefault, err == nil
}

// possible says why not, in a line, where this computer can't have nspawn containers.
func possible() (reason string, ok bool) {
	if runtime.GOOS != "linux" {
		return "it needs Linux, and this is " + runtime.GOOS, false
	}
	if err := computer.Installable(Needs); err != nil {
		reason, _, _ = strings.Cut(err.Error(), "\n")
		return reason, false
	}
	return "", true
}

// sudoers are the groups whose members may use sudo on the usual distributions.
var sudoers = []string{"sudo", "wheel", "admin"}

func sudoer(ctx context.Context, run *command.Runner) bool {
	if _, err := exec.LookPath("sudo"); err != nil {
		return false
	}
	me, err := user.Current()
	if err != nil {
		return false
	}
	groups, err := me.GroupIds()
	if err != nil {
		return false
	}
	for _, name := range sudoers {
		if g, err := user.LookupGroup(name); err == nil && slices.Contains(groups, g.Gid) {
			return true
		}
	}
	_, err = run.Root(ctx, "true")
	return err == nil
}

// Preflight implements machine.Provider.
func (p *Provider) Preflight(ctx context.Context) error {
	if runtime.GOOS != "linux" {
		return fmt.Errorf("nspawn containers need Linux, and this is %s; run the lab on a Debian 12 machine", runtime.GOOS)
	}
	if err := p.checkSocketPaths(); err != nil {
		return err
	}
	// Whether this can be done at all comes before who may do it.
	if err := errors.Join(p.checkOwner(), checkKernel(), artifact.RoomFor(machine.Home, freeSpace)); err != nil {
		return err
	}
	if err := p.becomeRoot(ctx); err != nil {
		return err
	}
	return computer.Installable(Needs)
}

func (p *Provider) checkSocketPaths() error {
	for _, m := range p.Plan.Machines {
		if path := p.socket(m.Name); len(path) > maxSocketPath {
			return fmt.Errorf("%s is longer than the %d bytes that a socket's path may have; shorten the lab's name in lab.yaml", path, maxSocketPath)
		}
	}
	return nil
}

// becomeRoot checks that commands can be run as root.
func (p *Provider) becomeRoot(ctx context.Context) error {
	return computer.BecomeRoot(ctx, p.Run, "nspawn containers", p.Notice)
}

// install installs what this computer lacks.
func (p *Provider) install(ctx context.Context) error {
	return computer.Install(ctx, p.Run, Needs, p.Notice)
}

// checkKernel checks that there are control groups, and a file system that overlay mounts can be made on.
func checkKernel() error {
	_, err := hierarchy()
	var fs syscall.Statfs_t
	if serr := syscall.Statfs(existing(machine.Home), &fs); serr == nil && fs.Type == 0x794c7630 { // OVERLAYFS_SUPER_MAGIC
		err = errors.Join(err, fmt.Errorf("%s is on an overlay file system, as in a container; the machines need a plain one: mount a volume on %s", existing(machine.Home), machine.Home))
	}
	return err
}

// fit checks that the machines, of which some run, can run on this computer. All that is wrong is said at once.
func (p *Provider) fit(ctx context.Context, running map[string]bool) error {
	checks := []func() error{
		func() error { return p.tryRootfs(ctx) },
		func() error { return p.loadModules(ctx) },
		func() error { return p.checkMemory(running) },
	}
	faults := make([]error, len(checks))
	var all sync.WaitGroup
	for i, check := range checks {
		all.Go(func() { faults[i] = check() })
	}
	all.Wait()
	return errors.Join(faults...)
}

// tryRootfs checks that machines can have user namespaces on this computer and its file systems. It makes nothing.
func (p *Provider) tryRootfs(ctx context.Context) error {
	rootfs, err := p.rootfs(ctx)
	if err != nil {
		return err
	}
	_, err = p.Run.Run(ctx, command.Cmd{
		Args: []string{rootfs, strconv.Itoa(firstUser), "try", p.labDir(), p.Store.Dir, p.Maker.Store.Dir}, Root: true,
		Hint: "use Linux 5.19 or newer and a local file system, for LAB_CACHE too, or another hardware layer: LAB_HARDWARE=vagrant",
	})
	return err
}

// existing returns path, or the nearest directory above it that is there.
func existing(path string) string {
	for !computer.Exists(path) {
		path = filepath.Dir(path)
	}
	return path
}
