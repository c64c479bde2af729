package develop

import (
	"context"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/computer"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine/nspawn"
	"github.com/calico-cni-lab/lab/magefiles/internal/run"
)

// TestExperiments plays every experiment, on a lab of the project's lab.yaml and on those of labs/; Test plays three.
func TestExperiments(ctx context.Context, r *run.Run) error {
	const limit = 20 * time.Minute
	if err := computer.Installable(nspawn.Needs); err != nil {
		return err
	}
	if err := install(ctx, r, nspawn.Needs); err != nil {
		return err
	}
	return show(ctx, r, shown{
		args: []string{"go", "test", "-count=1", "-timeout=" + limit.String(), "-v", "-run=^(TestExperiments|TestLabFiles)$", e2e},
		env:  []string{"LAB_TEST_EXPERIMENTS=all"}, limit: limit + time.Minute,
	})
}
