package target

import (
	"os"
	"strings"
	"testing"
)

// TestWatcher: the page follows lab.yaml, says what is wrong with it, and goes on when that is mended.
func TestWatcher(t *testing.T) {
	r := newRun(t)
	text, err := os.ReadFile(r.LabFile)
	if err != nil {
		t.Fatal(err)
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(r.LabFile, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	w := &watcher{run: r}
	first, engine, err := w.current(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	write(string(text))
	if again, sameEngine, err := w.current(t.Context()); err != nil || again != first || sameEngine != engine {
		t.Errorf("nothing has changed: %p, %p, %v", first, again, err)
	}
	write("name: [this is not\n")
	if _, _, err := w.current(t.Context()); err == nil || !strings.Contains(err.Error(), "lab.yaml") {
		t.Errorf("a file that can't be read: %v", err)
	}
	write(strings.Replace(string(text), "natOutgoing: true", "natOutgoing: false", 1))
	other, anew, err := w.current(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !first.Pool.NATOutgoing || other.Pool.NATOutgoing || anew == engine || anew.Env.Lab.Pool.NATOutgoing {
		t.Errorf("natOutgoing was changed: %t, %t", first.Pool.NATOutgoing, other.Pool.NATOutgoing)
	}
}
