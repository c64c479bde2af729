package target

import (
	"cmp"
	"context"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/run"
)

// Stop halts the machines.
func Stop(ctx context.Context, r *run.Run) error {
	start := time.Now()
	l, err := existing(ctx, r)
	if err != nil {
		return err
	}
	if err := notDuringChallenge(r, "what it broke wouldn't outlive this"); err != nil {
		return err
	}
	if err := r.Begin(ctx); err != nil {
		return err
	}
	l.Hosts.Close()
	if err := l.Provider.Stop(ctx); err != nil {
		return err
	}
	r.Console.Finished(time.Since(start), "go tool mage start")
	return nil
}

// Start boots halted machines and brings the lab back.
func Start(ctx context.Context, r *run.Run) error {
	l, err := existing(ctx, r)
	if err != nil {
		return err
	}
	if l.Running(ctx) != nil { // what a challenge broke doesn't outlive a boot
		if err := giveUp(r); err != nil {
			return err
		}
	}
	return Verify(ctx, r, VerifyOptions{})
}

// existing refuses a lab that was never made, for targets that must not make one.
func existing(ctx context.Context, r *run.Run) (*run.Lab, error) {
	l, err := r.Lab(ctx)
	if err != nil {
		return nil, err
	}
	if made, err := l.Made(ctx); err != nil || !made {
		return nil, cmp.Or(err, machine.ErrNotUp)
	}
	return l, nil
}
