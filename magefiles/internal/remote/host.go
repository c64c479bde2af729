// Package remote is one SSH connection to a machine: commands, files, and errors that say what happened.
package remote

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/scripts"
)

// Host is a machine with an open connection. It is safe for concurrent use.
type Host struct {
	Name     string
	user     string
	client   *ssh.Client
	log      *command.Log
	shares   Shares
	sessions chan struct{} // one token for each session that may be open
	mark     func() string // what the marks of commands begin with; nil: marked
}

// marked is what the mark of each command begins with, by which it can be found on its machine.
const marked = "calico-cni-lab-"

// maxSessions stays under OpenSSH's default of ten sessions a connection (MaxSessions in sshd_config).
const maxSessions = 8

// commandTimeout ends a remote command whose context sets no earlier deadline.
const commandTimeout = 2 * time.Minute

// stepTimeout is for each further step of a script: a container that is made or an interface that is plumbed took 2 s beside other labs.
const stepTimeout = 10 * time.Second

// transferTimeout is commandTimeout for commands that are sent a file: 100 MB into a virtual machine whose CPU is emulated, on a
// computer that has other work, took more than ten minutes.
const transferTimeout = 20 * time.Minute

func newHost(e Endpoint, c *ssh.Client, log *command.Log) *Host {
	return &Host{Name: e.Machine, user: e.User, client: c, log: log, shares: e.Shares, sessions: make(chan struct{}, maxSessions)}
}

// Close ends the connection and every session on it.
func (h *Host) Close() error { return h.client.Close() }

// Run runs a command as the login user and returns its standard output without leading and trailing space.
func (h *Host) Run(ctx context.Context, args ...string) (string, error) {
	return text(h.run(ctx, call{args: args, limit: commandTimeout}))
}

// Sudo is Run as root.
func (h *Host) Sudo(ctx context.Context, args ...string) (string, error) {
	return text(h.run(ctx, call{args: args, limit: commandTimeout, root: true}))
}

// Script runs a shell script as root, with args as $1 and on.
func (h *Host) Script(ctx context.Context, script string, args ...string) (string, error) {
	return h.Steps(ctx, 1, script, args...)
}

// Steps is Script for a script of so many steps that take a while: it has more time for each further one.
func (h *Host) Steps(ctx context.Context, steps int, script string, args ...string) (string, error) {
	limit := commandTimeout + time.Duration(max(0, steps-1))*stepTimeout
	return text(h.run(ctx, call{args: append([]string{"bash", "-s", "--"}, args...), limit: limit, root: true, stdin: strings.NewReader(script)}))
}

// Feed runs a command as root with stdin as its standard input.
func (h *Host) Feed(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	return text(h.run(ctx, call{args: args, limit: transferTimeout, root: true, stdin: stdin}))
}

// Exec runs a command as root, for at most limit, and returns its standard output as it is. It is for output that a program
// reads: the run's log has only the beginning of it.
func (h *Host) Exec(ctx context.Context, limit time.Duration, stdin io.Reader, args ...string) ([]byte, error) {
	return h.run(ctx, call{args: args, limit: limit, root: true, stdin: stdin, brief: true})
}

// Talk is Exec for a command that is talked to while it runs: its standard output goes to stdout as it comes, too.
func (h *Host) Talk(ctx context.Context, limit time.Duration, stdin io.Reader, stdout io.Writer, args ...string) ([]byte, error) {
	return h.run(ctx, call{args: args, limit: limit, root: true, stdin: stdin, stdout: stdout, brief: true})
}

// call is one command on a machine.
type call struct {
	args  []string
	limit time.Duration // unless ctx ends earlier
	root  bool
	stdin io.Reader
	// stdout has the output as it comes, beside what is returned at the end; nil where nobody waits for it.
	stdout io.Writer
	brief  bool // whether the log has only the beginning of its output
}

// briefLog is how many bytes of a brief command's output the log has.
const briefLog = 200

func (h *Host) run(ctx context.Context, c call) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.limit, fmt.Errorf("not done after %s", c.limit))
	defer cancel()
	var stdout, stderr output
	start := time.Now()
	var out io.Writer = &stdout
	if c.stdout != nil {
		out = io.MultiWriter(&stdout, c.stdout)
	}
	mark := marked
	if h.mark != nil {
		mark = h.mark()
	}
	mark += rand.Text()
	err := h.session(ctx, c.line(ctx, mark), c.stdin, out, &stderr)
	if errors.Is(ctx.Err(), context.Canceled) {
		h.end(ctx, mark, c.root)
	}
	if err == nil {
		err = stdout.whole()
	}
	args := c.args
	if c.root {
		args = append([]string{"sudo", "-n"}, args...)
	}
	logged := stdout.String()
	if c.brief && len(logged) > briefLog {
		logged = fmt.Sprintf("%s... (%d bytes)", logged[:briefLog], len(logged))
	}
	h.log.Command(h.Name, args, time.Since(start), logged, stderr.String(), err)
	if err == nil {
		return stdout.all.Bytes(), nil
	}
	ce := &command.Error{Where: h.Name, Line: command.Line(args...), Status: -1, Stderr: stderr.String(), Log: h.log.Path(), Err: err}
	var exit *ssh.ExitError
	if ctx.Err() != nil {
		ce.Err = context.Cause(ctx)
	} else if errors.As(err, &exit) && exit.Signal() == "" {
		ce.Status = exit.ExitStatus()
	}
	return stdout.all.Bytes(), ce
}

