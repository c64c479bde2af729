package learn

import "testing"

func TestGuessed(t *testing.T) {
	for _, c := range []struct {
		guess, key string
		right      bool
	}{
		{"2", "2", true},
		{"I say 2.", "2", true},
		{"12", "2", false},
		{"10.1.86.65", "65", false},
		{"10.1.86.64", "10.1.86.64", true},
		{"10.1.86.64?", "10.1.86.64", true},
		{"10.1.86.64/26", "10.1.86.64", false},
		{"a /26", "/26", true},
		{"a range, /26", "/26", true},
		{"26", "/26", false},
		{"No, never", "no", true},
		{"nothing", "no", false},
		{"none", "no", false},
		{"I know", "no", false},
		{"HTTP", "HTTP", true},
		{"http from both", "HTTP", true},
		{"the plugin's", "the plugin's", true},
		{"The plugin's!", "the plugin's", true},
		{"the machine's, or the plugin's", "the plugin's", true},
		{"the other plugin's", "the plugin's", false},
		{"ee:ee:ee:ee:ee:ee", "ee:ee:ee:ee:ee:ee", true},
		{"?", "2", false},
	} {
		if got := guessed(c.guess, c.key); got != c.right {
			t.Errorf("%q for %q: %t", c.guess, c.key, got)
		}
	}
}
