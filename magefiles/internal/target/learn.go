package target

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/term"

	"github.com/calico-cni-lab/lab/magefiles/internal/baseline"
	"github.com/calico-cni-lab/lab/magefiles/internal/learn"
	"github.com/calico-cni-lab/lab/magefiles/internal/learn/lesson"
	"github.com/calico-cni-lab/lab/magefiles/internal/nearest"
	"github.com/calico-cni-lab/lab/magefiles/internal/run"
)

// The directories of what is to be learnt, in the project's.
const (
	tutorial    = "docs/tutorial"
	experiments = "docs/experiments"
)

// LearnOptions are learn's flags. Play and Update are about the whole tutorial where nothing is named, and with the name "experiments"
// about all of those.
type LearnOptions struct {
	To     string // NAME or NAME/STEP: brings the lab to where that begins
	Play   bool   // plays chapters without a reader
	Update bool   // writes into the chapters what their commands print
}

// Learn lists the tutorial's chapters and the experiments; with a name it walks a reader through one.
func Learn(ctx context.Context, r *run.Run, name string, o LearnOptions) error {
	chapters, err := lesson.Read(os.DirFS(r.Root), tutorial, experiments)
	if err != nil {
		return err
	}
	if name != "" || o.To != "" || o.Play || o.Update {
		if err := notDuringChallenge(r, "a chapter wants a lab that is well"); err != nil {
			return err
		}
	}
	switch {
	case o.To != "" && (name != "" || o.Play || o.Update):
		return errors.New("-to names the chapter itself, and goes with nothing else; type: go tool mage learn -to=" + o.To)
	case o.Play || o.Update:
		return play(ctx, r, chapters, name, o.Update)
	case o.To != "":
		return goTo(ctx, r, chapters, o.To)
	case name == "":
		return listChapters(r, chapters)
	}
	c, err := chapter(chapters, name)
	if err != nil {
		return err
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) || !term.IsTerminal(int(os.Stdout.Fd())) {
		text, err := os.ReadFile(filepath.Join(r.Root, c.Path()))
		if err == nil {
			_, err = os.Stdout.Write(text)
		}
		return err
	}
	return walk(ctx, r, chapters, c)
}

// number is what is typed instead of a name: 3 for a chapter, e3 for an experiment.
func number(c lesson.Chapter) string {
	if c.Dir == experiments {
		return "e" + c.Number()
	}
	return c.Number()
}

// chapter finds one by its name or its number.
func chapter(all []lesson.Chapter, name string) (lesson.Chapter, error) {
	var names []string
	for _, c := range all {
		if c.Name == name || number(c) == strings.TrimPrefix(strings.ToLower(name), "0") {
			return c, nil
		}
		names = append(names, c.Name)
	}
	meant := "there are " + strings.Join(names, ", ")
	if near := nearest.Of(name, names); len(near) > 0 {
		meant = "did you mean " + strings.Join(near, ", ") + "?"
	}
	return lesson.Chapter{}, fmt.Errorf("there is no chapter or experiment %q; %s", name, meant)
}

// listChapters shows what there is, what is done, and what comes next.
func listChapters(r *run.Run, chapters []lesson.Chapter) error {
	progress, err := learn.ReadProgress()
	if err != nil {
		return err
	}
	l, underWay, err := baseline.ReadLesson(r.StateDir)
	if err != nil {
		return err
	}
	width, next := 0, ""
	for _, c := range chapters {
		width = max(width, len(c.Name))
	}
	for i, c := range chapters {
		if c.Dir == experiments && (i == 0 || chapters[i-1].Dir != experiments) {
			r.Console.Notice("experiments:")
		}
		mark, note := " ", ""
		begun := underWay && l.Chapter == c.Name
		done, finished := progress.Done[c.Name]
		switch {
		case begun:
			mark, note = "…", fmt.Sprintf(" (at step %d of %d)", l.Step, len(c.Steps))
		case finished:
			mark, note = "✓", done.Format(" (2006-01-02)")
		}
		if begun || next == "" && !finished && !underWay { // no other one can be begun meanwhile
			next = c.Name
		}
		if c.Lab != "" {
			note = ", on " + c.Lab + note
		}
		r.Console.Notice("%s %3s  %-*s  %s%s", mark, number(c), width, c.Name, c.Title, note)
	}
	switch {
	case next != "":
		r.Console.Notice("next: go tool mage learn %s", next)
	default:
		r.Console.Notice("all is done; any of them again: go tool mage learn NAME")
	}
	return listScores(r)
}

