package secret

import (
	"regexp"
	"strings"
)

// MaskedKey stands where a private key was.
const MaskedKey = "(a private key was left out)"

// The lines around a private key: PEM's of all kinds (RFC 7468), OpenSSH's, PGP's, RFC 4716's.
var (
	keyBegin = regexp.MustCompile(`-{4,5} ?BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)? ?-{4,5}`)
	keyEnd   = regexp.MustCompile(`-{4,5} ?END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)? ?-{4,5}`)

	// A line of a key, perhaps behind what a log puts before each line.
	keyLine = regexp.MustCompile(`^(?:.*[ |:>\t])?(?:[A-Za-z0-9+/]{20,}={0,2}|[A-Za-z0-9+/]{2,}={1,2}|=[A-Za-z0-9+/]{4})\s*$|^(?:.*[ |>\t])?(?:Proc-Type|DEK-Info|Comment|Version|Hash):.*$|^\s*$`)

	// The end of a text that ends in the middle of one.
	keyPart = regexp.MustCompile(`^(?:.*[ |:>\t])?[A-Za-z0-9+/=]+$`)

	// What is left of a key in one line, with \n between its own.
	keyRest = regexp.MustCompile(`^(?:\\+[nr]|(?:Proc-Type|DEK-Info|Comment|Version|Hash): [^\\"]*|[A-Za-z0-9+/=]{4,})+`)
)

// longest is more than the longest key takes, with a log's marks before each of its lines.
const longest = 64 << 10

// maskKeys leaves out private keys, also those of which a beginning or an end was cut off.
func maskKeys(text string) string {
	if !strings.Contains(text, "PRIVATE KEY") {
		return text
	}
	var out strings.Builder
	for {
		begin, end := keyBegin.FindStringIndex(text), keyEnd.FindStringIndex(text)
		switch {
		case begin == nil && end == nil:
			out.WriteString(text)
			return out.String()
		case begin == nil || end != nil && end[0] < begin[0]: // its beginning is cut off
			out.WriteString(withoutLastLines(text[:end[0]]))
			text = text[end[1]:]
		default:
			out.WriteString(text[:begin[0]])
			text = afterKey(text[begin[1]:])
		}
		out.WriteString(MaskedKey)
	}
}

// afterKey returns what follows a key whose first line was just read.
func afterKey(text string) string {
	end, next := keyEnd.FindStringIndex(text), keyBegin.FindStringIndex(text)
	if end != nil && end[0] < longest && (next == nil || end[0] < next[0]) {
		return text[end[1]:]
	}
	text = text[len(keyRest.FindString(text)):]
	line, rest, found := strings.Cut(text, "\n")
	for found && (strings.TrimSpace(line) == "" || keyLine.MatchString(line)) {
		text = "\n" + rest
		line, rest, found = strings.Cut(rest, "\n")
	}
	if !found && keyPart.MatchString(line) {
		return ""
	}
	return text
}

// withoutLastLines takes the lines of a key off the end of a text.
func withoutLastLines(text string) string {
	if i := strings.LastIndexAny(text, "\"' "); i >= 0 && strings.Contains(text[i:], `\n`) && !strings.Contains(text[i:], "\n") {
		return text[:i+1] // all in one line
	}
	prefix := text[strings.LastIndexByte(text, '\n')+1:] // what a log put before the last line
	lines := strings.Split(strings.TrimSuffix(text[:len(text)-len(prefix)], "\n"), "\n")
	n := len(lines)
	for n > 0 && (keyLine.MatchString(lines[n-1]) || lines[n-1] == prefix) {
		n--
	}
	kept := strings.Join(lines[:n], "\n")
	if n > 0 {
		kept += "\n"
	}
	return kept + prefix
}
