package command

import (
	"os/exec"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// FuzzQuote: what a POSIX shell makes of a quoted command line is what was quoted.
func FuzzQuote(f *testing.F) {
	for _, s := range []string{"", "plain", "it's", `"$HOME" \n`, "a;b|c&d", "`id`", "line\nbreak", "*?[x]", "~", "!x", "-n", "x=y", "%s", "\\", "\xff\x1b["} {
		f.Add(s, s+"'"+s)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		if strings.ContainsRune(a+b, 0) || len(a)+len(b) > 10_000 {
			t.Skip("no argument of a program")
		}
		out, err := exec.CommandContext(t.Context(), "sh", "-c", `printf '%s\0' `+Quote(a, b)).CombinedOutput()
		if want := a + "\x00" + b + "\x00"; err != nil || string(out) != want {
			t.Errorf("%q, %v; want %q", out, err, want)
		}
	})
}

// FuzzPrintable: nothing that a terminal obeys, and what can be printed stays.
func FuzzPrintable(f *testing.F) {
	for _, s := range []string{"", "Established", "a\tb\r\nc", "\x1b[2J\x1b]0;title\a", "\u009b31m", "\x9b31m", "\u202eevil", "\x7f\b", "é ✓ 中", "\U000e0001"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := Printable(s)
		if !utf8.ValidString(got) || strings.ContainsFunc(got, func(r rune) bool { return r != '\n' && r != '\t' && !unicode.IsPrint(r) }) {
			t.Errorf("%q", got)
		}
		if again := Printable(got); again != got {
			t.Errorf("%q, then %q", got, again)
		}
		if plain := strings.Map(func(r rune) rune {
			if r < ' ' || r > '~' {
				return -1
			}
			return r
		}, s); len(got) < len(plain) {
			t.Errorf("%q became %q", s, got)
		}
	})
}

// FuzzError: the error of a command shows nothing that a terminal obeys.
func FuzzError(f *testing.F) {
	f.Add("docker run x", "\x1b[2J no\nno space left on device\n", 1)
	f.Add(strings.Repeat("é", 300), "\x9b", -1)
	f.Fuzz(func(t *testing.T, line, stderr string, status int) {
		text := (&Error{Where: "calico1", Line: line, Status: status, Stderr: stderr}).Error()
		if Printable(text) != text {
			t.Errorf("%q", text)
		}
	})
}
