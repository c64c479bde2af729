// Package ui is what a person sees while the lab is worked on, and at the end.
package ui

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
)

// Console writes progress, one line for each thing that happens. On a terminal its last line tells what is
// being done at the moment.
type Console struct {
	mu      sync.Mutex
	out     io.Writer
	color   bool
	live    bool
	width   func() int
	running []activity
	drawn   bool
	prefix  string
	failed  bool // whether a stage has printed what it failed with
	ticking bool
}

type activity struct {
	what  string
	since time.Time
}

// New gives a console on a file. Colour and movement only on a terminal, colour not with NO_COLOR
// (https://no-color.org), movement not in CI.
func New(f *os.File) *Console {
	tty := term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb"
	return &Console{
		out:   f,
		color: tty && os.Getenv("NO_COLOR") == "",
		live:  tty && os.Getenv("CI") == "",
		width: func() int {
			if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
				return w
			}
			return 80
		},
	}
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

// line writes one line above the live line. The caller holds mu. What is not painted may come from a machine: of that a terminal
// obeys nothing.
func (c *Console) line(format string, args ...any) {
	c.erase()
	for i, a := range args {
		if _, ok := a.(painted); !ok {
			args[i] = printable{a}
		}
	}
	fmt.Fprintln(c.out, c.prefixed(fmt.Sprintf(format, args...)))
	c.draw()
}

// printable is an argument of line as it would be written, without what a terminal obeys.
type printable struct{ any }

// Format implements fmt.Formatter.
func (p printable) Format(f fmt.State, verb rune) {
	fmt.Fprint(f, command.Printable(fmt.Sprintf(fmt.FormatString(f, verb), p.any)))
}

func (c *Console) prefixed(text string) string {
	if c.prefix == "" {
		return text
	}
	const plain = "go tool mage "
	prefixed := c.prefix + " " + plain
	return strings.ReplaceAll(strings.ReplaceAll(text, prefixed, plain), plain, prefixed) // another run's output has it already
}

// Advise returns an error for Mage to print: the command lines in its text are prefixed too. It wraps err.
func (c *Console) Advise(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil || c.prefix == "" {
		return err
	}
	return &advice{err, c.prefixed(err.Error())}
}

type advice struct {
	error
	text string
}

func (a *advice) Error() string { return a.text }
func (a *advice) Unwrap() error { return a.error }

// Prefix is put before every command line that is shown to be typed: the variables that this run was started with.
func (c *Console) Prefix(variables string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.prefix = variables
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

// Started implements stage.Reporter.
func (c *Console) Started(stage, why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.start(stage)
	c.line("%s %-11s %s", c.paint(dim, "…"), stage, c.paint(dim, why))
}

// Done implements stage.Reporter.
func (c *Console) Done(stage, text string, took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.end(stage)
	c.line("%s %-11s %s %s", c.paint(green, "✓"), stage, text, c.paint(dim, "("+seconds(took)+")"))
}

// Failed implements stage.Reporter.
func (c *Console) Failed(stage string, err error, took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.end(stage)
	if errors.Is(err, context.Canceled) {
		c.line("%s %-11s not finished %s", c.paint(dim, "-"), stage, c.paint(dim, "("+seconds(took)+")"))
		return
	}
	c.line("%s %-11s failed %s", c.paint(red, "✗"), stage, c.paint(dim, "("+seconds(took)+")"))
	c.failed = true
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
	c.end(stage)
	c.line("%s %-11s applied, not there yet: %s %s", c.paint(dim, "…"), stage, why, c.paint(dim, "("+seconds(took)+")"))
}

// Cause prints what a run failed with, unless the stage that failed has.
func (c *Console) Cause(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.failed {
		c.line("%s %s", c.paint(red, "✗"), err)
	}
}

// Making tells of an artifact that is being made, until the returned function is called.
func (c *Console) Making(what string) func(error) {
	begin := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.start(what)
	c.line("%s %s", c.paint(dim, "…"), what)
	return func(err error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.end(what)
		if err == nil {
			c.line("%s %s %s", c.paint(green, "✓"), what, c.paint(dim, "("+seconds(time.Since(begin))+")"))
		}
	}
}

func (c *Console) start(what string) {
	c.running = append(c.running, activity{what, time.Now()})
	if c.live && !c.ticking {
		c.ticking = true
		go c.tick()
	}
}

func (c *Console) end(what string) {
	c.running = slices.DeleteFunc(c.running, func(a activity) bool { return a.what == what })
}

// tick redraws the live line while something runs.
func (c *Console) tick() {
	t := time.NewTicker(200 * time.Millisecond)
	defer t.Stop()
	for range t.C {
		c.mu.Lock()
		c.erase()
		c.draw()
		if len(c.running) == 0 {
			c.ticking = false
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
	}
}

func (c *Console) erase() {
	if c.drawn {
		fmt.Fprint(c.out, "\r\x1b[K")
		c.drawn = false
	}
}

func (c *Console) draw() {
	if !c.live || len(c.running) == 0 {
		return
	}
	var parts []string
	for _, a := range c.running {
		parts = append(parts, fmt.Sprintf("%s %.0fs", a.what, time.Since(a.since).Seconds()))
	}
	text := []rune("  " + command.Printable(strings.Join(parts, ", ")))
	if w := c.width() - 1; len(text) > w {
		text = text[:w]
	}
	fmt.Fprint(c.out, c.paint(dim, string(text)))
	c.drawn = true
}

func seconds(d time.Duration) string {
	if d >= time.Minute {
		return d.Round(time.Second).String()
	}
	return fmt.Sprintf("%.1fs", d.Seconds())
}

// Redirect sends everything that follows to another file.
func (c *Console) Redirect(f *os.File) {
	n := New(f)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out, c.color, c.live, c.width = n.out, n.color, n.live, n.width
}
