package ui

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/calico-cni-lab/lab/magefiles/internal/explain"
)

func told(color bool) string {
	var b bytes.Buffer
	c := &Console{out: &b, color: color}
	c.Typed("LAB_FILE=x/lab.yaml", "")
	c.Story(explain.Story{
		Trouble: "The lab isn't as it should be: 1 of 56 conditions doesn't hold. Mend it with go tool mage verify",
		Answer:  "It dies on calico2: the route that counts for 10.1.86.64 is a blackhole, and so on for more than a line.",
		Parts: []explain.Part{
			{Title: "What was sent", Sentences: []explain.Sentence{{Text: strings.Repeat("word ", 20), Evidence: []string{`  "cniVersion": "1.0.0",`, strings.Repeat("evidence ", 12)}, Command: "go tool mage ssh calico1 ip route"}}},
			{Sentences: []explain.Sentence{{Text: "This is wrong.", Wrong: true}, {Text: "Unknown: why.", Unknown: true}}},
		},
	})
	return b.String()
}

func TestStory(t *testing.T) {
	want := `✗ The lab isn't as it should be: 1 of 56 conditions doesn't hold. Mend it with
  LAB_FILE=x/lab.yaml go tool mage verify

It dies on calico2: the route that counts for 10.1.86.64 is a blackhole, and
so on for more than a line.

What was sent
  word word word word word word word word word word word word word word word
  word word word word word
        "cniVersion": "1.0.0",
      evidence evidence evidence evidence evidence evidence evidence evidence
        evidence evidence evidence evidence
    see: LAB_FILE=x/lab.yaml go tool mage ssh calico1 ip route

✗ This is wrong.
? Unknown: why.
`
	if diff := cmp.Diff(want, told(false)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	colored := told(true)
	if !strings.Contains(colored, "\x1b[31m✗ This is wrong.\x1b[0m") || strings.Contains(told(false), "\x1b") {
		t.Errorf("colour:\n%q", colored)
	}
}

func TestWrapped(t *testing.T) {
	for text, want := range map[string][]string{
		"":                              {"> "},
		"a b":                           {"> a b"},
		"    key":                       {">     key"},
		strings.Repeat("x", 100) + " y": {"> " + strings.Repeat("x", 100), "  y"},
		strings.Repeat("é", 40) + " " + strings.Repeat("é", 35): {"> " + strings.Repeat("é", 40) + " " + strings.Repeat("é", 35)},
	} {
		if diff := cmp.Diff(want, wrapped(text, "> ", "  ")); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
}
