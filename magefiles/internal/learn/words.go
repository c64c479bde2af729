package learn

import (
	"regexp"
	"strings"
	"unicode"

	"github.com/mattn/go-runewidth"
)

var escape = regexp.MustCompile("\x1b\\[[0-9;]*m")

// visible is how wide text is that may have colour in it.
func visible(s string) int { return runewidth.StringWidth(escape.ReplaceAllString(s, "")) }

// piece is text in one style, an SGR parameter of the terminal's, "" for none.
type piece struct{ text, style string }

// words are what may stand on a line of its own; the pieces of one may differ in style.
type words [][]piece

// wordsOf parts pieces where there is space between or in them.
func wordsOf(pieces []piece) (w words) {
	open := false // the last word goes on
	for _, p := range pieces {
		if strings.TrimLeftFunc(p.text, unicode.IsSpace) != p.text {
			open = false
		}
		for i, field := range strings.Fields(p.text) {
			if i > 0 || !open {
				w = append(w, nil)
			}
			w[len(w)-1] = append(w[len(w)-1], piece{field, p.style})
			open = true
		}
		if strings.TrimRightFunc(p.text, unicode.IsSpace) != p.text {
			open = false
		}
	}
	return w
}

// width is how wide words are on one line.
func (w words) width() int {
	sum := max(0, len(w)-1)
	for _, word := range w {
		sum += widthOf(word)
	}
	return sum
}

func widthOf(word []piece) (sum int) {
	for _, p := range word {
		sum += runewidth.StringWidth(p.text)
	}
	return sum
}

// wrap puts words on lines of some width. What is wider has a line of its own.
func (w words) wrap(width int) (lines []string) {
	line, used := "", 0
	for _, word := range w {
		if wide := widthOf(word); used == 0 {
			line, used = styled(word), wide
		} else if used+1+wide <= width {
			line, used = line+" "+styled(word), used+1+wide
		} else {
			lines = append(lines, line)
			line, used = styled(word), wide
		}
	}
	return append(lines, line)
}

func styled(word []piece) string {
	text := ""
	for _, p := range word {
		if p.style == "" {
			text += p.text
		} else {
			text += "\x1b[" + p.style + "m" + p.text + "\x1b[0m"
		}
	}
	return text
}
