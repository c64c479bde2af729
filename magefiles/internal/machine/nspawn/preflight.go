package nspawn

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/command"
)

// needs are the programs that are called on this computer, and Debian's packages that have them.
var needs = []struct{ program, pkg string }{
	{"systemd-nspawn", "systemd-container"},
	{"mmdebstrap", "mmdebstrap"},
	{"socat", "socat"},
	{"ip", "iproute2"},
	{"ssh", "openssh-client"},
	{"nsenter", "util-linux"},
}

// freeSpace is what a lab needs below Home: box, Docker store and what the machines write. Measured: 0.9 GB.
const freeSpace = 2 << 30

// Preflight implements machine.Provider.
func (p *Provider) Preflight(ctx context.Context) error {
	if runtime.GOOS != "linux" {
		return fmt.Errorf("embedded machines need Linux, this is %s; run the lab on a Debian 12 machine", runtime.GOOS)
	}
	if len(p.socketPathTooLong()) > 0 {
		return errors.New(p.socketPathTooLong())
	}
	// Whether this can be done at all comes before who may do it.
	if err := errors.Join(p.checkOwner(), checkKernel(), artifact.RoomFor(Home, freeSpace)); err != nil {
		return err
	}
	if err := p.becomeRoot(ctx); err != nil {
		return err
	}
	missing := missingPackages()
	list := strings.Join(missing, " ")
	switch {
	case len(missing) == 0:
		return nil
	case !installed("apt-get"):
		return fmt.Errorf("this is %s, and these packages of Debian's are missing: %s; install what they hold, or use Debian 12 or newer", osName(), list)
	case os.Getenv("LAB_APT") == "never":
		return fmt.Errorf("packages are missing, and LAB_APT=never forbids to install them; run:\n  %s",
			command.Quote(append([]string{"sudo"}, installLine(missing)...)...))
	}
	return nil
}

func (p *Provider) socketPathTooLong() string {
	for _, m := range p.Plan.Machines {
		if path := p.socket(m.Name); len(path) > maxSocketPath {
			return fmt.Sprintf("%s is longer than the %d bytes that a socket's path may have; shorten the lab's name in lab.yaml", path, maxSocketPath)
		}
	}
	return ""
}

// becomeRoot sees that commands can be run as root, and lets sudo ask for the password where there is someone to ask.
func (p *Provider) becomeRoot(ctx context.Context) error {
	if os.Geteuid() == 0 {
		return nil
	}
	const remedy = "embedded machines need root: run this as root, or as a user whom sudo lets"
	if _, err := exec.LookPath("sudo"); err != nil {
		return errors.New(remedy + " (sudo is not installed)")
	}
	if _, err := p.Run.Root(ctx, "true"); err == nil {
		return nil
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return errors.New(remedy + " without a password, as there is no terminal to ask for it on")
	}
	p.Notice("embedded machines need root; sudo may ask for your password")
	ask := exec.CommandContext(ctx, "sudo", "-v")
	ask.Stdin, ask.Stdout, ask.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := ask.Run(); err != nil {
		return fmt.Errorf("%s: %w", remedy, err)
	}
	return nil
}

func missingPackages() []string {
	var missing []string
	for _, n := range needs {
		if !installed(n.program) {
			missing = append(missing, n.pkg)
		}
	}
	slices.Sort(missing)
	return slices.Compact(missing)
}

func installLine(packages []string) []string {
	return append([]string{"apt-get", "install", "--yes", "--no-install-recommends"}, packages...)
}

// install installs what this computer lacks, says so before, and makes the cache's directory.
func (p *Provider) install(ctx context.Context) error {
	_, err := p.Run.Root(ctx, "install", "-d", "-o", fmt.Sprint(os.Getuid()), "-g", fmt.Sprint(os.Getgid()), CacheDir())
	missing := missingPackages()
	if err != nil || len(missing) == 0 {
		return err
	}
	p.Notice("installing with apt-get: %s (LAB_APT=never forbids it)", strings.Join(missing, " "))
	if _, err := p.Run.Run(ctx, command.Cmd{Args: []string{"apt-get", "update"}, Root: true, Timeout: 5 * time.Minute}); err != nil {
		// A list that can't be reached is no reason to stop while the packages can be had from the others.
		p.Notice("apt-get update had errors; going on with what it could read")
	}
	for _, step := range [][]string{{"dpkg", "--configure", "-a"}, installLine(missing)} { // the first: after an interruption
		if _, err := p.Run.Run(ctx, command.Cmd{
			Args: step, Root: true, Timeout: 15 * time.Minute, Env: []string{"DEBIAN_FRONTEND=noninteractive"},
			Hint: "run it by hand to see more: " + command.Quote(append([]string{"sudo"}, step...)...),
		}); err != nil {
			return err
		}
	}
	return nil
}

// installed looks also where a user's PATH may not lead.
func installed(program string) bool {
	if _, err := exec.LookPath(program); err == nil {
		return true
	}
	return exists("/usr/sbin/" + program)
}

// checkKernel sees that there are control groups and overlay mounts.
func checkKernel() error {
	_, err := hierarchy()
	var fs syscall.Statfs_t
	if serr := syscall.Statfs(existing(Home), &fs); serr == nil && fs.Type == 0x794c7630 { // OVERLAYFS_SUPER_MAGIC
		err = errors.Join(err, fmt.Errorf("%s is on an overlay file system, as in a container; the machines need a plain one: mount a volume on %s", existing(Home), Home))
	}
	return err
}

// existing gives path, or the nearest directory above it that is there.
func existing(path string) string {
	for !exists(path) {
		path = filepath.Dir(path)
	}
	return path
}

func osName() string {
	data, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return "an unknown system"
	}
	sc := bufio.NewScanner(bytes.NewReader(data))
	for sc.Scan() {
		if name, ok := strings.CutPrefix(sc.Text(), "PRETTY_NAME="); ok {
			return strings.Trim(name, `"`)
		}
	}
	return "an unknown system"
}
