package vagrant

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine/box"
)

// TestChosen: only where machines of Vagrant's are there already; which of its providers made them is known too.
func TestChosen(t *testing.T) {
	o := machine.Options{StateDir: filepath.Join(t.TempDir(), ".lab")}
	if reason, ok := chosen(t.Context(), o); ok || reason == "" {
		t.Errorf("nothing is there: %q, %v", reason, ok)
	}
	id := filepath.Join(filepath.Dir(o.StateDir), ".vagrant", "machines", "calico1", box.VirtualBox, "id")
	if err := os.MkdirAll(filepath.Dir(id), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, ok := chosen(t.Context(), o); ok {
		t.Error("a machine that was never made")
	}
	if err := os.WriteFile(id, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if reason, ok := chosen(t.Context(), o); !ok || reason == "" {
		t.Errorf("a machine is there: %q, %v", reason, ok)
	}
	if c := New(o).Capabilities(); c.SlowCPU || c.Undo || !c.RepairsNetwork {
		t.Errorf("of VirtualBox: %+v", c)
	}
}

// TestWithoutLab: the lab that the machines were made from stands in for one that can't be read, and nothing is made.
func TestWithoutLab(t *testing.T) {
	dir := t.TempDir()
	p := New(machine.Options{StateDir: dir, LabFile: "/project/lab.yaml"})
	if got := p.labFile(); got != "/project/lab.yaml" {
		t.Errorf("none was kept: %s", got)
	}
	if err := os.WriteFile(p.keptLab(), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := p.labFile(); got != p.keptLab() {
		t.Errorf("one was kept: %s", got)
	}
	if err := p.Preflight(t.Context()); !errors.Is(err, machine.ErrNoLab) {
		t.Errorf("Preflight: %v", err)
	}
	if err := p.Up(t.Context()); !errors.Is(err, machine.ErrNoLab) {
		t.Errorf("Up: %v", err)
	}
}
