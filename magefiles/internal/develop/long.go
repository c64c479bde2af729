package develop

import (
	"context"
	"os"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/run"
)

// TestLong runs the tests that make labs with all that Test leaves out because it takes long: ten nodes, etcd on three machines, every fault, what is
// killed at each of its steps, each challenge, what can happen to a Docker daemon.
func TestLong(ctx context.Context, r *run.Run) error {
	const limit = 3 * time.Hour
	p, err := newTestPlan(os.Geteuid() == 0, false)
	if err != nil {
		return err
	}
	for _, line := range p.scope() {
		r.Console.Notice("%s", line)
	}
	if err := install(ctx, r, p.needs); err != nil {
		return err
	}
	return show(ctx, r, shown{
		args: []string{"go", "test", "-count=1", sideBySide(), "-timeout=" + limit.String(), "-v", e2e},
		env:  []string{roundVariable + "=long"}, limit: limit + time.Minute,
	})
}
