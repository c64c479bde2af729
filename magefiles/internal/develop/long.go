package develop

import (
	"context"
	"os"
	"slices"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/computer"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine/nspawn"
	"github.com/calico-cni-lab/lab/magefiles/internal/run"
)

// TestLong runs the tests that make labs, with what Test leaves out of them because it takes long: ten nodes, two subnets, VXLAN, every fault, members of etcd
// that lose their data, come and go, runs killed at each of their steps, each challenge, a Docker daemon that is killed, full or pruned.
func TestLong(ctx context.Context, r *run.Run) error {
	const limit = 3 * time.Hour
	if err := computer.Installable(nspawn.Needs); err != nil {
		return err
	}
	p := testPlan{needs: slices.Clone(nspawn.Needs)}
	p.labs(os.Geteuid() == 0, "dev:testLong")
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
