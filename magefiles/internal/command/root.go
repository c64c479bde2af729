package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/calico-cni-lab/lab/scripts"
)

// asRoot makes the process of a command that root runs, through sudo or not: with the umask that root's files need, with c.Env
// and the proxies of this process' environment, and ended by root itself, when ctx ends or this process is gone.
// scripts/as-root.sh does that, at the other end of a pipe.
func (c Cmd) asRoot(ctx context.Context, sudo bool) (process, error) {
	lifeline, end, err := os.Pipe()
	if err != nil {
		return process{}, err
	}
	in, err := newInput(c.Stdin)
	if err != nil {
		return process{}, errors.Join(err, lifeline.Close(), end.Close())
	}
	sig, grace := c.ending()
	args := append([]string{"bash", "-c", scripts.Text("as-root.sh"), "as-root.sh", strconv.Itoa(int(sig)), fmt.Sprint(grace.Seconds()), in.path}, c.Args...)
	shown := c.Args
	if sudo {
		args, shown = append([]string{"sudo", "-n", "--"}, args...), append([]string{"sudo", "-n", "--"}, shown...)
	}
	p := c.process(ctx, args)
	p.shown, p.Stdin = shown, lifeline
	// It fits into a pipe's buffer: 64 KB, pipe(7).
	if _, err := io.WriteString(end, strings.Join(append(c.rootEnv(os.Getenv), "", ""), "\x00")); err != nil {
		return process{}, errors.Join(err, lifeline.Close(), end.Close(), in.close())
	}
	p.Cancel = end.Close
	p.WaitDelay = grace + time.Second // root's own SIGKILL comes first
	p.ended = func(err error) error {
		if ctx.Err() == nil {
			_, _ = end.WriteString(".") // nobody listens any more where the command could not be started
		}
		_ = end.Close()
		lifeline.Close()
		if ierr := in.close(); err == nil {
			err = ierr
		}
		return err
	}
	return p, nil
}

// rootEnv are the variables that a command of root's gets: sudo drops the user's.
func (c Cmd) rootEnv(getenv func(string) string) []string {
	env := []string{"LC_ALL=C.UTF-8"}
	for _, name := range []string{"http_proxy", "https_proxy", "no_proxy"} {
		upper := strings.ToUpper(name)
		lower := getenv(name)
		if lower == "" {
			lower = getenv(upper) // apt reads no other
		}
		if lower != "" {
			env = append(env, name+"="+lower)
		}
		if v := getenv(upper); v != "" {
			env = append(env, upper+"="+v)
		}
	}
	return append(env, c.Env...)
}

// input is the standard input of a command of root's, as a file that root opens.
type input struct {
	path   string
	read   *os.File // nil without one
	copied chan error
}

func newInput(from io.Reader) (*input, error) {
	if from == nil {
		return &input{path: os.DevNull}, nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	in := &input{path: fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), r.Fd()), read: r, copied: make(chan error, 1)}
	go func() {
		_, err := io.Copy(w, from)
		in.copied <- errors.Join(err, w.Close())
	}()
	return in, nil
}

// close returns what went wrong with the reading. A command that did not want all of it is no error.
func (in *input) close() error {
	if in.read == nil {
		return nil
	}
	in.read.Close() // ends the copying
	if err := <-in.copied; !errors.Is(err, syscall.EPIPE) {
		return err
	}
	return nil
}

// renewal is how often a ticket is renewed. sudo forgets it after 5 or 15 minutes, unless it is told to after another time.
const renewal = 30 * time.Second

// IsRoot says whether commands can be run as root: by what this process is, or since KeepRoot was called.
func (r *Runner) IsRoot() bool { return os.Geteuid() == 0 || r.root.Load() }

// KeepRoot is to be called once commands can be run as root. It has sudo not forget the password that it was told, until this process
// ends or sudo forgets it all the same. While something compiles, root has nothing to do for minutes.
func (r *Runner) KeepRoot(ctx context.Context) { r.keepRoot(ctx, renewal) }

func (r *Runner) keepRoot(ctx context.Context, every time.Duration) {
	if !r.root.CompareAndSwap(false, true) {
		return
	}
	ctx = context.WithoutCancel(ctx)
	go func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for range tick.C {
			if _, err := r.Output(ctx, "sudo", "-n", "-v"); err != nil {
				// Who needs no password for commands may need one for this, and has none to be kept.
				_, err = r.Root(ctx, "true")
				r.root.Store(err == nil)
				return
			}
		}
	}()
}
