// Package controller is the computer that the targets run on: what is installed there, and how to become root.
package controller

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"golang.org/x/term"

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
		return exists(n.Program)
	}
	if _, err := exec.LookPath(n.Program); err == nil {
		return true
	}
	return exists("/usr/sbin/" + n.Program)
}

// Missing gives the packages of the needs that are not met, each once.
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

// Installable refuses when something is missing that Install could not install, and says what to do. It changes nothing.
func Installable(needs []Need) error {
	missing := Missing(needs)
	list := strings.Join(missing, " ")
	switch {
	case len(missing) == 0:
		return nil
	case !Need{Program: "apt-get"}.met():
		return fmt.Errorf("this is %s, and these packages of Debian's are missing: %s; install what they hold, or use Debian 12 or newer", osName(), list)
	case os.Getenv("LAB_APT") == "never":
		return fmt.Errorf("packages are missing, and LAB_APT=never forbids to install them; run:\n  %s",
			command.Quote(append([]string{"sudo"}, installLine(missing)...)...))
	}
	return nil
}

func installLine(packages []string) []string {
	return append([]string{"apt-get", "install", "--yes", "--no-install-recommends"}, packages...)
}

// Install installs what is missing from Debian's packages, and tells notice before.
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
		// A list that can't be reached is no reason to stop while the packages can be had from the others.
		notice("apt-get update had errors; going on with what it could read")
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

// BecomeRoot sees that commands can be run as root, and lets sudo ask for the password where there is someone to ask.
// what needs it is for the text: "embedded machines".
func BecomeRoot(ctx context.Context, run *command.Runner, what string, notice func(format string, args ...any)) error {
	if os.Geteuid() == 0 {
		return nil
	}
	remedy := what + " need root: run this as root, or as a user whom sudo lets"
	if _, err := exec.LookPath("sudo"); err != nil {
		return errors.New(remedy + " (sudo is not installed)")
	}
	if _, err := run.Root(ctx, "true"); err == nil {
		return nil
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return errors.New(remedy + " without a password, as there is no terminal to ask for it on")
	}
	notice("%s need root; sudo may ask for your password", what)
	ask := exec.CommandContext(ctx, "sudo", "-v")
	ask.Stdin, ask.Stdout, ask.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := ask.Run(); err != nil {
		return fmt.Errorf("%s: %w", remedy, err)
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
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
