//go:build linux

package nspawn

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/calico-cni-lab/lab/scripts"
)

func TestNeeds(t *testing.T) {
	at := func(l load, name string) int {
		for _, n := range l.needs() {
			if n.name == name {
				return n.at
			}
		}
		t.Fatalf("nothing is said of %s", name)
		return 0
	}
	small, large := load{machines: 3, workloads: 2, starting: 3, instances: 3}, load{machines: 51, workloads: 150, starting: 51, instances: 20}
	for _, c := range []struct {
		name         string
		small, large int // at most, and at least
	}{
		{"fs.inotify.max_user_instances", 128, 444}, // Debian's limit, and 20 + 51 * 8 + 16
		{"net.ipv4.neigh.default.gc_thresh2", 512, 51 * 51},
		{"net.ipv4.neigh.default.gc_thresh3", 1024, 2 * 51 * 51},
		{"kernel.pid_max", 32768, 51 * 200},
		{"net.netfilter.nf_conntrack_max", 32768, 150 * 2 * 256},
	} {
		if n := at(small, c.name); n > c.small {
			t.Errorf("three machines need %s of %d, more than a usual computer's %d", c.name, n, c.small)
		}
		if n := at(large, c.name); n < c.large {
			t.Errorf("51 machines need %s of %d, and use %d", c.name, n, c.large)
		}
	}
}

// TestLimits: a limit is what the most demanding lab needs, and what it was when there is none any more.
func TestLimits(t *testing.T) {
	labs, sys := t.TempDir(), t.TempDir()
	file := filepath.Join(sys, "fs/inotify/max_user_instances")
	set := func(value string) {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(value+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	set("128")
	for i, step := range []struct {
		lab, need string // need "" gives the lab up
		elsewhere string // what somebody else sets before
		want      string
	}{
		{lab: "a", need: "100", want: "128"},
		{lab: "a", need: "1024", want: "1024"},
		{lab: "b", need: "512", want: "1024"},
		{lab: "a", want: "512"},
		{lab: "b", need: "600", want: "600"},
		{lab: "b", want: "128"},
		{lab: "a", need: "1024", want: "1024"},
		{lab: "a", elsewhere: "256", want: "256"},
		{lab: "a", need: "512", want: "512"},
		{lab: "a", need: "512", elsewhere: "128", want: "512"}, // after a boot, say
		{lab: "a", want: "128"},
	} {
		if step.elsewhere != "" {
			set(step.elsewhere)
		}
		dir := filepath.Join(labs, step.lab)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		args := []string{"-c", scripts.Text("nspawn-limits.sh"), "nspawn-limits.sh", dir, sys}
		if step.need != "" {
			args = append(args, "fs.inotify.max_user_instances", step.need, "net.ipv4.of.another.kernel", "9")
		}
		if out, err := exec.CommandContext(t.Context(), "bash", args...).CombinedOutput(); err != nil {
			t.Fatalf("step %d: %v\n%s", i, err, out)
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.TrimSpace(string(got)) != step.want {
			t.Errorf("step %d: %+v: it is %s", i, step, got)
		}
	}
	if left, err := filepath.Glob(filepath.Join(labs, ".limits")); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestMemoryFault(t *testing.T) {
	if err := memoryFault(51, 8000, 9000); err != nil {
		t.Error(err)
	}
	if err := memoryFault(51, 8000, 0); err != nil {
		t.Errorf("not known: %v", err)
	}
	if err := memoryFault(51, 8000, 4000); err == nil || !strings.Contains(err.Error(), "51 machines take some 8000 MB of memory, and 4000 MB are free") {
		t.Error(err)
	}
}

// TestInstances: one that is there is counted.
func TestInstances(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("counts what is root's")
	}
	count := func() int {
		out, err := exec.CommandContext(t.Context(), "bash", "-c", instances).Output()
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.Atoi(strings.TrimSpace(string(out)))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	const some = 5
	before := count()
	for range some {
		fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
	}
	if after := count(); after < some || after < before-some { // other tests' machines may end meanwhile
		t.Errorf("%d before, %d after %d more", before, after, some)
	}
}
