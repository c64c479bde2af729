package machine

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
)

func testPlan() Plan {
	return Plan{
		Hardware: "ssh", Name: "test", Subnet: netip.MustParsePrefix("192.168.4.0/24"), Gateway: netip.MustParseAddr("192.168.4.1"),
		Machines: []Planned{
			{Name: "etcd-node", Role: lab.RoleEtcd, Address: netip.MustParseAddr("192.168.4.7")},
			{Name: "calico1", Role: lab.RoleCalico, Address: netip.MustParseAddr("192.168.4.5"), SSH: lab.SSH{User: "netadmin"}},
		},
	}
}

func TestPlan(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	if _, exists, err := ReadPlan(dir); exists || err != nil {
		t.Errorf("a plan of nobody: %v, %v", exists, err)
	}
	want := testPlan()
	if err := want.Write(dir); err != nil {
		t.Fatal(err)
	}
	got, exists, err := ReadPlan(dir)
	if err != nil || !exists {
		t.Fatal(exists, err)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	data, err := os.ReadFile(filepath.Join(dir, PlanFile))
	if err != nil || strings.Count(string(data), `"ssh"`) != 2 { // the kind's name, and one machine's section
		t.Errorf("%s, %v", data, err)
	}
}

// TestPlanOfOldName: labs that are there already were made when the kind had another name.
func TestPlanOfOldName(t *testing.T) {
	dir := t.TempDir()
	old := testPlan()
	old.Hardware = "hosts"
	if err := old.Write(dir); err != nil {
		t.Fatal(err)
	}
	if got, _, err := ReadPlan(dir); err != nil || got.Hardware != "ssh" {
		t.Errorf("%q, %v", got.Hardware, err)
	}
}

func TestDamagedPlan(t *testing.T) {
	dir := t.TempDir()
	if err := testPlan().Write(dir); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(filepath.Join(dir, PlanFile))
	if err != nil {
		t.Fatal(err)
	}
	damaged := map[string]string{
		"empty object": "{}", "null": "null", "zeros": strings.Repeat("\x00", 100), "of another kind": "[]",
		"no name":              strings.Replace(string(whole), `"name": "test"`, `"name": ""`, 1),
		"a name that leads up": strings.Replace(string(whole), `"name": "test"`, `"name": ".."`, 1),
		"a name with a slash":  strings.Replace(string(whole), `"name": "calico1"`, `"name": "../x"`, 1),
		"no address":           strings.Replace(string(whole), "192.168.4.5", "", 1),
		"no kind":              strings.Replace(string(whole), `"hardware": "ssh"`, `"hardware": ""`, 1),
	}
	// Cut anywhere; the last two bytes are "}\n".
	for n := range len(whole) - 2 {
		damaged["cut"] = string(whole[:n])
		for name, text := range damaged {
			if err := os.WriteFile(filepath.Join(dir, PlanFile), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			p, _, err := ReadPlan(dir)
			if !errors.Is(err, ErrPlan) || !strings.Contains(err.Error(), "go tool mage destroy") || p.Name != "" {
				t.Fatalf("%s (%d): %+v, %v\n%s", name, n, p, err, text)
			}
			if name != "cut" {
				delete(damaged, name) // once is enough
			}
		}
	}
}

// TestWriteFile: of several writers at once one wins, and a reader never sees less than a whole file.
func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	texts := []string{strings.Repeat("a", 1<<16), strings.Repeat("b", 1<<15)}
	if err := WriteFile(path, []byte(texts[0]), 0o600); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if err := WriteFile(path, []byte(texts[i%2]), 0o600); err != nil {
				t.Error(err)
			}
			if data, err := os.ReadFile(path); err != nil || string(data) != texts[0] && string(data) != texts[1] {
				t.Errorf("%d bytes, %v", len(data), err)
			}
		})
	}
	wg.Wait()
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if err := os.Mkdir(filepath.Join(dir, "taken"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "taken", "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(filepath.Join(dir, "taken"), nil, 0o600); err == nil {
		t.Error("wrote over a directory")
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Errorf("left behind after a failure: %v", left)
	}
}
