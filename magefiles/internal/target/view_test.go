package target

import (
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"
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
	first, engine, done, err := w.current(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	write(string(text))
	again, sameEngine, doneAgain, err := w.current(t.Context())
	if err != nil || again != first || sameEngine != engine {
		t.Fatalf("nothing has changed: %p, %p, %v", first, again, err)
	}
	doneAgain()
	write("name: [this is not\n")
	var used atomic.Bool
	time.AfterFunc(50*time.Millisecond, func() {
		used.Store(true)
		done()
	})
	if _, _, _, err := w.current(t.Context()); err == nil || !strings.Contains(err.Error(), "lab.yaml") {
		t.Errorf("a file that can't be read: %v", err)
	}
	if !used.Load() {
		t.Error("the lab was read anew while somebody used it")
	}
	write(strings.Replace(string(text), "natOutgoing: true", "natOutgoing: false", 1))
	other, anew, done, err := w.current(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	if !first.Pool.NATOutgoing || other.Pool.NATOutgoing || anew == engine || anew.Env.Lab.Pool.NATOutgoing {
		t.Errorf("natOutgoing was changed: %t, %t", first.Pool.NATOutgoing, other.Pool.NATOutgoing)
	}
}