// walk walks a reader through a chapter.
func walk(ctx context.Context, r *run.Run, chapters []lesson.Chapter, c lesson.Chapter) (err error) {
	room, err := learn.Enter(ctx, r)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, room.Leave()) }()
	if err := room.Fits(c); err != nil {
		return err
	}
	desk := learn.NewDesk(os.Stdin, os.Stdout, r.Console.ByProgram)
	w := &learn.Walk{Room: room, Desk: desk}
	finished, err := w.Chapter(ctx, c)
	if err != nil && ctx.Err() == nil {
		return err
	}
	if !finished {
		r.Console.Notice("on with it: go tool mage learn %s; the lab as it was before: go tool mage reset", c.Name)
		return nil
	}
	return listChapters(r, chapters)
}

// goTo brings the lab to where a chapter, or one of its steps, begins.
func goTo(ctx context.Context, r *run.Run, chapters []lesson.Chapter, to string) (err error) {
	name, number, _ := strings.Cut(to, "/")
	c, err := chapter(chapters, name)
	if err != nil {
		return err
	}
	step := 1
	if number != "" {
		if step, err = strconv.Atoi(number); err != nil || step < 1 || step > len(c.Steps) {
			return fmt.Errorf("chapter %s has the steps 1 to %d, and no %q", c.Name, len(c.Steps), number)
		}
	}
	room, err := learn.Enter(ctx, r)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, room.Leave()) }()
	if err := room.Fits(c); err != nil {
		return err
	}
	if err := room.Reset(ctx, nil); err != nil {
		return err
	}
	p := &learn.Player{Room: room, Report: r.Console.Notice}
	captures, err := p.Play(ctx, c, step-1)
	if err != nil {
		return err
	}
	if err := room.Keep(ctx, c, step-1, captures); err != nil {
		return err
	}
	r.Console.Notice("the lab is where %s begins; next: go tool mage learn %s", to, c.Name)
	return nil
}

// play plays chapters without a reader, and says which are not as they are written.
func play(ctx context.Context, r *run.Run, chapters []lesson.Chapter, name string, update bool) (err error) {
	of := func(dir string) []lesson.Chapter {
		return slices.DeleteFunc(chapters, func(c lesson.Chapter) bool { return c.Dir != dir })
	}
	switch name {
	case "":
		chapters = of(tutorial)
	case filepath.Base(experiments):
		chapters = of(experiments)
	case lesson.README:
		text, err := os.ReadFile(filepath.Join(r.Root, lesson.README))
		if err != nil {
			return err
		}
		c, err := lesson.Parse(lesson.README, string(text))
		if err != nil {
			return err
		}
		chapters = []lesson.Chapter{c}
	default:
		c, err := chapter(chapters, name)
		if err != nil {
			return err
		}
		chapters = []lesson.Chapter{c}
	}
	if l, underWay, err := baseline.ReadLesson(r.StateDir); err != nil || underWay {
		return cmp.Or(err, fmt.Errorf("%s, and playing chapters would undo what was done in it; leave it first: go tool mage reset", l))
	}
	room, err := learn.Enter(ctx, r)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, room.Leave()) }()
	p := &learn.Player{Room: room, Root: r.Root, Update: update, Report: r.Console.Notice}
	var failed []string
	for _, c := range chapters {
		r.Console.Notice("%s", c.Path())
		err := room.Fits(c)
		if err != nil && c.Lab != "" && len(chapters) > 1 {
			r.Console.Notice("  left out: %v", err)
			continue
		}
		if err == nil {
			err = p.Whole(ctx, c)
		}
		if err != nil {
			r.Console.Notice("%v", err)
			failed = append(failed, c.Name)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("not as written: %s", strings.Join(failed, ", "))
	}
	return nil
}

// Chapter returns the chapter that is named behind `learn` and its flags on a command line, "" where none is. More words are refused,
// with what was meant: what stands behind the name isn't Mage's, so a flag there would be none.
func Chapter(args []string) (name string, err error) { return named(args, "learn", "chapter") }

func named(args []string, target, thing string) (name string, err error) {
	if len(args) > 0 {
		args = args[1:] // the program's own name
	}
	i := slices.IndexFunc(args, func(a string) bool { return strings.EqualFold(a, target) })
	var flags, names []string
	for _, a := range args[i+1:] {
		switch {
		case !strings.HasPrefix(a, "-"):
			names = append(names, a)
		case len(names) > 0:
			err = fmt.Errorf("%s stands behind the %s's name", a, thing)
			fallthrough
		default:
			flags = append(flags, a)
		}
	}
	switch {
	case i < 0 || len(names) == 0:
		return "", nil
	case len(names) > 1:
		err = fmt.Errorf("%s takes one %s, not %d", target, thing, len(names))
	case err == nil:
		return names[0], nil
	}
	return "", fmt.Errorf("%w; type: go tool mage %s %s", err, target, strings.Join(append(flags, names[0]), " "))
}
