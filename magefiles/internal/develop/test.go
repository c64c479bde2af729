package develop

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/ansible"
	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/computer"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine/nspawn"
	"github.com/calico-cni-lab/lab/magefiles/internal/run"
)

// With everything in the caches, on 2 cores.
const (
	testTimeShort = "2 minutes"
	testTime      = "17 to 55 minutes" // the longer where starting processes is slow
	unitTestLimit = 40 * time.Minute
	quickLimit    = 10 * time.Minute
	e2eLimit      = 100 * time.Minute
)

// raceNeeds are what the race detector is linked with.
var raceNeeds = []computer.Need{{Program: "gcc", Package: "gcc"}, {Program: "/usr/include/stdlib.h", Package: "libc6-dev"}}

// userNeeds are for the test of a lab that is not root's.
var userNeeds = []computer.Need{{Program: "sudo", Package: "sudo"}, {Program: "useradd", Package: "passwd"}}

// bundleNeeds are what tar unpacks a bundle with.
var bundleNeeds = []computer.Need{{Program: "zstd", Package: "zstd"}}

// testPlan is what Test does.
type testPlan struct {
	short   bool // units and one quick lab
	race    bool
	needs   []computer.Need // what is installed before
	without []string        // what is left out, and why
}

// Test runs the project's tests and shows what the test runner says: units with the race detector, then some fuzzing, then
// those that make labs, side by side. What it will install and how long it takes it says before it does anything. What takes long or
// installs much has targets of its own: TestLong, TestExperiments, TestChallenges, TestArchitectures, TestView, TestVagrant.
//
// In short it is units, without the race detector, and a lab from its beginning to its end.
func Test(ctx context.Context, r *run.Run, short bool) error {
	p, err := newTestPlan(os.Geteuid() == 0, short)
	if err != nil {
		return err
	}
	for _, line := range p.announce() {
		r.Console.Notice("%s", line)
	}
	if err := install(ctx, r, p.needs); err != nil {
		return err
	}
	units, err := unitTested(ctx, r)
	if err != nil {
		return err
	}
	unit := []string{"go", "test", "-count=1", "-timeout=" + unitTestLimit.String()}
	if p.race {
		unit = append(unit, "-race")
	}
	if p.short {
		unit = append(unit, "-short")
	}
	if err := show(ctx, r, shown{args: append(unit, units...), limit: unitTestLimit}); err != nil {
		return err
	}
	if p.short {
		return onLabs(ctx, r, nil, quickLimit, roundVariable+"=quick", "-v", "-run=^TestLab$")
	}
	if err := fuzzAnew(ctx, r, testFuzz); err != nil {
		return err
	}
	return onLabs(ctx, r, nil, e2eLimit, roundVariable+"=", sideBySide())
}

// forRoot is what only root's tests try: they make users, give files away, mount, and kill control groups in this process. One that
// needs no more than root's commands has them by sudo.
const forRoot = "what only root can try: an ordinary user with sudo, a Docker daemon of its own, files and mounts of other users', control groups, machines with cgroup v2 alone; " +
	`with them: sudo -E env "PATH=$PATH" go tool mage `

// newTestPlan decides what is tested. Where no lab can be made, that is an error.
func newTestPlan(root, short bool) (testPlan, error) {
	if runtime.GOOS != "linux" {
		return testPlan{}, fmt.Errorf("the tests make labs of nspawn containers, which takes Linux, and this is %s; the others: go test -short ./...", runtime.GOOS)
	}
	p := testPlan{short: short, needs: slices.Clone(nspawn.Needs)}
	if short {
		p.without = []string{"the race detector, fuzzing, most of what is done to a lab, Docker, the playbooks; with these: go tool mage test; with what takes long: go tool mage dev:testLong"}
		return p, nil
	}
	p.race = p.optional("the race detector", raceNeeds)
	p.labs(root, "test")
	return p, nil
}

// optional adds what a part needs, or says why it is left out.
func (p *testPlan) optional(what string, needs []computer.Need) bool {
	if err := computer.Installable(needs); err != nil {
		p.without = append(p.without, fmt.Sprintf("%s: %v", what, err))
		return false
	}
	p.needs = append(p.needs, needs...)
	return true
}

// labs adds what the tests on labs need beside the machines, and what a target leaves out of them.
func (p *testPlan) labs(root bool, target string) {
	p.optional("the playbooks", ansible.Needs)
	if !root {
		p.without = append(p.without, forRoot+target)
		return
	}
	p.optional("the user with sudo", userNeeds)
	p.optional("a lab from a bundle", bundleNeeds)
}

// announce says what is to come.
func (p testPlan) announce() []string {
	took := testTime
	if p.short {
		took = testTimeShort
	}
	return append([]string{"this takes about " + took + " once everything is in the caches; the first time everything is compiled and installed before"}, p.scope()...)
}

// scope says what is installed and what is left out.
func (p testPlan) scope() []string {
	var lines []string
	if missing := computer.Missing(p.needs); len(missing) > 0 {
		lines = append(lines, "first it installs these Debian packages: "+strings.Join(missing, " ")+" (LAB_APT=never forbids it)")
	} else {
		lines = append(lines, "all Debian packages that it needs itself are installed")
	}
	for _, what := range p.without {
		lines = append(lines, "left out: "+what)
	}
	return lines
}

// unitTested returns the packages that have tests, but for e2e.
func unitTested(ctx context.Context, r *run.Run) ([]string, error) {
	out, err := r.Exec.Run(ctx, command.Cmd{
		Args: []string{"go", "list", "-f", "{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}", "./..."}, Dir: r.Root, Timeout: 5 * time.Minute,
		Hint: "the same says more by itself: go list ./...",
	})
	if err != nil {
		return nil, err
	}
	var packages []string
	for _, p := range strings.Fields(out) {
		if !strings.HasSuffix(p, strings.TrimPrefix(e2e, ".")) {
			packages = append(packages, p)
		}
	}
	if len(packages) == 0 {
		return nil, errors.New("no package has tests: restore them with git checkout -- magefiles")
	}
	return packages, nil
}
