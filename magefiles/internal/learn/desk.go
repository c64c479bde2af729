package learn

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"golang.org/x/term"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/learn/lesson"
)

// Desk is the terminal that a reader sits at.
type Desk struct {
	in    io.Reader
	out   io.Writer
	color bool
	typed func(string) string // how commands of the lab's are to be typed
	text  Text
}

// NewDesk returns the desk of a terminal.
func NewDesk(in, out *os.File, typed func(string) string) *Desk {
	width, _, err := term.GetSize(int(out.Fd()))
	if err != nil || width <= 0 {
		width = 80
	}
	color := os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	return &Desk{in: in, out: out, color: color, typed: typed, text: NewText(width, color)}
}

const (
	bold  = "1"
	dim   = "2"
	red   = "31"
	green = "32"
	cyan  = "36"
)

func (d *Desk) paint(code, s string) string {
	if !d.color {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

// Plain prints a line.
func (d *Desk) Plain(format string, args ...any) {
	fmt.Fprintf(d.out, "  "+format+"\n", args...)
}

// Good is a line about what is as it should be.
func (d *Desk) Good(format string, args ...any) {
	d.Plain("%s %s", d.paint(green, "✓"), fmt.Sprintf(format, args...))
}

// Bad is a line about what isn't.
func (d *Desk) Bad(format string, args ...any) {
	d.Plain("%s %s", d.paint(red, "✗"), strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "\n    "))
}

// Heading begins a step.
func (d *Desk) Heading(c lesson.Chapter, i int) {
	title := c.Steps[i].Title
	if title == "" {
		title = c.Title
	}
	fmt.Fprintf(d.out, "\n%s %s\n\n", d.paint(bold, "── "+title), d.paint(dim, fmt.Sprintf("· %s, %d of %d ──", c.Name, i+1, len(c.Steps))))
}

// Markdown prints text.
func (d *Desk) Markdown(text string) {
	fmt.Fprintf(d.out, "%s\n", d.text.Render(d.typed(text)))
}

// Command shows a command with its prompt.
func (d *Desk) Command(c lesson.Command) {
	fmt.Fprintf(d.out, "  %s%s\n", d.paint(cyan, c.Machine+"$ "), d.paint(bold, strings.ReplaceAll(d.typed(c.Command), "\n", "\n  > ")))
}

// Line prints a line of a command's output as it comes.
func (d *Desk) Line(line string) { fmt.Fprint(d.out, "  "+line) }

// Gap parts what was printed from what follows.
func (d *Desk) Gap() { fmt.Fprintln(d.out) }

// Differs shows in what the output is otherwise than in the lesson.
func (d *Desk) Differs(expected []string, printed string, at int) {
	d.Bad("The lesson has something else here:")
	if at >= len(expected) {
		d.Plain("  nothing more than its %d lines", len(expected))
		return
	}
	d.Plain("  line %d: %s", at+1, expected[at])
	if printed == "" {
		d.Plain("  nothing was printed")
	}
}

// Finding prints what came of a check.
func (d *Desk) Finding(what string, f check.Finding) {
	mark := map[check.State]string{check.Holds: d.paint(green, "✓"), check.Unknown: "?"}[f.State]
	if mark == "" {
		mark = d.paint(red, "✗")
	}
	d.Plain("%s %s", mark, what)
	d.Plain("    %s", d.paint(dim, f.Found))
}

// Ask asks for a line; an empty one is an answer, too.
func (d *Desk) Ask(ctx context.Context, what string) (string, error) {
	fmt.Fprintf(d.out, "  %s ", d.paint(dim, what+" (Enter: none):"))
	line, err := d.line(ctx)
	fmt.Fprintln(d.out)
	return line, err
}

// Choose waits for one of the keys, or Enter, which is "".
func (d *Desk) Choose(ctx context.Context, enter string, options map[string]option) (string, error) {
	parts := []string{"[Enter] " + enter}
	for _, key := range slices.Sorted(maps.Keys(options)) {
		parts = append(parts, "["+key+"] "+options[key].what)
	}
	for {
		fmt.Fprintf(d.out, "  %s ", d.paint(dim, strings.Join(parts, "  ")))
		line, err := d.line(ctx)
		if err != nil {
			return "", err
		}
		if _, ok := options[line]; ok || line == "" {
			return line, nil
		}
		d.Plain("%q is none of these.", line)
	}
}

// line waits for a line, or for ctx to end. The end of the input is a reader who leaves. One goroutine reads one line and ends
// with it, so that a shell in between has the terminal for itself.
func (d *Desk) line(ctx context.Context) (string, error) {
	type read struct {
		line string
		err  error
	}
	done := make(chan read, 1)
	go func() {
		line, err := readLine(d.in)
		done <- read{line, err}
	}()
	select {
	case r := <-done:
		if r.err != nil {
			return "", errLeft
		}
		return strings.TrimSpace(r.line), nil
	case <-ctx.Done():
		fmt.Fprintln(d.out)
		return "", context.Cause(ctx)
	}
}

// readLine reads no more than a line, so that what follows is there for others.
func readLine(in io.Reader) (string, error) {
	var line []byte
	b := make([]byte, 1)
	for {
		n, err := in.Read(b)
		if n == 1 && b[0] == '\n' {
			return string(line), nil
		}
		line = append(line, b[:n]...)
		if err != nil {
			return string(line), err
		}
	}
}
