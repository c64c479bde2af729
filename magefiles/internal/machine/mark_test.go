package machine

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMark(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	if m, err := ReadMark(dir); m != "" || err != nil {
		t.Errorf("before there is one: %q, %v", m, err)
	}
	first, err := NewMark(dir, "lab")
	if err != nil || len(strings.Fields(string(first))) != 3 {
		t.Fatalf("%q, %v", first, err)
	}
	for _, name := range []string{"lab", "renamed"} {
		if again, err := NewMark(dir, name); again != first || err != nil {
			t.Errorf("again: %q, %v", again, err)
		}
	}
	if read, err := ReadMark(dir); read != first || err != nil {
		t.Errorf("read: %q, %v", read, err)
	}
	if second, err := NewMark(other, "lab"); second == first || err != nil {
		t.Errorf("another lab of the same name has %q, %v", second, err)
	}
	if err := os.Mkdir(filepath.Join(t.TempDir(), MarkFile), 0o755); err != nil {
		t.Fatal(err)
	}
	if text := Mark("damaged").Other("calico1", "/x"); !strings.Contains(text, "another lab") {
		t.Errorf("%s", text)
	}
}
