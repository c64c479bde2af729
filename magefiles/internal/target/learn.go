package target

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/learn"
	"github.com/calico-cni-lab/lab/magefiles/internal/learn/lesson"
	"github.com/calico-cni-lab/lab/magefiles/internal/run"
)

// tutorial is the directory of the chapters, in the project's.
const tutorial = "docs/tutorial"

// LearnOptions are learn's flags.
type LearnOptions struct {
	To     string // NAME or NAME/STEP: brings the lab to where that begins
	Play   bool   // plays chapters without a reader
	Update bool   // writes into the chapters what their commands print
}

// Learn lists the tutorial's chapters, or walks a reader through one.
func Learn(ctx context.Context, r *run.Run, name string, o LearnOptions) (err error) {
	dir := filepath.Join(r.Root, tutorial)
	chapters, err := lesson.Read(os.DirFS(dir))
	if err != nil {
		return err
	}
	if name != "" {
		i := slices.IndexFunc(chapters, func(c lesson.Chapter) bool { return c.Name == name })
		if i < 0 {
			return fmt.Errorf("there is no chapter %q", name)
		}
		chapters = chapters[i : i+1]
	}
	if !o.Play {
		return errors.New("not yet")
	}
	room, err := learn.Enter(ctx, r)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, room.Leave()) }()
	p := &learn.Player{Room: room, Dir: dir, Update: o.Update, Report: r.Console.Notice}
	var failed []string
	for _, c := range chapters {
		r.Console.Notice("%s", c.File)
		if err := errors.Join(room.Fits(c), p.Play(ctx, c, len(c.Steps))); err != nil {
			r.Console.Notice("%v", err)
			failed = append(failed, c.Name)
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("not as written: %s", strings.Join(failed, ", "))
	}
	return nil
}

// After returns the words on the command line behind a target and its flags.
func After(args []string, name string) []string {
	i := slices.IndexFunc(args, func(a string) bool { return strings.EqualFold(a, name) })
	if i < 0 {
		return nil
	}
	rest := args[i+1:]
	for len(rest) > 0 && strings.HasPrefix(rest[0], "-") {
		rest = rest[1:]
	}
	return rest
}
