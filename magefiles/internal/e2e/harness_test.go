//go:build linux

// Package e2e tests the whole lab on real machines, through the same targets that a user types.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/fault"
	definition "github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/stage"
)

// lab is a lab of its own, beside the one that a user may have: another name and another state directory. The
// underlays can't meet, each is in a network namespace without a way out.
type lab struct {
	t      *testing.T
	root   string // of the project
	mage   string // the compiled targets
	dir    string // with lab.yaml and .lab
	name   string
	hw     string          // LAB_HARDWARE
	env    []string        // further variables of every command
	prefix []string        // of every command: where it is run
	want   *definition.Lab // what the project's lab.yaml says
	pins   artifact.Pins
}

func newLab(t *testing.T, hardware string) *lab {
	t.Helper()
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{t: t, root: root, dir: t.TempDir(), hw: hardware}
	l.name = fmt.Sprintf("test-%d-%s", os.Getpid(), strings.NewReplacer("/", "-", "_", "-").Replace(strings.ToLower(strings.TrimPrefix(t.Name(), "Test"))))
	l.mage = filepath.Join(l.dir, "mage")
	targets, err := compiled()
	if err == nil {
		syscall.ForkLock.RLock() // a process that another test starts now would have the file open for writing, and nobody may execute it then
		err = os.WriteFile(l.mage, targets, 0o755)
		syscall.ForkLock.RUnlock()
	}
	if err != nil {
		t.Fatal(err)
	}
	if l.want, err = definition.Load(filepath.Join(root, "lab.yaml")); err != nil {
		t.Fatal(err)
	}
	if l.pins, err = artifact.ReadPins(root); err != nil {
		t.Fatal(err)
	}
	yaml, err := os.ReadFile(filepath.Join(root, "lab.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	l.write(strings.Replace(string(yaml), "name: calico-cni-lab", "name: "+l.name, 1))
	t.Cleanup(func() {
		if t.Failed() {
			l.keepLogs()
		}
		if _, err := os.Stat(filepath.Join(l.dir, ".lab", "plan.json")); err == nil {
			l.write(string(yaml)) // whatever a test left there: destroy doesn't need it
			l.ok("destroy")
		}
	})
	return l
}

// round is how much is tested: "" is go tool mage test, "quick" is that with -short, "long" is go tool mage dev:testLong.
var round = os.Getenv("LAB_TEST_ROUND")

// long leaves out what only go tool mage dev:testLong does.
func long(t *testing.T) {
	t.Helper()
	if round != "long" {
		t.Skip("takes long: go tool mage dev:testLong")
	}
}

// compiled are the targets of this checkout. Mage writes a file there and removes it, so of those that would compile side by side one may fail.
var compiled = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "calico-cni-lab.")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	file := filepath.Join(dir, "mage")
	cmd := exec.CommandContext(ctx, "go", "tool", "mage", "-compile", file)
	cmd.Dir = "../../.."
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("compiling the targets: %w\n%s", err, out)
	}
	return os.ReadFile(file)
})

// checkout is a copy of the one that is tested, for `go tool mage`: see compiled.
func (l *lab) checkout() string {
	l.t.Helper()
	dir := filepath.Join(l.dir, "checkout")
	if _, err := os.Stat(dir); err != nil {
		l.copyTo(dir, nil)
	}
	return dir
}

// keepLogs leaves the archive of a lab that failed in the project's state directory.
func (l *lab) keepLogs() {
	l.run("logs") //nolint:errcheck // there may be nothing to log
	archives, err := filepath.Glob(filepath.Join(l.dir, ".lab", "*.tar.gz"))
	if err != nil || len(archives) == 0 {
		return
	}
	kept := filepath.Join(l.root, ".lab")
	if err := os.MkdirAll(kept, 0o755); err != nil {
		l.t.Log(err)
		return
	}
	for _, a := range archives {
		name := filepath.Join(kept, filepath.Base(a))
		data, err := os.ReadFile(a)
		if err == nil {
			err = os.WriteFile(name, data, 0o600)
		}
		if info, serr := os.Stat(l.root); err == nil && serr == nil { // who called sudo is to read it
			st := info.Sys().(*syscall.Stat_t)
			err = os.Chown(name, int(st.Uid), int(st.Gid))
		}
		l.t.Logf("the lab's logs: %s (%v)", name, err)
	}
}

// home is where the lab's machines lie.
func (l *lab) home() string { return "/var/lib/calico-cni-lab/labs/" + l.name }

func (l *lab) write(yaml string) {
	l.t.Helper()
	if err := os.WriteFile(filepath.Join(l.dir, "lab.yaml"), []byte(yaml), 0o644); err != nil {
		l.t.Fatal(err)
	}
}

// change rewrites a part of lab.yaml and returns a function that puts it back.
func (l *lab) change(old, new string) (back func()) {
	l.t.Helper()
	before, err := os.ReadFile(filepath.Join(l.dir, "lab.yaml"))
	if err != nil {
		l.t.Fatal(err)
	}
	after := strings.Replace(string(before), old, new, 1)
	if after == string(before) {
		l.t.Fatalf("lab.yaml has no %q", old)
	}
	l.write(after)
	return func() { l.write(string(before)) }
}

