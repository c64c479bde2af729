package challenge

import "strings"

// width is a terminal's, and some room.
const width = 78

// fold breaks a text's lines anew: what is in the place of {words} is longer or shorter. Lines that begin with spaces are commands, and
// stay.
func fold(text string) string {
	var out, words []string
	flush := func() {
		line := ""
		for _, w := range words {
			if line != "" && len(line)+1+len(w) > width {
				out, line = append(out, line), ""
			}
			line = strings.TrimSpace(line + " " + w)
		}
		if line != "" {
			out = append(out, line)
		}
		words = nil
	}
	for line := range strings.SplitSeq(text, "\n") {
		if line == "" || strings.HasPrefix(line, " ") {
			flush()
			out = append(out, line)
			continue
		}
		words = append(words, strings.Fields(line)...)
	}
	flush()
	return strings.Join(out, "\n")
}
