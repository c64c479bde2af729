package lesson

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Captures are what named captures stood for, by name. One name stands for the same text throughout a chapter.
type Captures map[string]string

// Expand puts what was captured in the place of {name}; ok is false where a name stands for nothing yet.
func (c Captures) Expand(line string) (expanded string, ok bool) {
	ok = true
	expanded = named.ReplaceAllStringFunc(line, func(name string) string {
		value, known := c[strings.Trim(name, "{}")]
		ok = ok && known
		return value
	})
	return expanded, ok
}

// anyLines is a line of expected output that stands for any number of lines, none among them.
const anyLines = "..."

// Match compares what a command printed with what was expected, line by line, without space at their ends. In an expected line
//
//   - stands for any text without line breaks
//     \*       is a star, \{ a brace
//     {name}   stands for a word, the same one everywhere in the chapter
//
// and a line "..." for any number of lines. It returns where the two part: the index of the first expected line that has no
// match; ok is false then. What was captured is added to c where all matches.
func Match(expected []string, printed string, c Captures) (at int, ok bool) {
	m := matcher{expected: expected, lines: split(printed)}
	found := Captures{}
	for k, v := range c {
		found[k] = v
	}
	if !m.match(0, 0, found) {
		return m.furthest, false
	}
	for k, v := range m.found {
		c[k] = v
	}
	return len(expected), true
}

func split(printed string) []string {
	lines := strings.Split(printed, "\n")
	for i, l := range lines {
		lines[i] = strings.TrimRight(l, " \t\r")
	}
	for len(lines) > 0 && lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	return lines
}

type matcher struct {
	expected, lines []string
	furthest        int // the expected line that was the last to be looked at
	found           Captures
}

// match matches the rest of expected with the rest of lines.
func (m *matcher) match(e, l int, c Captures) bool {
	m.furthest = max(m.furthest, e)
	if e == len(m.expected) {
		if l != len(m.lines) {
			return false
		}
		m.found = c
		return true
	}
	if strings.TrimSpace(m.expected[e]) == anyLines {
		for ; l <= len(m.lines); l++ {
			if m.match(e+1, l, c) {
				return true
			}
		}
		return false
	}
	if l == len(m.lines) {
		return false
	}
	next, ok := matchLine(m.expected[e], m.lines[l], c)
	return ok && m.match(e+1, l+1, next)
}

// matchLine returns the captures with those of the line.
func matchLine(pattern, line string, c Captures) (Captures, bool) {
	p, err := compile(pattern)
	if err != nil {
		return nil, false
	}
	got := p.expression.FindStringSubmatch(line)
	if got == nil {
		return nil, false
	}
	next := Captures{}
	for k, v := range c {
		next[k] = v
	}
	for i, name := range p.names {
		if before, known := next[name]; known && before != got[i+1] {
			return nil, false
		}
		next[name] = got[i+1]
	}
	return next, true
}

// pattern is a compiled line.
type pattern struct {
	expression *regexp.Regexp
	names      []string // of the groups
}

var (
	named = regexp.MustCompile(`\{[a-z][a-z0-9_]*\}`)
	token = regexp.MustCompile(`\\[*{\\>]|\*|` + named.String())
)

// compile makes a regular expression of an expected line.
func compile(line string) (pattern, error) {
	line = strings.TrimRight(line, " \t\r")
	var p pattern
	var b strings.Builder
	b.WriteString(`^`)
	at := 0
	for _, span := range token.FindAllStringIndex(line, -1) {
		b.WriteString(regexp.QuoteMeta(line[at:span[0]]))
		switch t := line[span[0]:span[1]]; {
		case t == "*":
			b.WriteString(`.*`)
		case t[0] == '\\':
			b.WriteString(regexp.QuoteMeta(t[1:]))
		default:
			name := strings.Trim(t, "{}")
			if slices.Contains(p.names, name) {
				return p, fmt.Errorf("{%s} stands twice in one line", name)
			}
			p.names = append(p.names, name)
			b.WriteString(`(\S+?)`)
		}
		at = span[1]
	}
	b.WriteString(regexp.QuoteMeta(line[at:]) + `$`)
	var err error
	p.expression, err = regexp.Compile(b.String())
	return p, err
}

// Renew returns expected with what was printed in the place of the lines that don't match: patterns that still do stay.
func Renew(expected []string, printed string, c Captures) []string {
	if _, ok := Match(expected, printed, c); ok {
		return expected
	}
	var renewed []string
	used := 0
	for _, line := range split(printed) {
		i := slices.IndexFunc(expected[used:], func(e string) bool {
			_, ok := matchLine(e, line, c)
			return ok && strings.TrimSpace(e) != anyLines
		})
		if i < 0 {
			line = escape(line)
			if _, ok := goesOn(line); ok && len(renewed) == 0 {
				line = `\` + line
			}
			renewed = append(renewed, line)
			continue
		}
		renewed = append(renewed, expected[used+i])
		used += i + 1
	}
	return renewed
}

// escape writes a line so that it stands for itself.
func escape(line string) string {
	line = strings.NewReplacer(`\`, `\\`, `*`, `\*`).Replace(line)
	return named.ReplaceAllString(line, `\$0`)
}
