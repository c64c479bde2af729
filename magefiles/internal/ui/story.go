package ui

import (
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/explain"
)

// storyWidth is how long a line of a story may be: what is read is no wider, whatever the terminal.
const storyWidth = 80

// Story shows an answer: what it comes to, then sentence by sentence, each with its evidence and the command that shows it.
func (c *Console) Story(s explain.Story) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.Trouble != "" {
		c.sentence(explain.Sentence{Text: s.Trouble, Wrong: true})
		c.line("")
	}
	for _, line := range wrapped(s.Answer, "", "") {
		c.line("%s", c.paint(bold, line))
	}
	for _, p := range s.Parts {
		c.line("")
		if p.Title != "" {
			c.line("%s", c.paint(bold, p.Title))
		}
		for _, sentence := range p.Sentences {
			c.sentence(sentence)
		}
	}
}

func (c *Console) sentence(s explain.Sentence) {
	mark, code := " ", ""
	switch {
	case s.Wrong:
		mark, code = "✗", red
	case s.Unknown:
		mark, code = "?", dim
	}
	for i, line := range wrapped(s.Text, "", "") {
		if i > 0 {
			mark = " "
		}
		if line = mark + " " + line; code == "" {
			c.line("%s", line)
		} else {
			c.line("%s", c.paint(code, line))
		}
	}
	for _, e := range s.Evidence {
		for _, line := range wrapped(e, "      ", "        ") {
			c.line("%s", c.paint(dim, line))
		}
	}
	if s.Command != "" {
		c.line("    see: %s", s.Command) // whole, to be copied
	}
}

// wrapped breaks a text into lines between words: the first one begins with first, the others with then. A text with spaces at
// its front, JSON say, keeps them.
func wrapped(text, first, then string) []string {
	indent := text[:len(text)-len(strings.TrimLeft(text, " "))]
	line := first + indent
	empty := true
	var lines []string
	for _, word := range strings.Fields(text) {
		if !empty && len([]rune(line))+1+len([]rune(word)) > storyWidth-2 {
			lines, line, empty = append(lines, line), then+indent, true
		}
		if !empty {
			line += " "
		}
		line, empty = line+word, false
	}
	return append(lines, line)
}
