package learn

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestText(t *testing.T) {
	for _, c := range []struct{ name, markdown, want string }{
		{"a paragraph", "`1`: calico2. `Established` is the state\nof a **BGP** session, *always*.", "  `1`: calico2. `Established` is the\n  state of a **BGP** session,\n  *always*.\n"},
		{"code beside a mark", "the file (`a b`),\n*c*: d", "  the file (`a b`), *c*: d\n"},
		{"code over two lines, escapes", "`foo\nbar`, \\* and &lt;", "  `foo bar`, * and <\n"},
		{"a heading", "# One `two`\n\nText", "  # One `two`\n\n  Text\n"},
		{"a list", "- one\n  more\n- two words that are longer than a line is\n\nText", "  • one more\n  • two words that are longer than a\n    line is\n\n  Text\n"},
		{"numbers", "1. `eth0` in\n   the workload,\n2. the other end", "  1. `eth0` in the workload,\n  2. the other end\n"},
		{"a list in a list", "- one\n  - two\n- three", "  • one\n    • two\n  • three\n"},
		{"a question", "> **Predict:** how many\n> keys?", "  **Predict:** how many keys?\n"},
		{"a table", "| a | long |\n|---|---|\n| `b` | c |", "  a    long\n  ───  ────\n  `b`  c\n"},
		{
			"a table that is too wide", "| a | what it is |\n|---|---|\n| b | words that don't fit into the line |",
			"  a  what it is\n  ─  ─────────────────────────────────\n  b  words that don't fit into the\n     line\n",
		},
		{"what is fenced", "So:\n```\na command that is longer than the line is, | and to be copied\n\n  b\n```\nand\nso on", "  So:\n\n    a command that is longer than the line is, | and to be copied\n\n      b\n\n  and so on\n"},
		{"a chapter", "see [Life of\na ping](09-life-of-a-ping.md).", "  see Life of a ping (`learn\n  life-of-a-ping`).\n"},
		{"a chapter from an experiment", "see [it](../tutorial/04-cni-by-hand.md)", "  see it (`learn cni-by-hand`)\n"},
		{"a file", "what [lab.yaml](../../lab.yaml) says", "  what lab.yaml says\n"},
		{"an address", "the [tutorial](https://example.net/a)", "  the tutorial (https://example.net/a)\n"},
		{"what is folded", "<details><summary>Answer</summary>\n\nno.\n\n</details>", "  Answer\n\n  no.\n"},
	} {
		if diff := cmp.Diff(c.want, NewText(38, false).Render(c.markdown)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

// TestColor: in colour nothing is longer, and colour ends with its word.
func TestColor(t *testing.T) {
	got := NewText(38, true).Render("A `b c`, and **the end** of\nwhat is on a line of 36 columns.")
	want := "  A \x1b[1mb\x1b[0m \x1b[1mc\x1b[0m, and \x1b[1mthe\x1b[0m \x1b[1mend\x1b[0m of what is on a\n  line of 36 columns.\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
