package run

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// interrupted is the end of a run before its work was done. To errors.Is it is context.Canceled.
type interrupted struct{}

// ErrInterrupted is why a run's context ended.
var ErrInterrupted error = interrupted{}

func (interrupted) Error() string        { return "interrupted; run it again to finish" }
func (interrupted) Is(target error) bool { return target == context.Canceled }

// endWithParents ends the context on SIGTERM, and when what started this process is gone. `go tool mage` is three processes,
// go, mage and this one, and SIGTERM to the first reaches no other.
func endWithParents(ctx context.Context, end context.CancelCauseFunc) {
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM, syscall.SIGHUP)
	chain := parents()
	go func() {
		tick := time.NewTicker(250 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-term:
				end(ErrInterrupted)
				return
			case <-tick.C:
				if !chain.intact() {
					end(ErrInterrupted)
					return
				}
			}
		}
	}()
}

// ancestry is the processes from this one up to the first of `go tool mage`, each with its parent.
type ancestry []struct{ pid, parent int }

// parents follows the chain as long as the processes are mage or go: a shell that ends is no reason to end.
func parents() ancestry {
	var a ancestry
	pid := os.Getpid()
	for {
		parent, _, err := stat(pid)
		if err != nil {
			return a
		}
		_, name, err := stat(parent)
		if err != nil || name != "mage" && name != "go" {
			return a
		}
		a = append(a, struct{ pid, parent int }{pid, parent})
		pid = parent
	}
}

func (a ancestry) intact() bool {
	for _, p := range a {
		if parent, _, err := stat(p.pid); err != nil || parent != p.parent {
			return false
		}
	}
	return true
}

// stat returns a process' parent and name (proc(5), /proc/PID/stat).
func stat(pid int) (parent int, name string, err error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, "", err
	}
	text := string(data)
	open, end := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
	if open < 0 || end < open {
		return 0, "", errors.New("/proc/PID/stat has another form than proc(5) says")
	}
	f := strings.Fields(text[end+1:])
	if len(f) < 2 {
		return 0, "", errors.New("/proc/PID/stat has another form than proc(5) says")
	}
	parent, err = strconv.Atoi(f[1])
	return parent, text[open+1 : end], err
}
