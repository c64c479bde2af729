package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/ui"
)

// labFile is a lab.yaml of machines that exist already: its name, calico1's address.
const labFile = `
name: %s
underlay: {subnet: 192.168.4.0/24}
machines:
  - {name: etcd-node, role: etcd, address: 192.168.4.7}
  - {name: calico1, role: calico, address: %s}
  - {name: calico2, role: calico, address: 192.168.4.6}
network: test-calico
pool: {name: p, cidr: 10.1.0.0/16, blockSize: 26, ipipMode: Never, natOutgoing: true, disabled: false}
versions: {debian: bookworm, go: 1.26.11}
`

// newRun returns a run on a lab of machines that exist already. Nothing is asked of them.
func newRun(t *testing.T) *Run {
	t.Helper()
	t.Setenv("LAB_HARDWARE", "ssh")
	t.Setenv("LAB_CACHE", t.TempDir())
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	out, err := os.Create(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { out.Close() })
	r := &Run{Console: ui.New(out), Exec: &command.Runner{}, Root: root, LabFile: filepath.Join(dir, "lab.yaml"), StateDir: filepath.Join(dir, ".lab")}
	t.Cleanup(func() {
		if err := r.Reset(); err != nil {
			t.Error(err)
		}
	})
	define(t, r, "one", "192.168.4.5")
	return r
}

func define(t *testing.T, r *Run, name, calico1 string) {
	t.Helper()
	if err := os.WriteFile(r.LabFile, fmt.Appendf(nil, labFile, name, calico1), 0o644); err != nil {
		t.Fatal(err)
	}
}

// keepPlan keeps a plan as Up does.
func keepPlan(t *testing.T, r *Run, l *lab.Lab) {
	t.Helper()
	if err := os.MkdirAll(r.StateDir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := machine.NewPlan("ssh", l).Write(r.StateDir); err != nil {
		t.Fatal(err)
	}
}

func TestLab(t *testing.T) {
	r := newRun(t)
	l, err := r.Lab(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !l.Observer().Existing {
		t.Error("nothing looks for what is somebody else's on machines that existed before")
	}
	if l.Name != "one" || l.Provider.Name() != "ssh" || l.Why != "LAB_HARDWARE says so" || l.Maker.GoOnNode != "1.26.11" {
		t.Errorf("%+v", l)
	}
	if again, err := r.Lab(t.Context()); again != l || err != nil {
		t.Errorf("it is read twice: %v", err)
	}
	if _, err := os.Stat(r.StateDir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something was made: %v", err)
	}
}

// TestLabErrors: each says what to do.
func TestLabErrors(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(*testing.T, *Run)
		want string
	}{
		{"no file", func(_ *testing.T, r *Run) { r.LabFile += ".none" }, "lab.yaml.none"},
		{"no lab", func(t *testing.T, r *Run) { define(t, r, "one", "10.0.0.1") }, "192.168.4.0/24"},
		{"no such hardware layer", func(t *testing.T, _ *Run) { t.Setenv("LAB_HARDWARE", "cloud") }, `there is no hardware layer "cloud"; LAB_HARDWARE is one of`},
		{"not the project's directory", func(t *testing.T, r *Run) { r.Root = t.TempDir() }, "components/calico/go.mod"},
		{"other machines", func(t *testing.T, r *Run) {
			l, err := lab.Load(r.LabFile)
			if err != nil {
				t.Fatal(err)
			}
			keepPlan(t, r, l)
			define(t, r, "one", "192.168.4.15")
		}, "describes another lab than the one that exists: "},
		{"a damaged plan", func(t *testing.T, r *Run) {
			if err := os.MkdirAll(r.StateDir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(r.StateDir, machine.PlanFile), []byte("{"), 0o644); err != nil {
				t.Fatal(err)
			}
			if l, err := r.WithoutPlan(t.Context()); err != nil || l.Name != "one" {
				t.Errorf("without the plan: %v", err)
			}
		}, "go tool mage destroy"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRun(t)
			c.do(t, r)
			if l, err := r.Lab(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) || l != nil {
				t.Errorf("error %v, want ... %s ...", err, c.want)
			}
		})
	}
}

