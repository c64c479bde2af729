// Package computer is this computer, the one that the targets run on: what is installed here, and how to become root.
package computer

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bitfield/script"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
)

// Need is something that is used on this computer, and the Debian package that has it.
type Need struct {
	Program string // in a directory of programs, or a file with its whole path
	Package string
}

// met looks also where a user's PATH may not lead.
func (n Need) met() bool {
	if strings.HasPrefix(n.Program, "/") {
		return Exists(n.Program)
	}
	if _, err := exec.LookPath(n.Program); err == nil {
		return true
	}
	return Exists("/usr/sbin/" + n.Program)
}

// Missing returns the packages of the needs that are not met, sorted, each once.
func Missing(needs []Need) []string {
	var missing []string
	for _, n := range needs {
		if !n.met() {
			missing = append(missing, n.Package)
		}
	}
	slices.Sort(missing)
	return slices.Compact(missing)
}

// Installable returns an error when something is missing that Install can't install; the error says what to do. It changes
// nothing.
func Installable(needs []Need) error {
	missing := Missing(needs)
	list := strings.Join(missing, " ")
	switch {
	case len(missing) == 0:
		return nil
	case !Need{Program: "apt-get"}.met():
		return fmt.Errorf("these Debian packages are missing: %[2]s; this is %[1]s, without apt-get: install what is in them by hand, or use Debian 12 or newer", osName(), list)
	case os.Getenv("LAB_APT") == "never":
		return fmt.Errorf("packages are missing, and LAB_APT=never forbids installing them; run:\n  %s",
			command.Quote(append([]string{"sudo"}, installLine(missing)...)...))
	}
	return nil
}

func installLine(packages []string) []string {
	return append([]string{"apt-get", "install", "--yes", "--no-install-recommends"}, packages...)
}

// Install installs the Debian packages that are missing, and announces them to notice first.
func Install(ctx context.Context, run *command.Runner, needs []Need, notice func(format string, args ...any)) error {
	missing := Missing(needs)
	if len(missing) == 0 {
		return nil
	}
	if err := Installable(needs); err != nil {
		return err
	}
	notice("installing with apt-get: %s (LAB_APT=never forbids it)", strings.Join(missing, " "))
	if _, err := run.Run(ctx, command.Cmd{Args: []string{"apt-get", "update"}, Root: true, Timeout: 5 * time.Minute}); err != nil {
		// One unreachable list is no reason to stop while the packages can be had from the others.
		notice("apt-get update reported errors; going on with the lists that it could read")
	}
	for _, step := range [][]string{{"dpkg", "--configure", "-a"}, installLine(missing)} { // the first: after an interruption
		if _, err := run.Run(ctx, command.Cmd{
			Args: step, Root: true, Timeout: 15 * time.Minute, Env: []string{"DEBIAN_FRONTEND=noninteractive"},
			Hint: "run it by hand to see more: " + command.Quote(append([]string{"sudo"}, step...)...),
		}); err != nil {
			return err
		}
	}
	return nil
}

// Exists says whether something is at a path.
func Exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// osName is the system's name for people, such as "Debian GNU/Linux 12 (bookworm)"; see os-release(5).
func osName() string {
	name, err := script.File("/etc/os-release").Match("PRETTY_NAME=").First(1).Replace("PRETTY_NAME=", "").Replace(`"`, "").String()
	if name = strings.TrimSpace(name); err != nil || name == "" {
		return "an unknown system"
	}
	return name
}

// FreeMemory is how much memory there is for more programs, in MB; 0 where it isn't known.
func FreeMemory() int64 {
	text, err := script.File("/proc/meminfo").Match("MemAvailable:").Column(2).String() // in kB
	if err != nil {
		return 0
	}
	kb, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil {
		return 0
	}
	return kb >> 10
}
