// Package shell is a shell that stays open: what one command sets, the next one sees, as for a person who types them.
package shell

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Shell is a bash that waits for commands. It is for one command at a time.
type Shell struct {
	Where   string // for errors: the machine, or this computer
	session int    // the shell's session ID where it runs
	kill    func(ctx context.Context, session int) error
	cmd     *exec.Cmd
	in      io.WriteCloser
	lines   chan string
	ended   chan struct{} // closed when nothing more comes
	mark    string
	given   map[string]bool // names that it had when it was opened
	broken  bool
	killed  bool
	closed  bool
}

// Result is what a command did.
type Result struct {
	Printed string // to standard output and standard error, in their order
	Status  int    // its exit status
}

// Options say how a shell is opened.
type Options struct {
	Where string
	Args  []string // what becomes a bash that reads commands from its standard input
	Dir   string
	Env   []string // of Args' process, beside this one's
	Setup string   // commands to begin with
	State string   // of a shell before this one, see Shell.State
	// Kill ends all processes of a session where the shell runs.
	Kill func(ctx context.Context, session int) error
}

// startTime is how long a shell may take to answer first.
const startTime = 30 * time.Second

// Open starts a shell. It ends with Close, not with ctx.
func Open(ctx context.Context, o Options) (*Shell, error) {
	s := &Shell{Where: o.Where, kill: o.Kill, lines: make(chan string), ended: make(chan struct{}), mark: rand.Text()}
	s.cmd = exec.Command(o.Args[0], o.Args[1:]...)
	s.cmd.Dir, s.cmd.Env = o.Dir, append(s.cmd.Environ(), o.Env...)
	s.cmd.WaitDelay = endTime // something outside of the session may hold the shell's output open
	// A session of its own: a terminal's Ctrl-C is not for it, and all its processes can be found.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	var err error
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	var stderr bytes.Buffer
	s.cmd.Stderr = &stderr // only what comes before the shell itself speaks
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("a shell on %s: %w", o.Where, err)
	}
	go s.read(out)
	answered, err := s.Run(ctx, "exec 2>&1\n"+o.Setup+"\necho $$", startTime, nil)
	if err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("a shell on %s: %w%s", o.Where, err, stderr.String())
	}
	lines := strings.Fields(answered.Printed)
	if len(lines) == 0 {
		_ = s.Close()
		return nil, fmt.Errorf("a shell on %s doesn't say its process ID", o.Where)
	}
	if s.session, err = strconv.Atoi(lines[len(lines)-1]); err == nil {
		s.given, err = s.names(ctx)
	}
	if err == nil && o.State != "" {
		_, err = s.Run(ctx, o.State, startTime, nil)
	}
	if err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("a shell on %s: %w", o.Where, err)
	}
	return s, nil
}

// names are those of the shell's variables and functions, a function's with brackets behind it.
func (s *Shell) names(ctx context.Context) (map[string]bool, error) {
	got, err := s.Run(ctx, "compgen -v; compgen -A function | sed 's/$/()/'", startTime, nil)
	all := map[string]bool{}
	for name := range strings.Lines(got.Printed) {
		all[strings.TrimSpace(name)] = true
	}
	return all, err
}

// State returns commands that make another shell what this one has become by what was run in it: its directory, and the variables and
// functions that are new.
func (s *Shell) State(ctx context.Context) (string, error) {
	now, err := s.names(ctx)
	if err != nil {
		return "", err
	}
	ask := "printf 'cd %q\\n' \"$PWD\""
	for _, name := range slices.Sorted(maps.Keys(now)) {
		function, is := strings.CutSuffix(name, "()")
		switch {
		case s.given[name] || name == "_" || name == "OLDPWD" || name == "PIPESTATUS" || strings.HasPrefix(name, "BASH_"): // or bash's own
		case is:
			ask += "; declare -f " + function
		default:
			ask += "; declare -p " + name
		}
	}
	got, err := s.Run(ctx, ask, startTime, nil)
	return got.Printed, err
}

func (s *Shell) read(out io.Reader) {
	defer close(s.ended)
	r := bufio.NewReader(out)
	for {
		line, err := r.ReadString('\n')
		if line != "" {
			s.lines <- line
		}
		if err != nil {
			return
		}
	}
}

// ErrSlow is a command that was ended because it took too long.
var ErrSlow = errors.New("it was ended, because it took too long")

// errEnded is a shell that a command has ended.
var errEnded = errors.New("the shell has ended")

// Run runs a command; each line that it prints goes to live, too, unless that is nil. One that takes longer than limit, or than
// ctx, is ended with everything that it started; the shell is of no use then.
func (s *Shell) Run(ctx context.Context, command string, limit time.Duration, live func(line string)) (Result, error) {
	if s.broken {
		return Result{}, errEnded
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%w (%s)", ErrSlow, limit))
	defer cancel()
	// The mark stands at the beginning of a line, whether or not the command ended its last one.
	script := fmt.Sprintf("eval \"$(base64 -d <<<%s)\" </dev/null\nprintf '\\n%%s %%d\\n' %s $?\n", base64.StdEncoding.EncodeToString([]byte(command)), s.mark)
	if _, err := io.WriteString(s.in, script); err != nil {
		s.broken = true
		return Result{}, errEnded
	}
	var printed strings.Builder
	held := "" // a line that may be nothing but the break before the mark
	for {
		select {
		case line := <-s.lines:
			if status, ok := strings.CutPrefix(line, s.mark+" "); ok {
				n, err := strconv.Atoi(strings.TrimSpace(status))
				return Result{strings.TrimSuffix(printed.String(), "\n"), n}, err
			}
			printed.WriteString(line)
			if live != nil {
				if held != "" {
					live(held)
				}
				if held = line; line != "\n" {
					live(line)
					held = ""
				}
			}
		case <-s.ended:
			s.broken = true
			_ = s.end(context.WithoutCancel(ctx))
			return Result{Printed: printed.String()}, errEnded
		case <-ctx.Done():
			s.broken = true
			cause := context.Cause(ctx)
			return Result{Printed: printed.String()}, errors.Join(cause, s.end(context.WithoutCancel(ctx)))
		}
	}
}

// Broken says whether the shell can run nothing any more.
func (s *Shell) Broken() bool { return s.broken }

const (
	endTime  = 10 * time.Second // that a shell may take to end, with what it started
	lateTime = 3 * time.Second  // the same, of one that has ended by itself: perhaps with its machine, and then nobody answers
)

// end ends everything that runs in the shell's session, and the shell, once.
func (s *Shell) end(ctx context.Context) error {
	if s.killed {
		return nil
	}
	s.killed = true
	limit := endTime
	if s.gone() {
		limit = lateTime
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var err error
	if s.session != 0 && s.kill != nil {
		err = s.kill(ctx, s.session)
	}
	switch {
	case s.gone(): // what may be left can't be ended where there is no machine any more
		err = nil
	case errors.Is(err, context.DeadlineExceeded):
		err = fmt.Errorf("%s doesn't answer; what was started there may still run", s.Where)
	}
	_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL) // its own session here, so its own group
	return err
}

// Close ends the shell and what still runs in its session, whether or not the shell itself has ended.
func (s *Shell) Close() error {
	if s.closed {
		return nil
	}
	s.closed, s.broken = true, true
	err := s.end(context.Background())
	_ = s.in.Close()
	go func() {
		for range s.lines { // drained, or read would never end
		}
	}()
	// Waiting closes this end of the shell's output, whoever has the other one.
	_ = s.cmd.Wait() // killed
	<-s.ended
	close(s.lines)
	return err
}
