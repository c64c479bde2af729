package keep

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// TestWrite: of several writers at once one wins, and a reader never sees less than a whole file.
func TestWrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	texts := []string{strings.Repeat("a", 1<<16), strings.Repeat("b", 1<<15)}
	if err := Write(path, []byte(texts[0]), 0o600); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if err := Write(path, []byte(texts[i%2]), 0o600); err != nil {
				t.Error(err)
			}
			if data, err := os.ReadFile(path); err != nil || string(data) != texts[0] && string(data) != texts[1] {
				t.Errorf("%d bytes, %v", len(data), err)
			}
		})
	}
	wg.Wait()
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if err := os.Mkdir(filepath.Join(dir, "taken"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "taken", "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Write(filepath.Join(dir, "taken"), nil, 0o600); err == nil {
		t.Error("wrote over a directory")
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Errorf("left behind after a failure: %v", left)
	}
}

// TestJSON: what was written is read, what isn't there is no error, and what is damaged says which file.
func TestJSON(t *testing.T) {
	path := filepath.Join(t.TempDir(), "below", "file.json")
	var got map[string]int
	if there, err := ReadJSON(path, &got); there || err != nil {
		t.Errorf("before: %t, %v", there, err)
	}
	if err := WriteJSON(path, map[string]int{"a": 1}, 0o600); err != nil {
		t.Fatal(err)
	}
	if there, err := ReadJSON(path, &got); !there || err != nil || got["a"] != 1 {
		t.Errorf("%t, %v, %v", there, err, got)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if there, err := ReadJSON(path, &got); !there || err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("damaged: %t, %v", there, err)
	}
	for range 2 {
		if err := Remove(path); err != nil {
			t.Error(err)
		}
	}
}
