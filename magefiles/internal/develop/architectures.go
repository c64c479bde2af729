package develop

import (
	"context"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/run"
)

// TestArchitectures compiles everything for the CPU that this computer doesn't have; Test does that with the small parts alone.
func TestArchitectures(ctx context.Context, r *run.Run) error {
	const limit = 40 * time.Minute
	return show(ctx, r, shown{
		args: []string{"go", "test", "-count=1", "-timeout=" + limit.String(), "-v", "-run=^TestArchitectures$", e2e},
		env:  []string{"LAB_TEST_ARCHITECTURES=all"}, limit: limit + time.Minute,
	})
}
