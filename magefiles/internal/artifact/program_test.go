package artifact

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
)

// TestLook: the program is compiled again when its source changes, and not when its tests do.
func TestLook(t *testing.T) {
	root := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", "module example\n\ngo 1.26.0\n")
	write("go.sum", "")
	write(factPackage+"/fact.go", "package fact\n\nconst Version = 1\n")
	write(lookPackage+"/main.go", "package main\n\nimport \"example/magefiles/internal/fact\"\n\nfunc main() { println(fact.Version) }\n")
	s := store(t.TempDir())
	m := &Maker{Store: s, Run: &command.Runner{}, Root: root, Arch: runtime.GOARCH}
	look := func() (string, string) {
		t.Helper()
		file, sum, err := m.Look(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(file); err != nil || info.Mode().Perm()&0o111 == 0 || len(sum) != 64 {
			t.Errorf("%s: %v, SHA-256 %q", file, err, sum)
		}
		return file, sum
	}
	file, sum := look()
	write(factPackage+"/fact_test.go", "package fact\n")
	if again, _ := look(); again != file {
		t.Error("compiled again for a test")
	}
	write(factPackage+"/fact.go", "package fact\n\nconst Version = 2\n")
	if again, other := look(); again == file || other == sum {
		t.Error("not compiled again for another source")
	}
	write(lookPackage+"/main.go", "package main\n\nfunc main() { nothing() }\n")
	if _, _, err := m.Look(t.Context()); err == nil || !strings.Contains(err.Error(), "looks at the machines") || !strings.Contains(err.Error(), "what to do") {
		t.Errorf("source that doesn't compile: %v", err)
	}
}

// TestStart: the background's result can be waited for by several, and one failure doesn't hide another.
func TestStart(t *testing.T) {
	m := &Maker{Store: store(t.TempDir()), Run: &command.Runner{}, Root: t.TempDir(), Arch: "none", GoOnNode: "0", Pins: testPins(t)}
	t.Setenv("GOPROXY", "off")
	wait := m.Start(t.Context())
	for range 2 {
		err := wait()
		for _, want := range []string{"components/calico/go.mod", "components/etcd/go.mod", "components/cni/go.mod", "fetching Go 0"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("no %q in: %v", want, err)
			}
		}
	}
}

func testPins(t *testing.T) Pins {
	t.Helper()
	p, err := ReadPins("../../..")
	if err != nil {
		t.Fatal(err)
	}
	return p
}
