package fact

import (
	"strings"
	"testing"
)

// FuzzRules: what iptables-save and BIRD say of rules and routes that a user made.
func FuzzRules(f *testing.F) {
	f.Add(savedRules)
	f.Add(birdRoutes)
	f.Add("*filter\n:c - [0:0]\n[1:2] -A c -m comment --comment \"\" -j\n")
	f.Fuzz(func(t *testing.T, text string) {
		ParseLearned(strings.Split(text, "\n"))
		all, err := ParseRules(text)
		if err != nil {
			return
		}
		for _, r := range all {
			if r.Table == "" || r.Chain == "" || r.Text != "" && r.Policy != "" {
				t.Errorf("%+v", r)
			}
			_, _, _ = r.Target(), r.Comments(), r.Matches()
		}
		if grown, ok := Grown(all, all); !ok || len(grown) > 0 {
			t.Errorf("nothing was counted, and yet: %v", grown)
		}
	})
}
