package stage

import (
	"archive/tar"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/scripts"
)

// here runs a script on this computer, with the lab's home in a temporary directory.
func here(t *testing.T, home string, stdin []byte, script string, args ...string) {
	t.Helper()
	cmd := exec.Command("bash", append([]string{"-c", strings.ReplaceAll(script, fact.Home, home), "bash"}, args...)...)
	cmd.Stdin = bytes.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// TestUnpack: Go takes the place of what is there, another one that of the first, and the user's own comes back.
func TestUnpack(t *testing.T) {
	dir := t.TempDir()
	home, root := dir+"/home", dir+"/usr/go"
	version := func(want string, files int) {
		t.Helper()
		data, err := os.ReadFile(filepath.Join(root, "VERSION"))
		all, globErr := filepath.Glob(dir + "/usr/*")
		if string(data) != want || err != nil || len(all) != files || globErr != nil {
			t.Errorf("%s, %v; %v, %v", data, err, all, globErr)
		}
	}
	tree := func(version string) []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for name, text := range map[string]string{"go/VERSION": version, "go/src/a.go": "package a"} {
			if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))}); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write([]byte(text)); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	if err := os.MkdirAll(root, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(root+"/VERSION", []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, v := range []string{"go1.26.10", "go1.26.11"} {
		here(t, home, tree(v), scripts.Text("note-original.sh")+unpack, root)
		version(v, 1)
	}
	here(t, home, nil, scripts.Text("note-original.sh")+scripts.Text("restore-originals.sh")+"journal_open; restore_all; leave")
	version("mine", 1)
	if _, err := os.Stat(home); err == nil {
		t.Error("the lab's home is there")
	}
}

// TestFillsAndRestores: what programs make is noted before; what the lab has no use for any more goes back at once.
func TestFillsAndRestores(t *testing.T) {
	dir := t.TempDir()
	home, made, other := dir+"/home", dir+"/lib/results/net-*", dir+"/lib/results/other"
	var s script
	s.fills(made, dir+"/modules/")
	s.line("mkdir -p %s/lib/results; touch %[1]s/lib/results/net-1 %s", dir, other)
	s.restore(nil)
	here(t, home, nil, "set -euo pipefail\n"+s.String())
	var back script
	back.restore([]string{made})
	here(t, home, nil, "set -euo pipefail\n"+back.String())
	if left, err := filepath.Glob(dir + "/lib/results/*"); err != nil || len(left) != 1 || left[0] != other {
		t.Errorf("%v, %v", left, err)
	}
	if left, err := filepath.Glob(home + "/journal/[0-9]*"); err != nil || len(left) != 3 { // lib/, results/, modules/
		t.Errorf("in the journal: %v, %v", left, err)
	}
}
