package lesson

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		name     string
		expected []string
		printed  string
		have     Captures
		ok       bool
		at       int
		got      Captures
	}{
		{"the same", []string{"a", "b"}, "a\nb\n", nil, true, 2, Captures{}},
		{"nothing", nil, "\n", nil, true, 0, Captures{}},
		{"space at the end", []string{"a"}, "a  \r\n\n", nil, true, 1, Captures{}},
		{"something where nothing is expected", nil, "a", nil, false, 0, Captures{}},
		{"nothing where something is", []string{"a"}, "", nil, false, 0, Captures{}},
		{"another line", []string{"a", "b", "c"}, "a\nx\nc", nil, false, 1, Captures{}},
		{"one more", []string{"a"}, "a\nb", nil, false, 1, Captures{}},
		{"any text", []string{"a * c"}, "a b b c", nil, true, 1, Captures{}},
		{"any text is within a line", []string{"a*b"}, "a\nb", nil, false, 0, Captures{}},
		{"a star", []string{`a \* b`}, "a * b", nil, true, 1, Captures{}},
		{"a star is no other text", []string{`a \* b`}, "a x b", nil, false, 0, Captures{}},
		{"any lines", []string{"a", "...", "z"}, "a\nb\nc\nz", nil, true, 3, Captures{}},
		{"no lines are any", []string{"...", "a", "..."}, "a", nil, true, 3, Captures{}},
		{"any lines don't hide the next", []string{"...", "z"}, "a\nb", nil, false, 1, Captures{}},
		{"what a regular expression would take otherwise", []string{"(a|b) [0-9]+ ^$ ."}, "(a|b) [0-9]+ ^$ .", nil, true, 1, Captures{}},
		{"JSON has braces", []string{`{"a": {"b": {}}}`}, `{"a": {"b": {}}}`, nil, true, 1, Captures{}},
		{"a word", []string{"dev {veth} scope link"}, "dev cali1 scope link", nil, true, 1, Captures{"veth": "cali1"}},
		{"a word has no space", []string{"dev {veth}"}, "dev a b", nil, false, 0, Captures{}},
		{"the same word", []string{"{a} x", "y {a}"}, "1 x\ny 1", nil, true, 2, Captures{"a": "1"}},
		{"not the same word", []string{"{a} x", "y {a}"}, "1 x\ny 2", nil, false, 1, Captures{}},
		{"a word from before", []string{"y {a}"}, "y 2", Captures{"a": "1"}, false, 0, Captures{"a": "1"}},
		{"captures of a way that led nowhere", []string{"...", "v {a}", "end {a}"}, "v 1\nv 2\nend 2", nil, true, 3, Captures{"a": "2"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := Captures{}
			for k, v := range c.have {
				got[k] = v
			}
			at, ok := Match(c.expected, c.printed, got)
			if ok != c.ok || at != c.at {
				t.Errorf("Match: %d, %t; want %d, %t", at, ok, c.at, c.ok)
			}
			if diff := cmp.Diff(c.got, got); diff != "" {
				t.Errorf("captures (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRenew(t *testing.T) {
	for _, c := range []struct {
		name     string
		expected []string
		printed  string
		have     Captures
		want     []string
	}{
		{"what matches stays", []string{"a *", "..."}, "a b\nc", nil, []string{"a *", "..."}},
		{"patterns stay", []string{"old", "ttl={ttl} *"}, "new\nttl=62 ms", nil, []string{"new", "ttl={ttl} *"}},
		{"a line more", []string{"a", "c"}, "a\nb\nc", nil, []string{"a", "b", "c"}},
		{"a line less", []string{"a", "b", "c"}, "a\nc", nil, []string{"a", "c"}},
		{"no rest of the command", nil, "> new\n> newer", nil, []string{`\> new`, "> newer"}},
		{"stands for itself", nil, `a * b \* {name} {"x"}`, nil, []string{`a \* b \\\* \{name} {"x"}`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := Renew(c.expected, c.printed, Captures{})
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if at, ok := Match(got, c.printed, Captures{}); !ok {
				t.Errorf("what was renewed doesn't match, at line %d: %q", at, got)
			}
		})
	}
}
