// Package develop is the targets for work on the lab itself: tests, lint, pins, boxes, measurements.
package develop

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/computer"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/run"
)

// install installs what is missing on this computer.
func install(ctx context.Context, r *run.Run, needs []computer.Need) error {
	if len(computer.Missing(needs)) == 0 {
		return nil
	}
	if err := computer.Installable(needs); err != nil {
		return err
	}
	if err := computer.BecomeRoot(ctx, r.Exec, "Debian packages", r.Console.Notice); err != nil {
		return err
	}
	return computer.Install(ctx, r.Exec, needs, r.Console.Notice)
}

// shown is a command whose output goes to the terminal.
type shown struct {
	args  []string
	env   []string // added to the environment
	limit time.Duration
}

// show runs a command in the project's directory. It ends with ctx, children included.
func show(ctx context.Context, r *run.Run, c shown) error {
	ctx, cancel := context.WithTimeoutCause(ctx, c.limit, fmt.Errorf("not done after %s", c.limit))
	defer cancel()
	cmd := exec.CommandContext(ctx, c.args[0], c.args[1:]...)
	cmd.Dir, cmd.Env = r.Root, append(os.Environ(), c.env...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 4 * time.Second
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return fmt.Errorf("%s: %w", command.Line(c.args...), err)
	}
	return nil
}

// mage runs a target on the run's lab as a user would.
func mage(ctx context.Context, r *run.Run, env []string, target string) error {
	out, err := r.Exec.Run(ctx, command.Cmd{
		Args: []string{"go", "tool", "mage", target}, Dir: r.Root, Env: append([]string{"LAB_FILE=" + r.LabFile}, env...), Timeout: time.Hour,
	})
	if err != nil { // a condition that doesn't hold is said there, not on stderr
		err = fmt.Errorf("%w\n%s", err, out)
	}
	return err
}

// options are what boxes are made with.
func options(r *run.Run, l *run.Lab) machine.Options {
	return machine.Options{
		Lab: l.Lab, LabFile: r.LabFile, ProjectDir: r.Root, StateDir: r.StateDir, Run: r.Exec, Maker: l.Maker, Store: r.Trees(), Notice: r.Console.Notice,
	}
}
