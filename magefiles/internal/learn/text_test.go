package learn

import "testing"

func TestForTerminal(t *testing.T) {
	for _, c := range []struct{ name, markdown, want string }{
		{"a paragraph", "`1`: calico2. `Established` is the state\nof a BGP session.", "`1`: calico2. `Established` is the state of a BGP session."},
		{"a list", "- one\n  more\n- two\n\nText", "- one more\n- two\n\nText"},
		{"numbers", "1. `eth0` in\n   the workload,\n2. the other end", "1. `eth0` in the workload,\n2. the other end"},
		{"a question", "> **Predict:** how many\n> keys?", "> **Predict:** how many\n> keys?"},
		{"a table", "Here:\n\n| a |\n|---|\n| b |", "Here:\n\n| a |\n|---|\n| b |"},
		{"what is fenced", "So:\n```\na\nb\n```\nand\nso on", "So:\n```\na\nb\n```\nand so on"},
		{"a chapter", "see [Life of\na ping](09-life-of-a-ping.md).", "see Life of a ping (`learn life-of-a-ping`)."},
		{"a chapter from an experiment", "see [it](../tutorial/04-cni-by-hand.md)", "see it (`learn cni-by-hand`)"},
		{"a file", "what [lab.yaml](../../lab.yaml) says", "what lab.yaml says"},
		{"an address", "the [tutorial](https://example.net/a)", "the [tutorial](https://example.net/a)"},
	} {
		if got := forTerminal(c.markdown); got != c.want {
			t.Errorf("%s: %q, not %q", c.name, got, c.want)
		}
	}
}
