package develop

import (
	"context"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/computer"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine/nspawn"
	"github.com/calico-cni-lab/lab/magefiles/internal/run"
)

// TestChallenges plays every challenge in each way in which it breaks the lab, on a lab of its own; TestLong plays each once.
func TestChallenges(ctx context.Context, r *run.Run) error {
	const limit = 30 * time.Minute
	if err := computer.Installable(nspawn.Needs); err != nil {
		return err
	}
	if err := install(ctx, r, nspawn.Needs); err != nil {
		return err
	}
	return show(ctx, r, shown{
		args: []string{"go", "test", "-count=1", "-timeout=" + limit.String(), "-v", "-run=^TestChallenges$", e2e},
		env:  []string{"LAB_TEST_CHALLENGES=all"}, limit: limit + time.Minute,
	})
}