// output is what a command writes. A machine that writes without end doesn't fill this computer's memory: what is too much is
// thrown away.
type output struct {
	all  bytes.Buffer
	lost bool
}

// mostOutput is more than anything that is asked of a machine: a look at one in a lab of 50 has less than a MB.
const mostOutput = 64 << 20

func (o *output) Write(p []byte) (int, error) {
	o.lost = o.lost || o.all.Len()+len(p) > mostOutput
	if o.lost {
		return len(p), nil
	}
	return o.all.Write(p)
}

func (o *output) String() string { return o.all.String() }

// whole returns an error where something was thrown away.
func (o *output) whole() error {
	if o.lost {
		return fmt.Errorf("it wrote more than %d MB", mostOutput>>20)
	}
	return nil
}

func text(out []byte, err error) (string, error) { return strings.TrimSpace(string(out)), err }

// withUmask runs a command with the umask that what root makes needs, whatever the login user's is.
const withUmask = `umask 022 && exec "$@"`

// line is the command line, with ctx's deadline known to the machine too: closing the session from here ends no command
// there, and one that waits for ever would stay. timeout comes after sudo, because no user's process can end root's. The mark
// is what end finds it by.
func (c call) line(ctx context.Context, mark string) string {
	limit := c.limit
	if deadline, ok := ctx.Deadline(); ok {
		limit = time.Until(deadline)
	}
	args := []string{"timeout", "--kill-after=1", fmt.Sprintf("%.3f", max(limit.Seconds(), 0.001)), "sh", "-c", withUmask, mark}
	if c.root {
		args = append([]string{"sudo", "-n"}, args...)
	}
	return command.Quote(append(args, c.args...)...)
}

const (
	endTime   = 2 * time.Second  // for end
	closeTime = 10 * time.Second // for a session whose command's time is over
)

// end ends a command that was given up before its time, and all its children. Where the machine can't be asked to, it comes to
// its end when its time is over.
func (h *Host) end(ctx context.Context, mark string, root bool) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTime)
	defer cancel()
	c := ender(mark, root)
	var stderr bytes.Buffer
	start := time.Now()
	err := h.session(ctx, c.line(ctx, "end"), c.stdin, io.Discard, &stderr)
	h.log.Command(h.Name, []string{"end-command.sh", mark}, time.Since(start), "", stderr.String(), err)
}

// ender ends the command with this mark.
func ender(mark string, root bool) call {
	script := "set -- " + mark + "\n" + scripts.Text("end-command.sh")
	return call{args: []string{"bash", "-s"}, limit: endTime, root: root, stdin: strings.NewReader(script)}
}

func (h *Host) session(ctx context.Context, line string, stdin io.Reader, stdout, stderr io.Writer) error {
	select {
	case h.sessions <- struct{}{}:
		defer func() { <-h.sessions }()
	case <-ctx.Done():
		return ctx.Err()
	}
	// A machine that hangs answers nothing, not even the opening of a session: wait beside ctx.
	done := make(chan error, 1)
	opened := make(chan *ssh.Session)
	go func() {
		s, err := h.client.NewSession()
		if err != nil {
			done <- err
			return
		}
		defer s.Close()
		select {
		case opened <- s:
		case <-ctx.Done(): // nobody waits for it any more
			return
		}
		s.Stdin, s.Stdout, s.Stderr = stdin, stdout, stderr
		done <- s.Run(line)
	}()
	var s *ssh.Session
	select {
	case s = <-opened:
	case err := <-done:
		return lost(err)
	case <-ctx.Done():
		// Without waiting for done: a session that is asked for while the connection ends may never be told (golang.org/x/crypto/ssh).
		_ = h.client.Close()
		return ctx.Err()
	}
	select {
	case err := <-done:
		var exit *ssh.ExitError
		if err != nil && !errors.As(err, &exit) {
			return lost(err)
		}
		return err
	case <-ctx.Done():
		_ = s.Close()
		// After Close nobody writes to stdout and stderr any more. A command whose time is over ends there as well; a machine that is only
		// slow has longer for it, as others use the connection, too.
		patience := time.Second
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			patience = closeTime
		}
		select {
		case <-done:
		case <-time.After(patience):
			_ = h.client.Close()
			<-done
		}
		return ctx.Err()
	}
}

func lost(err error) error {
	return fmt.Errorf("the SSH connection was lost (%w); see: go tool mage status", err)
}