func (l *lab) start(ctx context.Context, args ...string) *exec.Cmd {
	args = append(slices.Clone(l.prefix), args...)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = l.root
	cmd.Env = append(os.Environ(), "LAB_FILE="+filepath.Join(l.dir, "lab.yaml"), "LAB_HARDWARE="+l.hw, "MAGEFILE_VERBOSE=0", "MAGEFILE_CACHE="+filepath.Join(l.dir, ".mage"))
	cmd.Env = append(cmd.Env, l.env...)
	return cmd
}

// run runs targets and returns standard output and standard error.
func (l *lab) run(args ...string) (stdout, stderr string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Minute)
	defer cancel()
	cmd := l.start(ctx, append([]string{l.mage}, args...)...)
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	err = cmd.Run()
	return o.String(), e.String(), err
}

// ok runs targets that must succeed.
func (l *lab) ok(args ...string) string {
	l.t.Helper()
	stdout, stderr, err := l.run(args...)
	if err != nil {
		l.t.Fatalf("mage %s: %v\n%s%s", strings.Join(args, " "), err, stdout, stderr)
	}
	return stdout
}

// fails runs targets that must fail, and returns what they say about it.
func (l *lab) fails(args ...string) string {
	l.t.Helper()
	stdout, stderr, err := l.run(args...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		l.t.Fatalf("mage %s: %v, not an exit status\n%s%s", strings.Join(args, " "), err, stdout, stderr)
	}
	return stdout + stderr
}

// ssh runs a command on a machine with plain OpenSSH and the lab's ssh_config.
func (l *lab) ssh(machine, command string) string {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := l.start(ctx, "ssh", "-F", filepath.Join(l.dir, ".lab", "ssh_config"), machine, command)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		l.t.Fatalf("%s$ %s: %v\n%s%s", machine, command, err, out, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

// has wants every one of parts in text.
func (l *lab) has(text string, parts ...string) {
	l.t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			l.t.Errorf("no %q in:\n%s", p, text)
		}
	}
}

// sub runs a part of the test that must hold for the rest to make sense.
func (l *lab) sub(name string, f func(l *lab)) {
	l.t.Helper()
	if !l.part(name, f) {
		l.t.FailNow()
	}
}

// part runs a part of the test, and reports whether it passed.
func (l *lab) part(name string, f func(l *lab)) bool {
	l.t.Helper()
	return l.t.Run(name, func(t *testing.T) {
		c := *l
		c.t = t
		f(&c)
	})
}

// long runs a part of the test that only the long round has.
func (l *lab) long(name string, f func(l *lab)) {
	l.t.Helper()
	l.sub(name, func(l *lab) {
		long(l.t)
		f(l)
	})
}

// report is what check says, for programs.
func (l *lab) report() check.Report {
	l.t.Helper()
	stdout, stderr, _ := l.run("check", "-json")
	var r check.Report
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		l.t.Fatalf("check -json: %v\n%s%s", err, stdout, stderr)
	}
	return r
}

// holds wants a lab of which everything holds.
func (l *lab) holds() {
	l.t.Helper()
	all := l.unmet()
	if fault.OnlyPackets(all) {
		all = l.unmet() // one lost packet may be chance
	}
	for _, res := range all {
		l.t.Errorf("%s: %s", res.ID, res.Found)
	}
}

// settles wants a lab of which everything holds once Calico has followed.
func (l *lab) settles() {
	l.t.Helper()
	for deadline := time.Now().Add(time.Minute); len(l.unmet()) > 0 && time.Now().Before(deadline); {
	}
	l.holds()
}

// unmet are the conditions that don't hold.
func (l *lab) unmet() []check.Result {
	l.t.Helper()
	r := l.report()
	return r.Unmet()
}

// stages are the targets that verify brings about.
func stages() []string {
	var names []string
	for _, s := range stage.All() {
		names = append(names, s.Name)
	}
	return names
}

// did wants every stage reported as done by a run, or as already done.
func (l *lab) did(out string, already bool) {
	l.t.Helper()
	for _, s := range stages() {
		if strings.Contains(out, fmt.Sprintf("✓ %-11s already done: ", s)) != already {
			l.t.Errorf("stage %s, already done: %t is wanted in\n%s", s, already, out)
		}
	}
}

// processes are a machine's.
func (l *lab) processes(machine string) []int {
	l.t.Helper()
	return l.faulty().Processes(machine)
}

// nothingLeft looks for everything that a lab makes on this computer.
func (l *lab) nothingLeft() {
	l.t.Helper()
	for _, left := range l.faulty().Remains() {
		l.t.Errorf("left: %s", left)
	}
}

// appears looks until a condition doesn't hold: BIRD and Felix take a moment to notice.
func (l *lab) appears(id string) {
	l.t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		if slices.ContainsFunc(l.unmet(), func(r check.Result) bool { return r.ID == id }) {
			return
		}
	}
}

// first wants a condition to be the first that doesn't hold.
func (l *lab) first(id string) {
	l.t.Helper()
	if all := l.unmet(); len(all) == 0 || all[0].ID != id {
		l.t.Errorf("%s is not the first that doesn't hold: %s", id, fault.Names(all))
	}
}

// faulty is the lab as faults are brought about in it.
func (l *lab) faulty() *fault.Lab {
	return &fault.Lab{Name: l.name, Root: l.root, Dir: l.dir, Mage: []string{l.mage}, Run: &command.Runner{}}
}
