package stage

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/spec"
)

// TestOwnPlugins: lab.yaml's own plugins have to be there as they are on this computer; those that it has no more have to be gone.
func TestOwnPlugins(t *testing.T) {
	dir := t.TempDir()
	own := lab.Plugins{Binaries: []string{filepath.Join(dir, "mine")}, Conflist: filepath.Join(dir, "my.conflist"), Network: "own"}
	for _, file := range append(own.Binaries, own.Conflist) {
		if err := os.WriteFile(file, nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	const program, conflist = "/opt/cni/bin/mine", "/etc/cni/net.d/20-own.conflist"
	const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	there := both(at("calico1", func(m *fact.Machine) { m.Owned.Value = append(m.Owned.Value, program, conflist) }),
		at("calico1", file(program, fact.File{SHA256: empty, Mode: "755", Owner: "root:root"})), at("calico1", file(conflist, fact.File{SHA256: empty, Mode: "644", Owner: "root:root"})))
	for _, tt := range []struct {
		name    string
		plugins lab.Plugins
		do      func(*fact.Lab)
		id      string
		want    check.State
		found   string
	}{
		{"there", own, there, "own-plugins/calico1", check.Holds, "2 files"},
		{"compiled anew", own, both(there, at("calico1", change(program, func(f *fact.File) { f.SHA256 = "other" }))), "own-plugins/calico1", check.Broken, program + " has other contents"},
		{"missing", own, there, "own-plugins/calico2", check.Broken, program + " is missing, and something is wrong with 1 more"},
		{"wanted, so not left", own, there, "plugins/calico1", check.Holds, ""},
		{"left", lab.Plugins{}, there, "plugins/calico1", check.Broken, program + ", " + conflist + " is an older lab.yaml's"},
		{"no network of the lab's", lab.Plugins{}, there, "old-network/calico1", check.Holds, ""},
		{"another name", lab.Plugins{Binaries: own.Binaries, Conflist: own.Conflist, Network: "other"}, there, "plugins/calico1", check.Broken, conflist + " is an older lab.yaml's"},
		{"the user's own doing", lab.Plugins{}, at("calico1", file(program, fact.File{SHA256: "x"})), "plugins/calico1", check.Holds, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := recording(t, healthyFile)
			e := envOf(t, f, "")
			e.Lab.Plugins = tt.plugins
			var err error
			if e.Spec, err = spec.New(e.Lab, e.Pins, e.Artifacts); err != nil {
				t.Fatal(err)
			}
			tt.do(f)
			for _, r := range results(e, f).Results {
				if r.ID == tt.id {
					if r.State != tt.want || tt.found != "" && r.Found != tt.found {
						t.Errorf("%s: %q, want %s: %q", r.State, r.Found, tt.want, tt.found)
					}
					return
				}
			}
			t.Errorf("there is no condition %s", tt.id)
		})
	}
}
