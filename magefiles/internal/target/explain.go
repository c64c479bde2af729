package target

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/challenge"
	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/explain"
	"github.com/calico-cni-lab/lab/magefiles/internal/run"
	"github.com/calico-cni-lab/lab/magefiles/internal/stage"
	"github.com/calico-cni-lab/lab/magefiles/internal/ui"
)

// Explain answers the question that stands behind `explain` on the command line; without one it lists what can be asked.
func Explain(ctx context.Context, r *run.Run) error {
	words, asJSON, picture := question(os.Args)
	l, err := r.Lab(ctx)
	if err != nil {
		return err
	}
	if len(words) == 0 {
		r.Console.Notice("%s", topics(explain.Topics(l.Lab)))
		return nil
	}
	topic, err := explain.Find(l.Lab, words)
	if err != nil {
		return err
	}
	if picture && !topic.Picture {
		return fmt.Errorf("there is no picture of %s; there is one of %s", topic.Name, pictured(explain.Topics(l.Lab)))
	}
	if asJSON || picture {
		r.Console.Redirect(os.Stderr)
	}
	if err := l.AnyRuns(ctx); err != nil {
		return err
	}
	asked, trouble, err := look(ctx, l)
	if err != nil {
		return err
	}
	if s, on, err := challenge.Read(r.StateDir); err != nil {
		return err
	} else if on {
		trouble = fmt.Sprintf("Challenge %s is on: the lab isn't as it should be.", s.Name)
	}
	story, err := topic.Answer(ctx, asked, words)
	if err != nil {
		if trouble != "" {
			r.Console.Notice("%s", trouble)
		}
		return err
	}
	story.Trouble = trouble
	switch {
	case asJSON:
		return ui.JSON(os.Stdout, story)
	case picture:
		fmt.Print(command.Printable(story.Mermaid))
		return nil
	}
	r.Console.Story(story)
	return nil
}

// look looks once, compares, and says what isn't as it should be.
func look(ctx context.Context, l *run.Lab) (asked *explain.Lab, trouble string, err error) {
	observer := l.Observer().Deep()
	viewer := l.Viewer()
	viewer.Look = observer
	report, err := viewer.Peek(ctx, stage.Goal{Stages: everything.Stages})
	if err != nil {
		return nil, "", err
	}
	if !report.OK {
		first := report.Unmet()[0]
		found, _, _ := strings.Cut(first.Found, "\n")
		trouble = fmt.Sprintf("The lab isn't as it should be: %s; the first: %s (%s). See: go tool mage check. Mend it: go tool mage verify", report.Tally(), first.ID, found)
	}
	facts := viewer.Facts()
	return &explain.Lab{Lab: l.Lab, Facts: &facts, Certificates: viewer.Env.Certificates, Trace: observer.Trace, Slow: l.Slow}, trouble, nil
}

// question returns what stands behind `explain` on the command line, without its flags.
func question(args []string) (words []string, asJSON, picture bool) {
	i := slices.IndexFunc(args, func(a string) bool { return strings.EqualFold(a, "explain") })
	if i < 1 {
		return nil, false, false
	}
	for _, a := range args[i+1:] {
		switch strings.TrimLeft(a, "-") {
		case "json":
			asJSON = true
		case "mermaid":
			picture = true
		default:
			words = append(words, a)
		}
	}
	return words, asJSON, picture
}

func topics(all []explain.Topic) string {
	var b strings.Builder
	b.WriteString("What can be explained, from the lab as it is now:\n")
	for _, t := range all {
		fmt.Fprintf(&b, "\n  %-22s %s\n", strings.TrimSpace(t.Name+" "+t.Args), t.About)
		fmt.Fprintf(&b, "    go tool mage explain %s\n", strings.TrimSpace(t.Name+" "+t.Example))
	}
	fmt.Fprintf(&b, "\nA place is a machine, a workload such as calico1/workload, or an address.\n-json is for programs; -mermaid draws %s.", pictured(all))
	return b.String()
}

func pictured(all []explain.Topic) string {
	var names []string
	for _, t := range all {
		if t.Picture {
			names = append(names, t.Name)
		}
	}
	return strings.Join(names, ", ")
}
