package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Here is what errors call the computer that this runs on.
const Here = "this computer"

// Runner runs commands on this computer.
type Runner struct {
	Log *Log
}

// Cmd is one command.
type Cmd struct {
	Args    []string
	Dir     string
	Env     []string // added to the environment
	Stdin   io.Reader
	Root    bool          // as root: through sudo, unless this process is root already
	Timeout time.Duration // 0: a minute
	Grace   time.Duration // how long it may take to end on SIGINT when ctx ends; 0: SIGTERM and 3 s
	Hint    string        // what to do when it fails
}

// Run runs c and waits until it has ended. It returns its standard output. The error is an *Error, followed by c.Hint.
func (r *Runner) Run(ctx context.Context, c Cmd) (string, error) {
	if c.Timeout == 0 {
		c.Timeout = time.Minute
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.Timeout, fmt.Errorf("not done after %s", c.Timeout))
	defer cancel()
	sudo := c.Root && os.Geteuid() != 0
	cmd := c.prepare(ctx, sudo)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr

	start := time.Now()
	err := cmd.Run()
	if cmd.Process != nil && ctx.Err() != nil {
		// Whatever did not end on the first signal.
		_ = signalGroup(cmd.Process.Pid, syscall.SIGKILL, sudo)
	}
	r.Log.Command(Here, cmd.Args, time.Since(start), stdout.String(), stderr.String(), err)
	if err == nil {
		return stdout.String(), nil
	}
	return stdout.String(), c.failed(ctx, &Error{Where: Here, Line: Line(cmd.Args...), Status: -1, Stderr: stderr.String(), Log: r.Log.Path(), Err: err})
}

// prepare makes the process, which ends with ctx, and its children too.
func (c Cmd) prepare(ctx context.Context, sudo bool) *exec.Cmd {
	args := c.Args
	if sudo {
		args = append([]string{"sudo", "-n", "--"}, args...)
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.Stdin = c.Dir, c.Stdin
	cmd.Env = append(append(os.Environ(), "LC_ALL=C.UTF-8"), c.Env...)
	// In a process group of its own, so that its children get the signal too.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	sig, grace := syscall.SIGTERM, 3*time.Second
	if c.Grace > 0 {
		sig, grace = syscall.SIGINT, c.Grace
	}
	cmd.Cancel = func() error { return signalGroup(cmd.Process.Pid, sig, sudo) }
	cmd.WaitDelay = grace
	return cmd
}

// failed completes the error of a command: with its exit status, or with why it was ended, and with c's hint.
func (c Cmd) failed(ctx context.Context, ce *Error) error {
	if ctx.Err() != nil {
		// The hint is about a command that failed by itself.
		ce.Err = context.Cause(ctx)
		return ce
	}
	var ee *exec.ExitError
	if errors.As(ce.Err, &ee) {
		ce.Status = ee.ExitCode()
	}
	if c.Hint != "" {
		return fmt.Errorf("%w\n  what to do: %s", ce, c.Hint)
	}
	return ce
}

// signalGroup signals a command's process group. sudo's process belongs to root, so root has to send it; sudo relays it.
func signalGroup(pid int, sig syscall.Signal, sudo bool) error {
	if !sudo {
		return syscall.Kill(-pid, sig)
	}
	return exec.Command("sudo", "-n", "--", "kill", "-"+strconv.Itoa(int(sig)), "--", "-"+strconv.Itoa(pid)).Run()
}

// Output is Run for a plain command line. It returns standard output without leading and trailing space.
func (r *Runner) Output(ctx context.Context, args ...string) (string, error) {
	out, err := r.Run(ctx, Cmd{Args: args})
	return strings.TrimSpace(out), err
}

// Root is Output as root.
func (r *Runner) Root(ctx context.Context, args ...string) (string, error) {
	out, err := r.Run(ctx, Cmd{Args: args, Root: true})
	return strings.TrimSpace(out), err
}
