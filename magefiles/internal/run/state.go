package run

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/progress"
)

// keepLogs is how many runs' logs are kept.
const keepLogs = 20

// Begin makes the state directory, takes the lab's lock and starts the run's log. It is for runs that change something;
// only the first call does anything.
func (r *Run) Begin(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lock != nil {
		return nil
	}
	logs := filepath.Join(r.StateDir, "logs")
	if err := os.MkdirAll(logs, 0o755); err != nil {
		return err
	}
	lock, err := takeLock(ctx, filepath.Join(r.StateDir, "lock"))
	if err != nil {
		return err
	}
	r.lock = lock
	name := time.Now().Format("2006-01-02T15-04-05") + "-" + targets(os.Args[1:]) + ".log"
	if r.Exec.Log, err = command.OpenLog(filepath.Join(logs, name)); err != nil {
		return err
	}
	return Prune(logs, "*.log", keepLogs)
}

// targets names the run for its log: "verify", "up-check".
func targets(args []string) string {
	var names []string
	for _, arg := range args {
		if strings.Trim(strings.ToLower(arg), "abcdefghijklmnopqrstuvwxyz") == "" {
			names = append(names, arg)
		}
	}
	return strings.Join(names[:min(len(names), 3)], "-")
}

// Prune removes all but the newest files of a kind, whose names have the time in them.
func Prune(dir, pattern string, keep int) error {
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

// lockPatience is for a run that was just ended and is still on its way out.
const lockPatience = time.Second

var errRemoved = errors.New("another run has just removed this lab; run this again")

// takeLock takes the lab's lock for this process, or says who holds it. The lock goes with the process.
func takeLock(ctx context.Context, path string) (*flock.Flock, error) {
	lock := flock.New(path)
	ctx, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	if ok, err := lock.TryLockContext(ctx, 50*time.Millisecond); !ok {
		if errors.Is(err, context.DeadlineExceeded) {
			holder, _ := os.ReadFile(path)
			return nil, fmt.Errorf("another run works on this lab: %s; wait for it, or end it, and run this again", strings.TrimSpace(string(holder)))
		}
		if errors.Is(err, fs.ErrNotExist) { // it was there when it was first tried
			return nil, errRemoved
		}
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	// A run that destroyed the lab has removed the file that was just locked: then the one that is there isn't.
	again := flock.New(path)
	if free, err := again.TryLock(); free || err != nil {
		return nil, errors.Join(errRemoved, again.Close(), lock.Close())
	}
	text := fmt.Sprintf("process %d, `mage %s`, since %s\n", os.Getpid(), strings.Join(os.Args[1:], " "), time.Now().Format(time.TimeOnly))
	return lock, os.WriteFile(path, []byte(text), 0o644)
}

// timesFile is in the cache: what things are made of, and how long that takes, are this computer's.
func (l *Lab) timesFile() string { return filepath.Join(l.Maker.Store.Dir, artifact.TimesFile) }

// Expect has the console say how long a run on the lab is going to take, where earlier ones tell.
func (l *Lab) Expect() {
	of := fmt.Sprintf("%s, %d machines", l.Provider.Name(), len(l.Machines))
	l.run.Console.Tasks.Expect(of, progress.ReadTimes(l.timesFile()))
}

// Reached keeps how long a run took that came to its end. Where that can't be kept, the next one doesn't know.
func (l *Lab) Reached() {
	times, changed := l.run.Console.Tasks.Reached()
	if !changed {
		return
	}
	if err := times.WriteFile(l.timesFile()); err != nil {
		l.run.Exec.Log.Printf("how long this took isn't kept: %v", err)
	}
}
