package command

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Printable is a text for a terminal or a page, whoever wrote it: lines and tabs stay, everything else that isn't a
// character to be seen is written out as Go would. What a machine says may hold escape sequences, which move the cursor,
// change the window's title or hide what comes next, and characters that turn the direction of writing.
func Printable(s string) string {
	odd := func(r rune) bool { return r == utf8.RuneError || r != '\n' && r != '\t' && !unicode.IsPrint(r) }
	if !strings.ContainsFunc(s, odd) {
		return s
	}
	var b strings.Builder
	for _, r := range strings.ReplaceAll(s, "\r\n", "\n") {
		switch {
		case !odd(r):
			b.WriteRune(r)
		case r == utf8.RuneError:
			b.WriteString(`\ufffd`)
		case r < 0x100:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	return b.String()
}
