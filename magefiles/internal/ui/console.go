// Package ui is what a person sees while the lab is worked on, and at the end.
package ui

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/progress"
)

// Console writes what happens, a line for each thing. On a terminal there is below them, while something runs, what is being done at the
// moment: see live.go.
type Console struct {
	// Tasks are what the run does. Contexts that Watch returns have theirs among them.
	Tasks *progress.Tree

	mu     sync.Mutex
	out    io.Writer
	color  bool
	live   bool
	size   func() (width, height int)
	area   string // what is drawn below the lines, as the terminal was told; "" where nothing is
	moving bool   // whether somebody draws what runs, again and again
	typed  typed
	failed string // what stages have printed that they failed with
}

// New gives a console on a file. Colour and movement only on a terminal, colour not with NO_COLOR
// (https://no-color.org), movement not in CI.
func New(f *os.File) *Console {
	c := &Console{Tasks: &progress.Tree{}}
	c.on(f)
	c.Tasks.Began, c.Tasks.Ended = c.making, c.made
	return c
}

// on has the console write to a file.
func (c *Console) on(f *os.File) {
	tty := term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb"
	c.out = f
	c.color = tty && os.Getenv("NO_COLOR") == ""
	c.live = tty && os.Getenv("CI") == ""
	c.size = func() (width, height int) {
		if w, h, err := term.GetSize(int(f.Fd())); err == nil && w > 0 && h > 0 {
			return w, h
		}
		return 80, 24
	}
}

// Columns are how wide what is shown may be.
func (c *Console) Columns() int {
	columns, _ := c.size()
	return columns
}

// Redirect sends everything that follows to another file.
func (c *Console) Redirect(f *os.File) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.erase()
	c.on(f)
}

const (
	green = "32"
	red   = "31"
	dim   = "2"
	bold  = "1"
)

// painted is text that may have colour in it, and nothing else that a terminal obeys.
type painted string

func (c *Console) paint(code, s string) painted {
	s = command.Printable(s)
	if !c.color {
		return painted(s)
	}
	return painted("\x1b[" + code + "m" + s + "\x1b[0m")
}

// line writes one line above what is drawn. The caller holds mu. What is not painted may come from a machine: of that a terminal
// obeys nothing.
func (c *Console) line(format string, args ...any) {
	c.erase()
	for i, a := range args {
		if _, ok := a.(painted); !ok {
			args[i] = printable{a}
		}
	}
	fmt.Fprintln(c.out, c.asTyped(fmt.Sprintf(format, args...)))
	c.draw()
}

// printable is an argument of line as it would be written, without what a terminal obeys.
type printable struct{ any }

// Format implements fmt.Formatter.
func (p printable) Format(f fmt.State, verb rune) {
	fmt.Fprint(f, command.Printable(fmt.Sprintf(fmt.FormatString(f, verb), p.any)))
}

// typed is how this run was started.
type typed struct {
	variables string // before the program
	program   string // "" is usual
}

// usual is how the lab's targets are run.
const usual = "go tool mage"

// commandLine is the beginning of one that is shown to be typed.
var commandLine = regexp.MustCompile(`(LAB_FILE=(?:'[^']*'|[^\s']+) )?` + usual + " ")

// asTyped writes the command lines in a text as this run was started.
func (c *Console) asTyped(text string) string {
	if c.typed == (typed{}) {
		return text
	}
	return commandLine.ReplaceAllStringFunc(text, func(line string) string {
		variables := c.typed.variables
		if of := commandLine.FindStringSubmatch(line)[1]; of != "" { // another run's output has it already, and a line about another lab has its own
			variables = strings.TrimSuffix(of, " ")
		}
		return strings.TrimPrefix(variables+" ", " ") + cmp.Or(c.typed.program, usual) + " "
	})
}

// ByProgram writes the command lines in a text that stands in a file with the program that this run was started by.
func (c *Console) ByProgram(text string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.ReplaceAll(text, usual+" ", cmp.Or(c.typed.program, usual)+" ")
}

// Advise returns an error for Mage to print: the command lines in its text are as this run was started, too. It wraps err.
func (c *Console) Advise(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil || c.typed == (typed{}) {
		return err
	}
	return &advice{err, c.asTyped(err.Error())}
}

type advice struct {
	error
	text string
}

func (a *advice) Error() string { return a.text }
func (a *advice) Unwrap() error { return a.error }

// Typed says how this run was started, for every command line that is shown to be typed: with variables before it, and by which program,
// where that isn't the go command.
func (c *Console) Typed(variables, program string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.typed = typed{variables, program}
}

// Notice is something to know.
func (c *Console) Notice(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.line("%s", fmt.Sprintf(format, args...))
}

// Already implements stage.Reporter.
func (c *Console) Already(stage, text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.line("%s %-11s already done: %s", c.paint(green, "✓"), stage, text)
}

// Started implements stage.Reporter. Where what runs is drawn, that says it.
func (c *Console) Started(stage, why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.live {
		c.line("%s %-11s %s", c.paint(dim, "…"), stage, c.paint(dim, why))
	}
}

// Done implements stage.Reporter.
func (c *Console) Done(stage, text string, took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.line("%s %-11s %s %s", c.paint(green, "✓"), stage, text, c.paint(dim, "("+seconds(took)+")"))
}

// Failed implements stage.Reporter.
func (c *Console) Failed(stage string, err error, took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if errors.Is(err, context.Canceled) {
		c.line("%s %-11s not finished %s", c.paint(dim, "-"), stage, c.paint(dim, "("+seconds(took)+")"))
		return
	}
	c.line("%s %-11s failed %s", c.paint(red, "✗"), stage, c.paint(dim, "("+seconds(took)+")"))
	c.failed += err.Error() + "\n"
	c.line("    %s", strings.ReplaceAll(err.Error(), "\n", "\n    "))
}

// Yours implements stage.Reporter.
func (c *Console) Yours(stage, why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.line("%s %-11s left to you: %s", c.paint(red, "✗"), stage, why)
}

// Pending implements stage.Reporter.
func (c *Console) Pending(stage, why string, took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.line("%s %-11s applied, not there yet: %s %s", c.paint(dim, "…"), stage, why, c.paint(dim, "("+seconds(took)+")"))
}

// Cause prints what a run failed with, unless a stage that failed has. It may be another error than the stages'.
func (c *Console) Cause(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !strings.Contains(c.failed, err.Error()) {
		c.line("%s %s", c.paint(red, "✗"), err)
	}
}

// making tells of an artifact that is being made.
func (c *Console) making(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.live {
		c.line("%s %s", c.paint(dim, "…"), what)
	}
}

// made tells of one that was. What it failed with is told by whoever wanted it.
func (c *Console) made(what string, took time.Duration, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		c.line("%s %s %s", c.paint(green, "✓"), what, c.paint(dim, "("+seconds(took)+")"))
	}
}

func seconds(d time.Duration) string {
	if d >= time.Minute {
		return d.Round(time.Second).String()
	}
	return fmt.Sprintf("%.1fs", d.Seconds())
}
