package learn

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/learn/lesson"
)

// Walk walks a reader through chapters in a terminal.
type Walk struct {
	Room *Room
	Desk *Desk

	captures lesson.Captures
	guess    string // the reader's, until he sees
}

// errLeft is a reader who goes away.
var errLeft = errors.New("left")

// Chapter shows a chapter until its end, or until the reader leaves it: from the step where he left it, if the lab is still in that
// lesson, else from the first one, on a lab that is as it was.
func (w *Walk) Chapter(ctx context.Context, c lesson.Chapter) (finished bool, err error) {
	from, captures, err := w.Room.begin(ctx, c)
	if err != nil {
		return false, err
	}
	w.captures = captures
	for i := from; i < len(c.Steps); i++ {
		missing, err := w.Room.Missing(ctx, c.Steps[i])
		if err != nil {
			return false, err
		}
		if missing != "" && i == 0 {
			return false, fmt.Errorf("%s can't be done here: it needs %s", c.Name, missing)
		}
		if missing != "" {
			w.Desk.Plain("%q is left out: it needs %s", c.Steps[i].Title, missing)
			continue
		}
		if err := w.Room.Keep(ctx, c, i, w.captures); err != nil {
			return false, err
		}
		w.Desk.Heading(c, i)
		err = w.step(ctx, c, c.Steps[i], i == len(c.Steps)-1)
		if errors.Is(err, errLeft) || ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		if err != nil {
			return false, err
		}
	}
	return true, errors.Join(finish(c.Name), w.Room.end(ctx, c, w.Desk.Line))
}

func (w *Walk) step(ctx context.Context, c lesson.Chapter, step lesson.Step, last bool) error {
	k := &checks{room: w.Room, file: c.Path(), captures: w.captures}
	if err := k.count(ctx, step); err != nil { // what holds already is no fault of the reader's
		return err
	}
	for _, b := range step.Blocks {
		if err := w.block(ctx, b, k); err != nil {
			return err
		}
	}
	if last {
		return nil
	}
	return w.choose(ctx, "go on", nil, nil)
}

func (w *Walk) block(ctx context.Context, b lesson.Block, k *checks) error {
	switch b.Kind {
	case lesson.Predict:
		w.Desk.Markdown("> **Predict:** " + strings.ReplaceAll(b.Text, "\n", "\n> "))
		guess, err := w.Desk.Ask(ctx, "your guess")
		w.guess = guess
		return err
	case lesson.Answer:
		w.answer(b)
	case lesson.Console:
		for _, cmd := range b.Commands {
			if err := w.command(ctx, cmd); err != nil {
				return err
			}
		}
	case lesson.Check:
		return w.checks(ctx, b, k)
	case lesson.Needs: // it was looked at before the step
	default:
		w.Desk.Markdown(b.Text)
	}
	return nil
}

// answer says what came of a guess.
func (w *Walk) answer(b lesson.Block) {
	switch {
	case w.guess == "" || b.Key == "":
	case guessed(w.guess, b.Key):
		w.Desk.Good("You guessed %q, and so it is.", w.guess)
	default:
		w.Desk.Bad("You guessed %q; it is %s.", w.guess, b.Key)
	}
	if w.guess != "" && b.Key == "" {
		w.Desk.Plain("You guessed %q.", w.guess)
	}
	w.guess = ""
	w.Desk.Markdown(b.Text)
}

// guessed says whether a guess has all words of the answer in it, one behind the other: of "10.1.86.64" the answer 64 is no word, and in
// "I say 64." it is. Capitals don't count, nor what a sentence puts around a word.
func guessed(guess, key string) bool {
	words := func(s string) []string {
		all := strings.Fields(strings.ToLower(s))
		for i, w := range all {
			all[i] = strings.Trim(w, ".,;:!?()\"'`")
		}
		return all
	}
	said, answer := words(guess), words(key)
	for ; len(said) >= len(answer); said = said[1:] {
		if slices.Equal(said[:len(answer)], answer) {
			return true
		}
	}
	return false
}

