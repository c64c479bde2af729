package target

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
)

func TestQuestion(t *testing.T) {
	for args, want := range map[string]struct {
		words           []string
		asJSON, picture bool
	}{
		"mage explain":                             {},
		"mage explain address 10.1.0.1":            {words: []string{"address", "10.1.0.1"}},
		"mage -v Explain packet a b 80":            {words: []string{"packet", "a", "b", "80"}},
		"mage explain -json bgp":                   {words: []string{"bgp"}, asJSON: true},
		"mage explain bgp -mermaid":                {words: []string{"bgp"}, picture: true},
		"mage explain bgp --json":                  {words: []string{"bgp"}, asJSON: true},
		"explain this is the program's name":       {},
		"mage check":                               {},
		"mage explain packet check destroy -force": {words: []string{"packet", "check", "destroy", "-force"}},
	} {
		words, asJSON, picture := question(strings.Fields(args))
		if diff := cmp.Diff(want.words, words); diff != "" || asJSON != want.asJSON || picture != want.picture {
			t.Errorf("%s: %t, %t (-want +got):\n%s", args, asJSON, picture, diff)
		}
	}
}

// TestExplainNothing: what can't be answered is said before anything is looked at.
func TestExplainNothing(t *testing.T) {
	args := os.Args
	defer func() { os.Args = args }()
	for question, want := range map[string]string{
		"addrss 10.1.0.1":           "did you mean address?",
		"packet calico1":            "say: go tool mage explain packet FROM TO [PORT]",
		"address 10.1.0.1 -mermaid": "there is no picture of address; there is one of route, bgp, packet",
		"address 10.1.0.1":          machine.ErrNotUp.Error(),
	} {
		os.Args = append([]string{"mage", "explain"}, strings.Fields(question)...)
		if err := Explain(t.Context(), newRun(t)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", question, err)
		}
	}
	os.Args = []string{"mage", "explain"}
	r := newRun(t)
	if err := Explain(t.Context(), r); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(r.StateDir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it made something: %v", err)
	}
}
