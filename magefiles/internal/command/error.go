// Package command runs programs on this computer, and has the error of a command that failed, here or on a machine.
package command

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// Error is a command that failed.
type Error struct {
	Where  string // machine, or "this computer"
	Line   string // command line, quoted
	Status int    // exit status; negative when there is none, because it could not be started or was killed
	Stderr string // everything it wrote there
	Log    string // file with the full log, may be empty
	Err    error  // cause, when there is no exit status
}

// stderrLines is how much of stderr an error shows. The rest is in the log.
const stderrLines = 8

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "on %s: %s\n", e.Where, shorten(e.Line, 400))
	if e.Status >= 0 {
		fmt.Fprintf(&b, "  exit status %d", e.Status)
	} else {
		fmt.Fprintf(&b, "  %v", e.Err)
	}
	for _, line := range tail(e.Stderr, stderrLines) {
		fmt.Fprintf(&b, "\n  | %s", line)
	}
	if e.Log != "" {
		fmt.Fprintf(&b, "\n  full log: %s", e.Log)
	}
	return Printable(b.String())
}

func (e *Error) Unwrap() error { return e.Err }

// Status returns the exit status within err, or -1.
func Status(err error) int {
	var ce *Error
	if errors.As(err, &ce) {
		return ce.Status
	}
	var ee *exec.ExitError
	if errors.As(err, &ee) {
		return ee.ExitCode()
	}
	return -1
}

func shorten(s string, n int) string {
	s = strings.ReplaceAll(s, "\n", " ")
	if len(s) <= n {
		return s
	}
	return s[:n] + "..."
}

// tail returns the last n lines of s that are not blank.
func tail(s string, n int) []string {
	var lines []string
	for line := range strings.Lines(s) {
		if line = strings.TrimRight(line, "\r\n\t "); line != "" {
			lines = append(lines, line)
		}
	}
	return lines[max(0, len(lines)-n):]
}

// Quote returns args as one POSIX shell command line.
func Quote(args ...string) string {
	quoted := make([]string, len(args))
	for i, a := range args {
		quoted[i] = quote(a)
	}
	return strings.Join(quoted, " ")
}

// Line is Quote for people: a script that bash gets as an argument is shown by its name.
func Line(args ...string) string {
	for i := 0; i+3 < len(args); i++ {
		if args[i] == "bash" && args[i+1] == "-c" && strings.Contains(args[i+2], "\n") {
			return Quote(append(append([]string{}, args[:i]...), args[i+3:]...)...)
		}
	}
	return Quote(args...)
}

func quote(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:=@,+%", r)
	}
	if s != "" && strings.TrimLeftFunc(s, plain) == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
