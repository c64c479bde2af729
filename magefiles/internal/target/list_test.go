package target

import (
	"bytes"
	"strings"
	"testing"

	"github.com/calico-cni-lab/lab/magefiles/internal/magefile"
)

// TestList: every target is listed, verify first, those for work on the lab last and folded, and all on a terminal that nobody has made
// larger: it has 24 lines of 80 columns.
func TestList(t *testing.T) {
	var b bytes.Buffer
	if err := List(&b, "../.."); err != nil {
		t.Fatal(err)
	}
	sections, err := magefile.Read("../..")
	if err != nil {
		t.Fatal(err)
	}
	words := strings.Fields(b.String())
	at := map[string]int{}
	for i, w := range words {
		if _, known := at[w]; !known {
			at[w] = i
		}
	}
	for _, target := range magefile.Targets(sections) {
		if _, known := at[target.Name]; !known && !strings.HasPrefix(target.Name, "dev:") {
			t.Errorf("%s is not listed", target.Name)
		}
		if target.Synopsis == "" {
			t.Errorf("nothing is said of %s", target.Name)
		}
		for _, f := range target.Flags {
			if f.Text == "" {
				t.Errorf("nothing is said of %s -%s", target.Name, f.Name)
			}
		}
	}
	if at["verify"] > at["test"] || at["test"] > at["destroy"] || at["destroy"] > at["plumb"] || at["plumb"] > at["dev:lint"] {
		t.Errorf("not in the order of use:\n%s", b.String())
	}
	if n := strings.Count(b.String(), "\n"); n > 24 {
		t.Errorf("%d lines:\n%s", n, b.String())
	}
	for line := range strings.Lines(b.String()) {
		if len(line) > listWidth+1 {
			t.Errorf("%d columns: %s", len(line), line)
		}
	}
}