// TestWayIn: another key or port is no other lab; the plan that is kept follows.
func TestWayIn(t *testing.T) {
	r := newRun(t)
	l, err := lab.Load(r.LabFile)
	if err != nil {
		t.Fatal(err)
	}
	keepPlan(t, r, l)
	text := strings.Replace(fmt.Sprintf(labFile, "one", "192.168.4.5"), "192.168.4.6}", "192.168.4.6, ssh: {port: 2222, key: ~/new}}", 1)
	if err := os.WriteFile(r.LabFile, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	now, err := r.Lab(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := now.KeepPlan(); err != nil {
		t.Fatal(err)
	}
	if plan, _, err := r.Plan(); err != nil || plan.Machines[2].SSH != (lab.SSH{Port: 2222, Key: "~/new"}) {
		t.Errorf("%+v, %v", plan, err)
	}
}

// TestPlanned: a lab that was made stays on the hardware layer that it was made on.
func TestPlanned(t *testing.T) {
	r := newRun(t)
	l, err := lab.Load(r.LabFile)
	if err != nil {
		t.Fatal(err)
	}
	keepPlan(t, r, l)
	t.Setenv("LAB_HARDWARE", "")
	made, err := r.Lab(t.Context())
	if err != nil || made.Provider.Name() != "ssh" || made.Why != "the lab uses it already" {
		t.Errorf("%+v, %v", made, err)
	}
	if _, err := r.Provider(machine.Plan{Hardware: "cloud"}); err == nil {
		t.Error("a plan's hardware layer that there isn't")
	}
}

// TestReset: after it the next target begins as a process of its own would.
func TestReset(t *testing.T) {
	r := newRun(t)
	lock := filepath.Join(r.StateDir, "lock")
	for i, name := range []string{"one", "two"} {
		define(t, r, name, "192.168.4.5")
		l, err := r.Lab(t.Context())
		if err != nil || l.Name != name {
			t.Fatalf("lab %d: %v", i, err)
		}
		for range 2 { // the second changes nothing
			if err := r.Begin(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		log := r.Exec.Log.Path()
		if _, err := os.Stat(log); err != nil || filepath.Dir(log) != filepath.Join(r.StateDir, "logs") {
			t.Errorf("log %q: %v", log, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), lockPatience/10)
		if _, err := takeLock(ctx, lock); err == nil || !strings.Contains(err.Error(), "another run works on this lab") {
			t.Errorf("it isn't locked: %v", err)
		}
		cancel()
		if i == 0 { // as destroy does it
			if err := os.RemoveAll(r.StateDir); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.Reset(); err != nil {
			t.Fatal(err)
		}
		if r.Exec.Log.Path() != "" {
			t.Error("what follows goes into the old log")
		}
	}
	free, err := takeLock(t.Context(), lock)
	if err != nil {
		t.Fatalf("the lock is still held: %v", err)
	}
	free.Close()
	if err := r.Reset(); err != nil {
		t.Errorf("nothing to reset: %v", err)
	}
}

func TestNew(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for file, want := range map[string][2]string{"": {"lab.yaml", dir + "/.lab"}, "labs/small.yaml": {"labs/small.yaml", dir + "/labs/.lab"}, "/etc/lab.yaml": {"/etc/lab.yaml", "/etc/.lab"}} {
		t.Setenv("LAB_FILE", file)
		parent, cancel := context.WithCancel(t.Context())
		ctx, r, err := New(parent)
		if err != nil || r.LabFile != want[0] || r.StateDir != want[1] || r.Root != dir || ctx.Err() != nil {
			t.Errorf("LAB_FILE=%s: %+v, %v", file, r, err)
		}
		cancel()
		if <-ctx.Done(); !errors.Is(context.Cause(ctx), context.Canceled) {
			t.Errorf("cause: %v", context.Cause(ctx))
		}
	}
}

// TestCache: where it is, and that LAB_CACHE can't name just any directory.
func TestCache(t *testing.T) {
	dir := t.TempDir()
	r := &Run{}
	for _, c := range []struct{ cache, xdg, home, want string }{
		{dir + "/cache", "/x", "/h", dir + "/cache"}, {"", dir + "/x", "/h", dir + "/x/calico-cni-lab"}, {"", "", dir + "/h", dir + "/h/.cache/calico-cni-lab"},
		{"cache", "", "/h", ""}, {dir, "", dir, ""}, {"", "", "", ""},
	} {
		t.Setenv("LAB_CACHE", c.cache)
		t.Setenv("XDG_CACHE_HOME", c.xdg)
		t.Setenv("HOME", c.home)
		r.Console, r.Exec = ui.New(os.Stdout), &command.Runner{}
		s, err := r.Cache()
		if c.want == "" {
			if err == nil || !strings.Contains(err.Error(), "LAB_CACHE") {
				t.Errorf("%+v: %v", c, err)
			}
		} else if err != nil || s.Dir != c.want || r.store(c.want, false) != s {
			t.Errorf("%+v: %+v, %v", c, s, err)
		}
	}
}

func TestPatience(t *testing.T) {
	for _, c := range []struct{ machines, cpus, want int }{{3, 2, 1}, {16, 2, 1}, {17, 2, 2}, {51, 2, 4}, {51, 16, 1}, {3, 1, 1}} {
		if got := patience(c.machines, c.cpus); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
}

// TestOwnTargets: what Mage compiled from another checkout doesn't run here, and what was compiled to be run anywhere does.
func TestOwnTargets(t *testing.T) {
	here, other, cache := t.TempDir(), t.TempDir(), "/home/u/.magefile"
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(here, link); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		program, from string
		refused       bool
	}{
		{cache + "/876da2", here, false},
		{cache + "/876da2", link, false},
		{cache + "/876da2", other, true},
		{cache + "/876da2 (deleted)", other, true},
		{cache + "/876da2", "github.com/calico-cni-lab/lab", false}, // without paths
		{cache + "/876da2", other + "/gone", false},
		{other + "/lab", other, false},
	} {
		if err := ownTargets(c.program, cache, c.from, here); (err != nil) != c.refused {
			t.Errorf("%s from %s: %v", c.program, c.from, err)
		}
	}
}
