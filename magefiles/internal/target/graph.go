package target

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/explain"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/picture"
	"github.com/calico-cni-lab/lab/magefiles/internal/run"
	"github.com/calico-cni-lab/lab/magefiles/internal/ui"
)

// GraphOptions are graph's flags; what is "" has a default.
type GraphOptions struct {
	Format, What string
	From, To     string // a packet's ends
	Out          string // a file
}

// Graph draws the lab: as it is, or without one as lab.yaml has it.
func Graph(ctx context.Context, r *run.Run, o GraphOptions) error {
	what := picture.What(o.What)
	if !slices.Contains(picture.Questions(), what) {
		return fmt.Errorf("-what=%s: say %s", o.What, listed(picture.Questions()))
	}
	if !slices.Contains(picture.Formats(), o.Format) {
		return fmt.Errorf("-format=%s: say %s", o.Format, listed(picture.Formats()))
	}
	if o.Out == "" {
		r.Console.Redirect(os.Stderr) // standard output is the picture
	}
	l, err := r.Lab(ctx)
	if err == nil {
		err = notDuringChallenge(r, "this would show what it broke")
	}
	if err != nil {
		return err
	}
	p, err := draw(ctx, l, what, o)
	if err != nil {
		return err
	}
	return written(r, o.Out, func(f *os.File) error {
		if o.Format == "json" {
			return ui.JSON(f, p)
		}
		text, err := p.Write(o.Format, what)
		if err == nil {
			_, err = f.WriteString(command.Printable(text))
		}
		return err
	})
}

func listed[T ~string](all []T) string {
	var names []string
	for _, x := range all {
		names = append(names, string(x))
	}
	return strings.Join(names[:len(names)-1], ", ") + " or " + names[len(names)-1]
}

// written writes a file, or standard output where it has no name.
func written(r *run.Run, file string, write func(*os.File) error) (err error) {
	if file == "" {
		return write(os.Stdout)
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	err = write(f)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		r.Console.Notice("written: %s", file)
	}
	return err
}

// draw makes the picture, and sends the packet where one is asked for.
func draw(ctx context.Context, l *run.Lab, what picture.What, o GraphOptions) (picture.Picture, error) {
	made, err := l.Made(ctx)
	if err != nil {
		return picture.Picture{}, err
	}
	if !made {
		if what == picture.Packet {
			return picture.Picture{}, fmt.Errorf("a packet has to be sent: %w", machine.ErrNotUp)
		}
		return picture.Plan(l.Lab), nil
	}
	facts, report, err := Seen(ctx, l)
	if err != nil {
		return picture.Picture{}, err
	}
	p := picture.Of(l.Lab, &facts, &report)
	if what != picture.Packet {
		return p, nil
	}
	asked := &explain.Lab{Lab: l.Lab, Facts: &facts, Trace: l.Observer().Deep().Trace, Slow: l.Slow}
	words := []string{"packet", o.From, o.To}
	if o.From == "" || o.To == "" {
		all := asked.Workloads()
		if len(all) < 2 {
			return p, fmt.Errorf("there are no two workloads to send a packet between; say -from and -to, or: go tool mage plumb")
		}
		words = []string{"packet", all[0].Name, all[len(all)-1].Name}
	}
	topic, err := explain.Find(l.Lab, words)
	if err != nil {
		return p, err
	}
	story, err := topic.Answer(ctx, asked, words)
	if err != nil {
		return p, err
	}
	p.Travel(story)
	return p, nil
}

// Seen looks once, with what explanations need too, and compares.
func Seen(ctx context.Context, l *run.Lab) (fact.Lab, check.Report, error) {
	viewer := l.Viewer()
	viewer.Look = l.Observer().Deep()
	report, err := viewer.Peek(ctx, everything)
	if ctx.Err() != nil {
		err = interrupted(ctx)
	}
	return viewer.Facts(), report, err
}
