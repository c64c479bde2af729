package fault

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Kill is a run of a target that was ended, or held up, at a moment.
type Kill struct {
	Target string
	After  time.Duration
	Paused bool // by SIGSTOP, and went on later; ended by SIGKILL otherwise
	Errs   []error
}

func (k Kill) String() string {
	how := "killed"
	if k.Paused {
		how = "paused"
	}
	return fmt.Sprintf("%s %s after %.1f s", k.Target, how, k.After.Seconds())
}

// longest is how long targets take on a lab that they have all to do for, as far as moments are chosen.
var longest = map[string]time.Duration{"verify": 9 * time.Second, "destroy": 1500 * time.Millisecond}

// RandomKill ends verify, or destroy, at a random moment, or stops the process for some seconds; then the next run has to finish the job.
// A lab that is there before is destroyed before a verify, and made before a destroy.
func (l *Lab) RandomKill(ctx context.Context, r *rand.Rand) Kill {
	k := Kill{Target: []string{"verify", "destroy"}[r.IntN(2)], Paused: r.IntN(3) == 0}
	k.After = time.Duration(r.Int64N(int64(longest[k.Target])))
	wrong := func(what string, err error) {
		if err != nil {
			k.Errs = append(k.Errs, fmt.Errorf("%s: %s: %w", k, what, err))
		}
	}
	before := map[string]string{"verify": "destroy", "destroy": "verify"}[k.Target]
	if _, err := l.Target(ctx, before); err != nil {
		wrong(before+" before", err)
		return k
	}
	wrong("itself", l.disturbed(ctx, k))
	if out, err := l.Target(ctx, k.Target); err != nil {
		wrong(k.Target+" again", fmt.Errorf("%w\n%s", err, out))
		return k
	}
	if k.Target == "verify" {
		for _, err := range l.Unhealthy(ctx) {
			wrong("then", err)
		}
		return k
	}
	wrong("then", l.gone())
	return k
}

// disturbed runs a target that is killed or paused. One that is paused has to end well, unless another run was let in meanwhile.
func (l *Lab) disturbed(ctx context.Context, k Kill) error {
	ctx, cancel := context.WithTimeout(ctx, targetTime)
	defer cancel()
	c := l.command(k.Target)
	cmd := exec.CommandContext(ctx, c.Args[0], c.Args[1:]...)
	cmd.Dir, cmd.Env = c.Dir, append(cmd.Environ(), c.Env...)
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		return err // before its time
	case <-time.After(k.After):
	}
	if !k.Paused {
		err := cmd.Process.Signal(syscall.SIGKILL)
		<-done
		return ignoreEnded(err)
	}
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return ignoreEnded(err)
	}
	out, other := l.Target(ctx, k.Target)
	if other == nil || !strings.Contains(out, "another run works on this lab") {
		// It has the lock from early on; before that, another run is as good as the first.
		if other != nil {
			return errors.Join(other, cmd.Process.Signal(syscall.SIGCONT), <-done)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		return ignoreEnded(err)
	}
	err := <-done
	if other == nil {
		return nil // what it found when it went on was another run's
	}
	return err
}

// ignoreEnded: a process that ended by itself can't be signalled.
func ignoreEnded(err error) error {
	if errors.Is(err, syscall.ESRCH) || err != nil && strings.Contains(err.Error(), "already finished") {
		return nil
	}
	return err
}

// gone says what a lab that was destroyed has left.
func (l *Lab) gone() error {
	if left := l.Remains(); len(left) > 0 {
		return fmt.Errorf("left after destroy: %s", strings.Join(left, "; "))
	}
	return nil
}

// Cycle makes the machines and destroys them.
func (l *Lab) Cycle(ctx context.Context) error {
	if out, err := l.Target(ctx, "up"); err != nil {
		return fmt.Errorf("up: %w\n%s", err, out)
	}
	return l.Destroy(ctx)
}

// Destroy destroys the lab, and looks what is left.
func (l *Lab) Destroy(ctx context.Context) error {
	if out, err := l.Target(ctx, "destroy"); err != nil {
		return fmt.Errorf("destroy: %w\n%s", err, out)
	}
	return l.gone()
}

// DestroyBroken makes the lab, breaks it, destroys it as it is, and looks what is left.
func (l *Lab) DestroyBroken(ctx context.Context, f Fault) error {
	if out, err := l.Target(ctx, "verify"); err != nil {
		return fmt.Errorf("verify: %w\n%s", err, out)
	}
	err := f.Break(ctx, l)
	if err != nil {
		err = fmt.Errorf("breaking it: %w", err)
	}
	if !f.Here {
		return errors.Join(err, l.Destroy(ctx))
	}
	out, derr := l.Target(ctx, "destroy")
	if derr != nil {
		derr = fmt.Errorf("destroy: %w\n%s", derr, out)
	}
	return errors.Join(err, derr, f.Undo(ctx, l), l.Destroy(ctx)) // what was hidden by it is the lab's, too
}
