//go:build linux

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLabFiles: the labs of labs/ come up, what is taught on them is as it is written there, and they leave nothing. The largest is measured
// by dev:benchmark.
func TestLabFiles(t *testing.T) {
	if testing.Short() {
		t.Skip("needs real machines")
	}
	t.Parallel()
	l := newLab(t, "nspawn")
	l.env = []string{"XDG_CONFIG_HOME=" + t.TempDir()} // where a reader's progress is
	for _, tt := range []struct{ file, machine, plays string }{
		{"three-nodes.yaml", "calico3", ""},
		{"reflectors.yaml", "calico4", "route-reflectors"},
	} {
		l.sub(tt.file, func(l *lab) {
			l.use(tt.file)
			l.ok("verify")
			l.has(l.ssh(tt.machine, "ip route show proto bird"), "via ")
			if tt.plays != "" {
				l.ok("learn", "-play", tt.plays)
			}
			l.ok("destroy")
			l.nothingLeft()
		})
	}
}

// use makes one of the project's lab files the lab's, under its own name.
func (l *lab) use(file string) {
	l.t.Helper()
	text, err := os.ReadFile(filepath.Join(l.root, "labs", file))
	if err != nil {
		l.t.Fatal(err)
	}
	own := strings.Replace(string(text), "extends: ../lab.yaml", "extends: "+filepath.Join(l.root, "lab.yaml"), 1)
	_, name, ok := strings.Cut(own, "\nname: ")
	if !ok {
		l.t.Fatalf("%s has no name", file)
	}
	name, _, _ = strings.Cut(name, "\n")
	l.write(strings.Replace(own, "\nname: "+name, "\nname: "+l.name, 1))
}
