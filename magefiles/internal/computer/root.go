package computer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"golang.org/x/term"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/progress"
)

// BecomeRoot checks that commands can be run as root, and lets sudo ask for the password where there is a terminal to ask
// on. From then on sudo knows it until this process ends, and nothing is asked again. what, a plural, says in messages what needs it: "nspawn containers".
func BecomeRoot(ctx context.Context, run *command.Runner, what string, notice func(format string, args ...any)) error {
	if run.IsRoot() {
		return nil
	}
	remedy := what + " need root: run this as root, or as a user who may use sudo"
	if _, err := exec.LookPath("sudo"); err != nil {
		return errors.New(remedy + " (sudo is not installed)")
	}
	if _, err := run.Root(ctx, "true"); err == nil {
		run.KeepRoot(ctx)
		return nil
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return errors.New(remedy + " without a password, because there is no terminal to ask for it on")
	}
	notice("%s need root; sudo may ask for your password", what)
	defer progress.Hold(ctx)()
	ask := exec.CommandContext(ctx, "sudo", "-v") // it gives up by itself after five minutes (passwd_timeout)
	ask.Stdin, ask.Stdout, ask.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := ask.Run(); err != nil {
		return fmt.Errorf("%s: %w", remedy, err)
	}
	if _, err := run.Root(ctx, "true"); err != nil {
		return fmt.Errorf("%s; sudo took the password and wants it again for the next command, see timestamp_timeout in man sudoers: %w", remedy, err)
	}
	run.KeepRoot(ctx)
	return nil
}
