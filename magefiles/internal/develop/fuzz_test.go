package develop

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/run"
	"github.com/calico-cni-lab/lab/magefiles/internal/ui"
)

// fuzzed makes a project with one package, and a run in it.
func fuzzed(t *testing.T, test string) (*run.Run, string) {
	t.Helper()
	root := t.TempDir()
	for name, text := range map[string]string{"go.mod": "module example.com/p\n\ngo 1.26.0\n", "p/p.go": "package p\n", "p/p_test.go": "package p\n\nimport \"testing\"\n\n" + test} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	console, err := os.Create(filepath.Join(root, "console"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { console.Close() })
	return &run.Run{Console: ui.New(console), Root: root, Exec: &command.Runner{}}, root
}

// TestFuzz: all fuzz tests get their share, and one that fails says with which input, where it is and what to do with it.
func TestFuzz(t *testing.T) {
	r, root := fuzzed(t, `func FuzzHolds(f *testing.F) {
	f.Add(1)
	f.Fuzz(func(t *testing.T, n int) {})
}

func FuzzFails(f *testing.F) {
	f.Add("a")
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 1 {
			t.Error("it is too long")
		}
	})
}
`)
	all, err := fuzzTests(t.Context(), r)
	if err != nil || len(all) != 2 || all[0].name != "FuzzHolds" || all[1].name != "FuzzFails" || all[1].pkg != "example.com/p/p" {
		t.Fatalf("%+v, %v", all, err)
	}
	err = fuzzAnew(t.Context(), r, 10*time.Second)
	if err == nil {
		t.Fatal("no input was found")
	}
	inputs, globErr := filepath.Glob(filepath.Join(root, "p/testdata/fuzz/FuzzFails/*"))
	if globErr != nil || len(inputs) != 1 {
		t.Fatalf("%q, %v", inputs, globErr)
	}
	for _, want := range []string{"it is too long", "commit the input", ": p/testdata/fuzz/FuzzFails/", "go test -run=FuzzFails/" + filepath.Base(inputs[0]) + " example.com/p/p"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in:\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "fuzz: elapsed") {
		t.Errorf("progress in the error: %v", err)
	}
	// Kept, it fails at once, and isn't a new one.
	if err := fuzzAnew(t.Context(), r, time.Second); err == nil || !strings.Contains(err.Error(), "it is too long") || strings.Contains(err.Error(), "commit") {
		t.Errorf("with the input kept: %v", err)
	}
}

// TestNoFuzz: fuzz tests that are gone are missed.
func TestNoFuzz(t *testing.T) {
	r, _ := fuzzed(t, "func TestNothing(*testing.T) {}\n")
	if err := fuzzAnew(t.Context(), r, time.Second); err == nil || !strings.Contains(err.Error(), "git checkout") {
		t.Error(err)
	}
	r.Root = filepath.Join(r.Root, "none")
	if err := fuzzAnew(t.Context(), r, time.Second); err == nil || errors.Is(err, os.ErrExist) {
		t.Error(err)
	}
}

// TestTimeIsOver: the end of a fuzz test's time is no failure, everything else is.
func TestTimeIsOver(t *testing.T) {
	const over = "fuzz: elapsed: 1s, execs: 7438 (6367/sec), new interesting: 33 (total: 39)\n--- FAIL: FuzzUpload (1.17s)\n    context deadline exceeded\nFAIL\n"
	for out, want := range map[string]bool{
		over: true,
		"--- FAIL: FuzzUpload (1.17s)\n    --- FAIL: FuzzUpload (0.00s)\n        a_test.go:3: context deadline exceeded\nFAIL\n": false,
		"panic: here\n" + over: false,
	} {
		if timeIsOver.MatchString(found(out)) != want {
			t.Errorf("not %t: %s", want, out)
		}
	}
}
