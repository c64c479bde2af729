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
	Root    bool          // as root: through sudo, where this process isn't
	Timeout time.Duration // 0: a minute
	Grace   time.Duration // how long it may take to end on SIGINT when ctx ends; 0: SIGTERM and 3 s
	Hint    string        // what to do when it fails
}

// Run runs c to its end and gives its standard output. The error is an *Error, with c.Hint behind it.
func (r *Runner) Run(ctx context.Context, c Cmd) (string, error) {
	if c.Timeout == 0 {
		c.Timeout = time.Minute
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.Timeout, fmt.Errorf("not done after %s", c.Timeout))
	defer cancel()
	args := c.Args
	sudo := c.Root && os.Geteuid() != 0
	if sudo {
		args = append([]string{"sudo", "-n", "--"}, args...)
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Dir, c.Stdin, &stdout, &stderr
	cmd.Env = append(append(os.Environ(), "LC_ALL=C.UTF-8"), c.Env...)
	// A group of its own, so that a cancelled command takes its children along.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	end, grace := syscall.SIGTERM, 3*time.Second
	if c.Grace > 0 {
		end, grace = syscall.SIGINT, c.Grace
	}
	cmd.Cancel = func() error { return signalGroup(cmd.Process.Pid, end, sudo) }
	cmd.WaitDelay = grace

	start := time.Now()
	err := cmd.Run()
	if cmd.Process != nil && ctx.Err() != nil {
		// Whatever did not heed SIGTERM.
		_ = signalGroup(cmd.Process.Pid, syscall.SIGKILL, sudo)
	}
	r.Log.Command(Here, args, time.Since(start), stdout.String(), stderr.String(), err)
	if err == nil {
		return stdout.String(), nil
	}
	ce := &Error{Where: Here, Line: Line(args...), Status: -1, Stderr: stderr.String(), Log: r.Log.Path(), Err: err}
	var ee *exec.ExitError
	switch {
	case ctx.Err() != nil:
		ce.Err = context.Cause(ctx)
	case errors.As(err, &ee):
		ce.Status = ee.ExitCode()
	}
	if c.Hint != "" && ctx.Err() == nil {
		return stdout.String(), fmt.Errorf("%w\n  what to do: %s", ce, c.Hint)
	}
	return stdout.String(), ce
}

// signalGroup signals a command's process group. sudo's process belongs to root, and relays what it is sent.
func signalGroup(pid int, sig syscall.Signal, sudo bool) error {
	if !sudo {
		return syscall.Kill(-pid, sig)
	}
	return exec.Command("sudo", "-n", "--", "kill", "-"+strconv.Itoa(int(sig)), "--", "-"+strconv.Itoa(pid)).Run()
}

// Output is Run for a plain command line; it gives standard output without the space around it.
func (r *Runner) Output(ctx context.Context, args ...string) (string, error) {
	out, err := r.Run(ctx, Cmd{Args: args})
	return strings.TrimSpace(out), err
}

// Root is Output as root.
func (r *Runner) Root(ctx context.Context, args ...string) (string, error) {
	out, err := r.Run(ctx, Cmd{Args: args, Root: true})
	return strings.TrimSpace(out), err
}
