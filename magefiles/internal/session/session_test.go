package session

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestStat(t *testing.T) {
	parent, name, err := stat(os.Getpid())
	if err != nil || parent != os.Getppid() || !strings.HasPrefix(name, "session.test"[:12]) {
		t.Errorf("stat: %d %q, %v", parent, name, err)
	}
	if _, _, err := stat(-1); err == nil {
		t.Error("a process that can't be")
	}
}

// TestAncestry: the chain is broken when a process in it has another parent than before.
func TestAncestry(t *testing.T) {
	a := ancestry{{os.Getpid(), os.Getppid()}}
	if !a.intact() {
		t.Error("broken, but nothing has changed")
	}
	a[0].parent++
	if a.intact() {
		t.Error("intact, but the parent is another one")
	}
	if !(ancestry{}).intact() {
		t.Error("a run that nobody stands above is broken")
	}
}

func TestCommandAfter(t *testing.T) {
	for _, c := range []struct {
		args string
		want []string
	}{
		{"mage ssh calico1", []string{}},
		{"mage ssh calico1 sudo ip -4 route", []string{"sudo", "ip", "-4", "route"}},
		{"mage -v SSH calico1 ssh calico1", []string{"ssh", "calico1"}},
		{"mage check", nil},
	} {
		if diff := cmp.Diff(c.want, commandAfter(strings.Fields(c.args), "calico1")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.args, diff)
		}
	}
}

func TestTakeLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := takeLock(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = takeLock(path)
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("process %d, `mage ", os.Getpid())) {
		t.Errorf("second: %v", err)
	}
	first.Close()
	again, err := takeLock(path)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

func TestPrune(t *testing.T) {
	dir := t.TempDir()
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range keepLogs + 3 {
		name := start.Add(time.Duration(i)*time.Hour).Format("2006-01-02T15-04-05") + "-up.log"
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := prune(dir, "*.log", keepLogs); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != keepLogs || left[0].Name() != "2026-01-01T03-00-00-up.log" {
		t.Errorf("%d left, the first %s, %v", len(left), left[0].Name(), err)
	}
}

func TestSpread(t *testing.T) {
	got := spread([]int{5, 1, 3, 9, 2}, func(n int) string { return fmt.Sprint(n) })
	if diff := cmp.Diff([]string{"1", "3", "9"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
