package develop

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/calico-cni-lab/lab/magefiles/internal/computer"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine/nspawn"
)

// TestPlanOfUser: what an ordinary user's run leaves out is said, and root's leaves none of it out.
func TestPlanOfUser(t *testing.T) {
	for _, root := range []bool{true, false} {
		p, err := newTestPlan(root, false)
		if err != nil {
			t.Fatal(err)
		}
		if said := strings.Contains(strings.Join(p.announce(), "\n"), "left out: what only root can try: "); said == root {
			t.Errorf("root: %t, said: %t", root, said)
		}
	}
}

// TestShort: what the short run leaves out is said, and it installs nothing but what the lab's machines need.
func TestShort(t *testing.T) {
	p, err := newTestPlan(true, true)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(nspawn.Needs, p.needs); diff != "" {
		t.Errorf("needs (-want +got):\n%s", diff)
	}
	text := strings.Join(p.announce(), "\n")
	for _, want := range []string{testTimeShort, "left out: the race detector, ", "go tool mage test"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
}

// TestAnnounce: how long it takes and what is installed is said before anything is done.
func TestAnnounce(t *testing.T) {
	p := testPlan{
		needs:   []computer.Need{{Program: "no-such-program", Package: "no-such-package"}, {Program: "go", Package: "golang"}},
		without: []string{"the playbooks: there is no network"},
	}
	text := strings.Join(p.announce(), "\n")
	for _, want := range []string{testTime, "Debian packages: no-such-package (", "left out: the playbooks: there is no network"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
	p.needs = nil
	if text := strings.Join(p.announce(), "\n"); strings.Contains(text, "no-such") {
		t.Error(text)
	}
}
