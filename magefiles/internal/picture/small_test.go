package picture

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mattn/go-runewidth"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact/recorded"
)

// TestSmall: the lab in a terminal of the usual size and in a narrow one, and one of fifty nodes, which isn't larger.
func TestSmall(t *testing.T) {
	small := recording(t, "../explain/testdata/arrives.facts.json.gz", "")
	large, facts := recorded.Grown(theLab(t), recorded.Lab(t, "../explain/testdata/arrives.facts.json.gz"), 50)
	for name, p := range map[string]Picture{"arrives": small, "fifty": Of(large, facts, nil), "planned": Plan(theLab(t))} {
		for _, columns := range []int{80, 40} {
			t.Run(fmt.Sprintf("%s-%d", name, columns), func(t *testing.T) {
				got := p.Small(columns)
				lines := strings.Split(got, "\n")
				if len(lines) > 10 {
					t.Errorf("%d lines", len(lines))
				}
				for _, l := range lines {
					if n := runewidth.StringWidth(l); n > columns {
						t.Errorf("%d columns: %s", n, l)
					}
				}
				golden(t, fmt.Sprintf("%s-small-%d.txt", name, columns), got+"\n")
			})
		}
	}
}
