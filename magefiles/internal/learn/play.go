package learn

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/learn/lesson"
)

// Player plays chapters without a reader: as a test of them, to bring the lab to where a step begins, or to write down anew what
// the commands print.
type Player struct {
	Room   *Room
	Root   string // of the project
	Update bool   // whether output that differs is written into the chapter, and no fault
	Report func(format string, args ...any)
}

// Whole plays a chapter from its beginning to its end, on a lab that is as it was, and wants it to leave it so. A lab that another
// chapter has left otherwise is reset before.
func (p *Player) Whole(ctx context.Context, c lesson.Chapter) error {
	if p.Room.restored(ctx).State != check.Holds {
		if err := p.Room.Reset(ctx, nil); err != nil {
			return fmt.Errorf("before %s: %w", c.Path(), err)
		}
	}
	_, err := p.Play(ctx, c, len(c.Steps))
	made, merr := p.Room.lab.Made(ctx)
	if err != nil || merr != nil || !made {
		return errors.Join(err, merr)
	}
	restored := lesson.Block{Kind: lesson.Check, Checks: []lesson.Expect{{Line: 0, Predicate: "restored"}}}
	k := &checks{room: p.Room, file: c.Path()}
	expect, findings, err := k.await(ctx, restored)
	return errors.Join(append(k.faults(expect, findings), err)...)
}

// Play plays a chapter up to a step, not included; all of it where to is at its end. It returns what was captured. What differs from
// the text is an error that names every place.
func (p *Player) Play(ctx context.Context, c lesson.Chapter, to int) (lesson.Captures, error) {
	captures := lesson.Captures{}
	var renewed []lesson.Printed
	var faults []error
	for i, step := range c.Steps[:to] {
		missing, err := p.Room.Missing(ctx, step)
		if err != nil {
			return captures, fmt.Errorf("%s: %w", c.Path(), err)
		}
		if missing != "" && i == 0 {
			p.Report("  left out: it needs %s", missing)
			break
		}
		if missing != "" {
			p.Report("  %s: left out, it needs %s", step.Title, missing)
			continue
		}
		start := time.Now()
		more, err := p.step(ctx, c, step, captures, &renewed)
		faults = append(faults, more...)
		if err != nil {
			faults = append(faults, err)
			break
		}
		title := step.Title
		if i == 0 {
			title = c.Title
		}
		p.Report("  %s (%.1fs)", title, time.Since(start).Seconds())
		if len(more) > 0 && !p.Update {
			break // what follows is about another lab
		}
	}
	if p.Update && len(renewed) > 0 {
		faults = append(faults, p.rewrite(c, renewed))
	}
	return captures, errors.Join(faults...)
}

func (p *Player) rewrite(c lesson.Chapter, renewed []lesson.Printed) error {
	file := filepath.Join(p.Root, c.Path())
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	p.Report("  %s: %d outputs written anew", c.Path(), len(renewed))
	return os.WriteFile(file, []byte(lesson.Rewrite(string(text), renewed)), 0o644)
}

// step plays one step; faults are differences from the text.
func (p *Player) step(ctx context.Context, c lesson.Chapter, step lesson.Step, captures lesson.Captures, renewed *[]lesson.Printed) (faults []error, err error) {
	checks := &checks{room: p.Room, file: c.Path(), captures: captures}
	for range 3 { // one late answer may be chance
		if faults, err = checks.premature(ctx, step); err != nil {
			return nil, err
		}
		if len(faults) == 0 {
			break
		}
	}
	if err := checks.count(ctx, step); err != nil { // last, because looking sends packets
		return nil, err
	}
	for _, b := range step.Blocks {
		switch b.Kind {
		case lesson.Console:
			for _, cmd := range b.Commands {
				printed, err := p.Room.Do(ctx, cmd, nil)
				if err != nil {
					return faults, fmt.Errorf("%s:%d: %w", c.Path(), cmd.Line, err)
				}
				at, ok := lesson.Match(cmd.Output, printed, captures)
				switch {
				case ok:
				case p.Update:
					*renewed = append(*renewed, lesson.Printed{Command: cmd, Output: lesson.Renew(cmd.Output, printed, captures)})
				default:
					faults = append(faults, fmt.Errorf("%s:%d: %s$ %s printed something else%s", c.Path(), cmd.Line, cmd.Machine, cmd.Command, Difference(cmd.Output, printed, at)))
				}
			}
		case lesson.Check:
			expect, findings, err := checks.await(ctx, b)
			if err != nil {
				return faults, err
			}
			faults = append(faults, checks.faults(expect, findings)...)
		}
		if ctx.Err() != nil {
			return faults, context.Cause(ctx)
		}
	}
	return faults, nil
}

// Difference shows both, and marks the first expected line that has no match.
func Difference(expected []string, printed string, at int) string {
	var b strings.Builder
	b.WriteString("\n  expected:")
	for i, line := range expected {
		mark := "    "
		if i == at {
			mark = "  > "
		}
		b.WriteString("\n" + mark + line)
	}
	if at >= len(expected) {
		b.WriteString("\n  > (nothing more)")
	}
	b.WriteString("\n  printed:")
	for line := range strings.Lines(strings.TrimRight(printed, "\n")) {
		b.WriteString("\n    " + strings.TrimRight(line, "\n"))
	}
	return b.String()
}

// state says what of a finding is for people.
func state(s check.State) string {
	switch s {
	case check.Holds:
		return "ok"
	case check.Broken, check.Refused:
		return "failed"
	default:
		return "unknown"
	}
}
