//go:build linux

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// namesInUse: another checkout may not take the lab's name.
func namesInUse(l *lab) {
	other := *l
	other.dir = l.t.TempDir()
	yaml, err := os.ReadFile(filepath.Join(l.dir, "lab.yaml"))
	if err != nil {
		l.t.Fatal(err)
	}
	other.write(string(yaml))
	for _, target := range []string{"verify", "destroy"} {
		l.has(other.fails(target), fmt.Sprintf("the lab name %q is in use by the lab in %s", l.name, l.dir))
	}
	back := l.change("address: 192.168.4.6", "address: 192.168.4.8")
	defer back()
	l.has(l.fails("verify"), "describes another lab than the one that exists: calico2 has another role or address", "go tool mage destroy verify")
}

// severalTargets: what stands on one command line happens in its order, each time anew.
func severalTargets(l *lab) {
	// Also where a machine isn't the one that was made: what is advised then helps.
	pinned := filepath.Join(l.dir, ".lab", "host-keys")
	etcd, err := os.ReadFile(filepath.Join(pinned, "etcd-node.pub"))
	if err == nil {
		err = os.WriteFile(filepath.Join(pinned, "calico1.pub"), etcd, 0o644)
	}
	if err != nil {
		l.t.Fatal(err)
	}
	l.has(l.fails("verify"), "calico1 shows another SSH host key", "go tool mage destroy, then ", "go tool mage verify")
	l.ok("destroy", "verify")
	l.holds()
	l.ok("verify", "stop", "start")
	l.holds()
	l.long("up to begin with", func(l *lab) {
		l.ok("up", "stop", "start")
		l.holds()
	})
	out := l.ok("unplumb", "plumb", "check")
	l.has(out, "the workloads are gone", "workload on calico1", "the lab works: all ")
}

// oneAtATime: of two runs the second says who is at work.
func oneAtATime(l *lab) {
	lock := filepath.Join(l.dir, ".lab", "lock")
	f, err := os.OpenFile(lock, os.O_RDWR, 0)
	if err != nil {
		l.t.Fatal(err)
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		l.t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("process 4711, `mage stop`, since 12:00:00\n"), 0); err != nil {
		l.t.Fatal(err)
	}
	l.has(l.fails("verify"), "another run works on this lab: process 4711, `mage stop`")
	// Looking is allowed at any time.
	l.holds()
	l.ok("status")
}

// ending is how long a run may take to end. It does so within five seconds on a computer that has nothing else to do; other tests run beside this one.
const ending = 15 * time.Second

// interrupted: SIGINT and SIGTERM end a run at once wherever it is, and the next one finishes the job.
func interrupted(l *lab) {
	l.ok("destroy")
	for _, c := range []struct {
		after string // line of output that the signal follows
		sig   syscall.Signal
		args  []string
		run   func(string, func(*lab))
	}{
		{"machines:", syscall.SIGTERM, []string{l.mage}, l.long},
		{"✓ up", syscall.SIGINT, []string{l.mage}, l.sub},
		// Three processes; the signal reaches the first.
		{"… calico ", syscall.SIGTERM, []string{"go", "tool", "mage"}, l.long},
		// A kill leaves children at work; the next run must not trip over them.
		{"… calico ", syscall.SIGKILL, []string{l.mage}, l.sub},
	} {
		c.run(fmt.Sprintf("%s after %s", c.sig, c.after), func(l *lab) {
			out, took, err := l.signalled(c.after, c.sig, c.args...)
			// The go command's own exit status after SIGTERM is 0 (Go 1.26).
			if err == nil && c.args[0] == l.mage {
				l.t.Errorf("it ended as if nothing had been:\n%s", out)
			}
			if took > ending {
				l.t.Errorf("it took %s to end:\n%s", took, out)
			}
			switch c.sig {
			case syscall.SIGINT:
				l.saysInterrupted(out)
			case syscall.SIGTERM: // which Mage doesn't handle
				l.has(out, "interrupted; run it again to finish")
			}
		})
	}
	l.ok("verify")
	l.sub("killed while the machines are made", func(l *lab) {
		l.ok("destroy")
		if out, _, err := l.signalled("machines:", syscall.SIGKILL, l.mage); err == nil {
			l.t.Errorf("it ended as if nothing had been:\n%s", out)
		}
		l.ok("verify")
	})
}

// saysInterrupted wants the user to be told after Ctrl-C. Mage gives a run five seconds then; where what has to end first takes longer, the
// word is Mage's.
func (l *lab) saysInterrupted(out string) {
	l.t.Helper()
	if !strings.Contains(out, "interrupted; run it again to finish") && !strings.Contains(out, "cleanup timeout exceeded") {
		l.t.Errorf("it doesn't say that it was interrupted:\n%s", out)
	}
}

// signalled runs verify, sends a signal when a text has come, and returns what it wrote and how long it took to end.
func (l *lab) signalled(after string, sig syscall.Signal, args ...string) (output string, took time.Duration, err error) {
	l.t.Helper()
	cmd := l.start(context.Background(), append(args, "verify")...)
	if args[0] != l.mage {
		cmd.Dir = l.checkout()
	}
	out := &watched{want: after, seen: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }() // also for the output's end: all three processes have it open
	select {
	case <-out.seen:
	case err := <-ended:
		l.t.Fatalf("%s ended (%v), and no %q in:\n%s", args, err, after, out)
	case <-time.After(15 * time.Minute):
		_ = cmd.Process.Kill()
		l.t.Fatalf("no %q in:\n%s", after, out)
	}
	start := time.Now()
	if err := cmd.Process.Signal(sig); err != nil {
		l.t.Fatal(err)
	}
	err = <-ended
	return out.String(), time.Since(start), err
}

// watched collects output and tells when a text has come.
type watched struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	want string
	seen chan struct{}
	done bool
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf.Write(p)
	if !w.done && w.seen != nil && strings.Contains(w.buf.String(), w.want) {
		w.done = true
		close(w.seen)
	}
	return len(p), nil
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.String()
}