// command runs one where the reader agrees, and compares.
func (w *Walk) command(ctx context.Context, cmd lesson.Command) error {
	for {
		w.Desk.Command(cmd)
		what := "run it"
		if cmd.Machine != "" {
			what += " on " + cmd.Machine
		}
		skip := errors.New("skipped")
		err := w.choose(ctx, what, &cmd.Machine, map[string]option{"n": {"skip it", func(context.Context) error { return skip }}})
		if errors.Is(err, skip) {
			return nil
		}
		if err != nil {
			return err
		}
		printed, err := w.Room.Do(ctx, cmd, w.Desk.Line)
		if err != nil {
			if ctx.Err() != nil {
				return err
			}
			w.Desk.Bad("%v", err)
		} else if at, ok := lesson.Match(cmd.Output, printed, w.captures); ok {
			w.Desk.Gap()
			return nil
		} else {
			w.Desk.Differs(cmd.Output, printed, at)
		}
		again := errors.New("again")
		err = w.choose(ctx, "go on", &cmd.Machine, map[string]option{
			"r": {"run it again", func(context.Context) error { return again }},
			"w": {"why?", w.why},
		})
		if !errors.Is(err, again) {
			return err
		}
	}
}

// checks looks until all hold, or the reader has seen enough.
func (w *Walk) checks(ctx context.Context, b lesson.Block, k *checks) error {
	for {
		expect, findings, err := k.await(ctx, b)
		if err != nil {
			w.Desk.Bad("%v", err) // a command that captures it was skipped
			return nil
		}
		open := false
		for i, f := range findings {
			open = open || f.State != check.Holds
			w.Desk.Finding(expect[i].Predicate, f)
		}
		w.Desk.Gap()
		if !open || ctx.Err() != nil {
			return context.Cause(ctx)
		}
		again := errors.New("again")
		none := ""
		err = w.choose(ctx, "go on all the same", &none, map[string]option{
			"r": {"look again", func(context.Context) error { return again }},
			"w": {"why?", w.why},
		})
		if !errors.Is(err, again) {
			return err
		}
	}
}

// why shows what of the lab doesn't hold.
func (w *Walk) why(ctx context.Context) error {
	seen, _ := w.Room.report(ctx)
	if seen.Unknown != "" {
		w.Desk.Bad("The lab's conditions can't be looked at: %s", seen.Unknown)
		return nil
	}
	report := seen.Value
	unmet := report.Unmet()
	if len(unmet) == 0 {
		w.Desk.Plain("All %d conditions of the lab hold: what differs comes from what you did, or from the time.", len(report.Results))
	}
	for _, r := range unmet {
		w.Desk.Bad("%s: %s", r.ID, r.Found)
		w.Desk.Plain("  try: %s", r.Try)
	}
	return nil
}

// option is what a key does.
type option struct {
	what string
	do   func(context.Context) error
}

// choose waits for the reader: Enter, one of more, or a shell, or that he leaves. An option that returns nil is followed by the
// question again.
func (w *Walk) choose(ctx context.Context, enter string, at *string, more map[string]option) error {
	options := map[string]option{"q": {"leave", func(context.Context) error { return errLeft }}}
	for key, o := range more {
		options[key] = o
	}
	if at != nil {
		where := *at
		what := "a shell there"
		if where == "" {
			what = "a shell"
		}
		options["s"] = option{what, func(ctx context.Context) error { return w.shell(ctx, where) }}
	}
	for {
		key, err := w.Desk.Choose(ctx, enter, options)
		if err != nil || key == "" {
			return err
		}
		if err := options[key].do(ctx); err != nil {
			return err
		}
	}
}

// readersShell is an interactive bash that begins as its user's do, and with the commands in $1. The file that has both removes itself; a
// bash before 4 reads no other kind of file there.
const readersShell = `rc=$(mktemp) && printf '%s\n' '[ ! -r ~/.bashrc ] || . ~/.bashrc' "$1" "rm -f -- $(printf %q "$rc")" >"$rc" && exec bash --rcfile "$rc" -i`

// shell gives the reader a shell of his own, which has become what the lesson's has.
func (w *Walk) shell(ctx context.Context, where string) error {
	state, err := w.Room.state(ctx, where)
	if err != nil {
		w.Desk.Bad("This shell has nothing of what the lesson has set: %v", err)
	}
	args := []string{"bash", "-c", readersShell, "bash", state}
	if where != "" {
		args[1] = "-lc"
		args = []string{"ssh", "-t", "-F", w.Room.sshConfig(), where, command.Quote(args...)}
	}
	w.Desk.Plain("(exit brings you back to the lesson)")
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.WaitDelay = endTime
	_ = cmd.Run() // its status is that of the reader's last command
	return context.Cause(ctx)
}
