package session

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
)

// keepLogs is how many runs' logs are kept.
const keepLogs = 20

// begin makes the state directory, takes the lab's lock and starts the run's log. It is for runs that change
// something; only the first call does anything.
func (s *Session) begin() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lock != nil {
		return nil
	}
	logs := filepath.Join(s.stateDir, "logs")
	if err := os.MkdirAll(logs, 0o755); err != nil {
		return err
	}
	lock, err := takeLock(filepath.Join(s.stateDir, "lock"))
	if err != nil {
		return err
	}
	s.lock = lock
	name := s.start.Format("2006-01-02T15-04-05") + "-" + targets() + ".log"
	if s.run.Log, err = command.OpenLog(filepath.Join(logs, name)); err != nil {
		return err
	}
	return prune(logs, "*.log", keepLogs)
}

// targets names the run for its log: "verify", "up-check".
func targets() string {
	var names []string
	for _, arg := range os.Args[1:] {
		if strings.Trim(strings.ToLower(arg), "abcdefghijklmnopqrstuvwxyz") == "" {
			names = append(names, arg)
		}
	}
	return strings.Join(names[:min(len(names), 3)], "-")
}

// prune removes all but the newest files of a kind, whose names have the time in them.
func prune(dir, pattern string, keep int) error {
	files, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil {
		return err
	}
	for _, file := range files[:max(len(files)-keep, 0)] {
		if err := os.Remove(file); err != nil {
			return err
		}
	}
	return nil
}

// takeLock takes the lab's lock for this process, or says who holds it. The lock goes with the process.
func takeLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := flock(f); err != nil {
		holder, _ := os.ReadFile(path)
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("another run works on this lab: %s; wait for it, or end it, and run this again", strings.TrimSpace(string(holder)))
		}
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	// A run that destroyed the lab has removed the file that was just locked.
	if here, err := os.Stat(path); err != nil || !sameFile(f, here) {
		f.Close()
		return nil, errors.New("another run has just removed this lab; run this again")
	}
	if err := f.Truncate(0); err != nil {
		return nil, err
	}
	_, err = fmt.Fprintf(f, "process %d, `mage %s`, since %s\n", os.Getpid(), strings.Join(os.Args[1:], " "), time.Now().Format(time.TimeOnly))
	return f, err
}

// lockPatience is for a run that was just ended and is still on its way out.
const lockPatience = time.Second

func flock(f *os.File) error {
	deadline := time.After(lockPatience)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return err
		}
		select {
		case <-tick.C:
		case <-deadline:
			return err
		}
	}
}

func sameFile(f *os.File, other os.FileInfo) bool {
	info, err := f.Stat()
	return err == nil && os.SameFile(info, other)
}
