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
	"github.com/calico-cni-lab/lab/magefiles/internal/machine/box"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine/nspawn"
	"github.com/calico-cni-lab/lab/magefiles/internal/run"
)

// Measured on 2 cores with everything in the caches.
const (
	testTimeShort = "2 minutes"
	testTime      = "35 minutes"
	testTimeAll   = "50 minutes" // with virtual machines
	unitTestLimit = 40 * time.Minute
	quickLimit    = 10 * time.Minute
	e2eLimit      = 100 * time.Minute
)

// e2e is the package whose tests make labs.
const e2e = "./magefiles/internal/e2e"

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
	virtual bool            // machines too
	needs   []computer.Need // what is installed before
	without []string        // what is left out, and why
}

// Test runs the project's tests and shows what the test runner says: units with the race detector, then some fuzzing, then
// those that make labs, then the one on virtual machines, which a user's computer is spared unless it is asked for. What it will install and
// how long it takes it says before it does anything.
//
// These parts run one after the other. Of the labs, each of which waits for much of its time, as many run side by side as there are
// cores; the virtual machines, whose CPU is emulated, run alone.
//
// In short it is units, without the race detector, and a lab from its beginning to its end.
func Test(ctx context.Context, r *run.Run, short bool) error {
	p, err := newTestPlan(os.Getenv, os.Geteuid() == 0, short)
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
		quick := []string{"go", "test", "-count=1", "-timeout=" + quickLimit.String(), "-run", "^TestLab$", "-v", e2e}
		return show(ctx, r, shown{args: quick, env: []string{"LAB_TEST_QUICK=now"}, limit: quickLimit + time.Minute})
	}
	if err := fuzzAnew(ctx, r, testFuzz); err != nil {
		return err
	}
	// TestVagrant has to be run by the target: it gives it a libvirt of its own.
	labs := shown{args: []string{"go", "test", "-count=1", "-timeout=" + e2eLimit.String(), e2e}, env: []string{vagrantVariable + "=never"}, limit: e2eLimit + time.Minute}
	if err := show(ctx, r, labs); err != nil {
		return err
	}
	if !p.virtual {
		return nil
	}
	return TestVagrant(ctx, r)
}

// forRoot is what only root's tests try: they make users, give files away, mount, and kill control groups in this process. One that
// needs no more than root's commands has them by sudo.
const forRoot = "what only root can try: an ordinary user with sudo, a Docker daemon of its own, files and mounts of other users', control groups, machines with cgroup v2 alone; " +
	`with them: sudo -E env "PATH=$PATH" go tool mage test`

// newTestPlan decides what is tested. What was asked for and can't be done is an error.
func newTestPlan(getenv func(string) string, root, short bool) (testPlan, error) {
	if runtime.GOOS != "linux" {
		return testPlan{}, fmt.Errorf("the tests make labs of nspawn containers, which takes Linux, and this is %s; the others: go test -short ./...", runtime.GOOS)
	}
	p := testPlan{short: short, needs: slices.Clone(nspawn.Needs)}
	if short {
		p.without = []string{"the race detector, fuzzing, most of what is done to a lab, Docker, the playbooks; with all of it: go tool mage test"}
		return p, nil
	}
	optional := func(what string, needs []computer.Need) bool {
		if err := computer.Installable(needs); err != nil {
			p.without = append(p.without, fmt.Sprintf("%s: %v", what, err))
			return false
		}
		p.needs = append(p.needs, needs...)
		return true
	}
	p.race = optional("the race detector", raceNeeds)
	optional("the playbooks", ansible.Needs)
	if root {
		optional("the user with sudo", userNeeds)
		optional("a lab from a bundle", bundleNeeds)
	} else {
		p.without = append(p.without, forRoot)
	}
	var why string
	if p.virtual, why = wantsVirtual(getenv); !p.virtual {
		p.without = append(p.without, "virtual machines: "+why)
		return p, nil
	}
	if err := virtualPossible(); err != nil {
		return p, fmt.Errorf("%w; the tests without them: %s=never go tool mage test", err, vagrantVariable)
	}
	p.needs = append(p.needs, sandboxNeeds...)
	return p, nil
}

// vagrantVariable says whether Test has virtual machines: never, or now.
const vagrantVariable = "LAB_TEST_VAGRANT"

// wantsVirtual says whether Test has virtual machines, and if it hasn't, why.
func wantsVirtual(getenv func(string) string) (want bool, why string) {
	switch {
	case getenv(vagrantVariable) == "never":
		return false, vagrantVariable + "=never"
	case getenv(vagrantVariable) == "now", getenv("CI") == "true":
		return true, ""
	}
	return false, "they take long and install much; with them: " + vagrantVariable + "=now go tool mage test"
}

// virtualPossible returns an error that says why this computer can't run the test on virtual machines.
func virtualPossible() error {
	if runtime.GOOS != "linux" || runtime.GOARCH != box.Arch {
		return fmt.Errorf("the test on virtual machines needs Linux on %s; this is %s on %s", box.Arch, runtime.GOOS, runtime.GOARCH)
	}
	return computer.Installable(sandboxNeeds)
}

// announce says what is to come.
func (p testPlan) announce() []string {
	took := testTime
	switch {
	case p.short:
		took = testTimeShort
	case p.virtual:
		took = testTimeAll
	}
	lines := []string{"this takes about " + took + " once everything is in the caches; the first time everything is compiled and installed before"}
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
