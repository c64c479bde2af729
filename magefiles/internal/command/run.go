package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// Here is what errors call the computer that this runs on.
const Here = "this computer"

// Runner runs commands on this computer.
type Runner struct {
	Log *Log

	root atomic.Bool // whether commands can be run as root, see KeepRoot
}

// Cmd is one command.
type Cmd struct {
	Args   []string
	Dir    string
	Env    []string // added to the environment
	Stdin  io.Reader
	Stdout io.Writer // nil: Run returns it
	// Said gets each line of standard error as it is written. It says whether the line told nothing but how far the command is: then it is
	// in no log and no error. May be nil.
	Said    func(line string) bool
	Root    bool          // as root, through sudo unless this process is root already; see asRoot
	Timeout time.Duration // 0: a minute
	Grace   time.Duration // how long it may take to end on SIGINT when ctx ends; 0: SIGTERM and 3 s
	Hint    string        // what to do when it fails
}

// Run runs c and waits until it has ended. It returns its standard output. The error is an *Error, followed by c.Hint. A
// command that is still at work when ctx or its time ends is ended, with everything that it started and that has not left
// its process group.
func (r *Runner) Run(ctx context.Context, c Cmd) (string, error) {
	if c.Timeout == 0 {
		c.Timeout = time.Minute
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.Timeout, fmt.Errorf("not done after %s", c.Timeout))
	defer cancel()
	p := c.own(ctx)
	if c.Root {
		var err error
		if p, err = c.asRoot(ctx, os.Geteuid() != 0); err != nil {
			return "", err
		}
	}
	var stdout, stderr bytes.Buffer
	p.Stdout, p.Stderr = &stdout, &stderr
	if c.Stdout != nil {
		p.Stdout = c.Stdout
	}
	heard := &listener{said: c.Said, rest: &stderr}
	if c.Said != nil {
		p.Stderr = heard
	}
	start := time.Now()
	err := p.ended(p.Run())
	heard.end()
	r.Log.Command(Here, p.shown, time.Since(start), stdout.String(), stderr.String(), err)
	if err == nil {
		return stdout.String(), nil
	}
	return stdout.String(), c.failed(ctx, &Error{Where: Here, Line: Line(p.shown...), Status: -1, Stderr: stderr.String(), Log: r.Log.Path(), Err: err})
}

// listener has each line heard that is written to it, and keeps those that tell something.
type listener struct {
	said func(string) bool
	rest *bytes.Buffer
	line []byte // that has no end yet
}

func (l *listener) Write(p []byte) (int, error) {
	l.line = append(l.line, p...)
	for {
		end := bytes.IndexByte(l.line, '\n')
		if end < 0 {
			return len(p), nil
		}
		if !l.said(string(l.line[:end])) {
			l.rest.Write(l.line[:end+1])
		}
		l.line = l.line[end+1:]
	}
}

// end keeps a last line that has no end.
func (l *listener) end() { l.rest.Write(l.line) }

// process is a command that is ready to be run, once.
type process struct {
	*exec.Cmd
	shown []string              // the command line for people
	ended func(err error) error // to be called with Run's result; returns the command's
}

// own makes the process of a command that belongs to this process' user.
func (c Cmd) own(ctx context.Context) process {
	p := c.process(ctx, c.Args)
	p.shown, p.Stdin = c.Args, c.Stdin
	p.Env = append(p.Env, c.Env...)
	sig, grace := c.ending()
	p.Cancel = func() error { return syscall.Kill(-p.Process.Pid, sig) }
	p.WaitDelay = grace
	p.ended = func(err error) error {
		if p.Process != nil && ctx.Err() != nil {
			// Whatever did not end on the first signal.
			_ = syscall.Kill(-p.Process.Pid, syscall.SIGKILL)
		}
		return err
	}
	return p
}

func (c Cmd) process(ctx context.Context, args []string) process {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = c.Dir
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	// In a process group of its own, so that its children get signals too. Not in a session: sudo's ticket is the terminal's.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return process{Cmd: cmd}
}

// ending is the signal that asks the command to end, and how long it may take until it is killed.
func (c Cmd) ending() (syscall.Signal, time.Duration) {
	if c.Grace > 0 {
		return syscall.SIGINT, c.Grace
	}
	return syscall.SIGTERM, 3 * time.Second
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
