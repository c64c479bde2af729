package develop

import (
	"strings"
	"testing"

	"github.com/calico-cni-lab/lab/magefiles/internal/computer"
)

func TestWantsVirtual(t *testing.T) {
	for _, c := range []struct {
		variable, ci string
		want         bool
	}{
		{"", "", false},
		{"", "true", true},
		{"now", "", true},
		{"never", "", false},
		{"never", "true", false},
		{"always", "", false},
	} {
		env := map[string]string{vagrantVariable: c.variable, "CI": c.ci}
		got, why := wantsVirtual(func(name string) string { return env[name] })
		if got != c.want || (why == "") != got {
			t.Errorf("%s=%q, CI=%q: %t, %q", vagrantVariable, c.variable, c.ci, got, why)
		}
	}
}

// TestAnnounce: how long it takes and what is installed is said before anything is done.
func TestAnnounce(t *testing.T) {
	p := testPlan{
		virtual: true, needs: []computer.Need{{Program: "no-such-program", Package: "no-such-package"}, {Program: "go", Package: "golang"}},
		without: []string{"the playbooks: there is no network"},
	}
	text := strings.Join(p.announce(), "\n")
	for _, want := range []string{testTimeAll, "Debian packages: no-such-package (", "left out: the playbooks: there is no network"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
	p.virtual, p.needs = false, nil
	if text := strings.Join(p.announce(), "\n"); !strings.Contains(text, testTime) || strings.Contains(text, testTimeAll) || strings.Contains(text, "no-such") {
		t.Error(text)
	}
}
