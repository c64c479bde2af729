package develop

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/computer"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine/nspawn"
	"github.com/calico-cni-lab/lab/magefiles/internal/run"
)

// e2e is the package whose tests make labs.
const e2e = "./magefiles/internal/e2e"

// roundVariable says how much of it is run, as its round does.
const roundVariable = "LAB_TEST_ROUND"

// TestLong runs the tests that make labs, with what Test leaves out of them because it takes long: ten nodes, two subnets, VXLAN, every fault, members of etcd
// that lose their data, come and go, runs killed at each of their steps, each challenge, a Docker daemon that is killed, full or pruned.
func TestLong(ctx context.Context, r *run.Run) error {
	const limit = 3 * time.Hour
	p := testPlan{needs: slices.Clone(nspawn.Needs)}
	p.labs(os.Geteuid() == 0, "dev:testLong")
	r.Console.Notice("this takes long, and is given up after %s; the first time everything is compiled and installed before", limit)
	for _, line := range p.scope() {
		r.Console.Notice("%s", line)
	}
	return onLabs(ctx, r, p.needs, limit, roundVariable+"=long", "-v", sideBySide())
}

// TestExperiments plays every experiment, on a lab of the project's lab.yaml and on those of labs/; Test plays three.
func TestExperiments(ctx context.Context, r *run.Run) error {
	return onLabs(ctx, r, nspawn.Needs, 20*time.Minute, "LAB_TEST_EXPERIMENTS=all", "-v", "-run=^(TestExperiments|TestLabFiles)$")
}

// TestChallenges plays every challenge in each way in which it breaks the lab, on a lab of its own; TestLong plays each once.
func TestChallenges(ctx context.Context, r *run.Run) error {
	return onLabs(ctx, r, nspawn.Needs, 30*time.Minute, "LAB_TEST_CHALLENGES=all", "-v", "-run=^TestChallenges$")
}

// sideBySide is how many labs are tested at a time: with as many as there are cores, a third of the CPU was idle.
func sideBySide() string { return fmt.Sprintf("-parallel=%d", runtime.NumCPU()+1) }

// onLabs runs tests that make labs, and shows what the test runner says. variable is for them, and so are flags.
func onLabs(ctx context.Context, r *run.Run, needs []computer.Need, limit time.Duration, variable string, flags ...string) error {
	if err := computer.Installable(needs); err != nil {
		return err
	}
	if err := install(ctx, r, needs); err != nil {
		return err
	}
	return show(ctx, r, shown{
		args: append(append([]string{"go", "test", "-count=1", "-timeout=" + limit.String()}, flags...), e2e),
		env:  []string{variable}, limit: limit + time.Minute,
	})
}
