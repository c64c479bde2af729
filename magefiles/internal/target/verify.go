package target

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/baseline"
	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/picture"
	"github.com/calico-cni-lab/lab/magefiles/internal/run"
	"github.com/calico-cni-lab/lab/magefiles/internal/support"
)

// VerifyOptions are verify's flags.
type VerifyOptions struct {
	JSON, Verbose, Timeline bool
	Forget                  []string // machines that were taken out of lab.yaml and can't be entered any more
}

// Verify looks, applies what is unmet and looks again, until everything holds.
func Verify(ctx context.Context, r *run.Run, o VerifyOptions) error {
	start := time.Now()
	if o.JSON {
		r.Console.Redirect(os.Stderr)
	}
	line, err := lessonLine(r, nil)
	if err != nil {
		return err
	}
	if line != "" {
		r.Console.Notice("%s", line)
	}
	if len(o.Forget) > 0 {
		l, err := r.Lab(ctx)
		if err == nil {
			err = l.Forget(o.Forget...)
		}
		if err != nil {
			return err
		}
	}
	now, err := reach(ctx, r, everything)
	report := now.report
	if o.Timeline && now.lab != nil {
		err = errors.Join(err, writeTimeline(r, start))
	}
	if err == nil && report.OK {
		err = keepBaseline(ctx, r, now.lab, true)
	}
	if err == nil && report.OK && !o.JSON && !o.Verbose {
		r.Console.Works(report) // each stage has had its line
		err = summarize(report)
	} else if err == nil {
		err = show(r, report, o.JSON, o.Verbose)
	}
	if err == nil && !report.OK {
		if !report.Blocked() { // there it is known what is wrong
			if slices.ContainsFunc(report.Unmet(), check.Result.Mendable) {
				byHand(r)
			}
			support.CollectFailed(ctx, r, now.lab)
		}
		err = unmet(report)
	}
	if err == nil && !o.JSON {
		p := picture.Of(now.lab.Lab, &now.facts, &report)
		r.Console.Notice("\n%s\n", p.Small(r.Console.Columns()))
		if n := moved(r, now.lab.Lab, &now.facts); n > 0 {
			r.Console.Notice("%s; to get those back, and undo what you made since: go tool mage reset\n", otherAddresses(n))
		}
		r.Console.Next(time.Since(start), next(now.lab))
	}
	return err
}

func otherAddresses(n int) string {
	if n == 1 {
		return "1 workload has another address than after the first verify"
	}
	return fmt.Sprintf("%d workloads have other addresses than after the first verify", n)
}

// moved counts the workloads that have another address than in the baseline: those of machines that were booted anew, or that were mended.
func moved(r *run.Run, l *lab.Lab, f *fact.Lab) (n int) {
	b, err := baseline.Read(r.StateDir)
	if err != nil {
		return 0
	}
	had := b.Addresses()
	for name, m := range f.Machines {
		for _, w := range m.Workloads(l.Network) {
			key, has := fact.WorkloadKey(name, w.Name), w.Attachment.Address()
			if was := had[key]; was.IsValid() && has.IsValid() && has != was {
				n++
			}
		}
	}
	return n
}

// next are commands to be typed when the lab works, and what they show.
func next(l *run.Lab) [][2]string {
	return [][2]string{
		{"go tool mage learn", "the tutorial: what is done, and what comes next"},
		{"go tool mage ssh " + l.ByRole(lab.RoleCalico)[0].Name, "a machine to look around on, and to break"},
		{"go tool mage view", "the lab, live in a browser"},
	}
}

// byHand says how to undo what verify doesn't look for, where it couldn't mend what it should have.
func byHand(r *run.Run) {
	if b, err := baseline.Read(r.StateDir); err == nil {
		r.Console.Notice("something that verify doesn't look for may be the cause, a packet filter, say; what was changed on the machines since %s is undone by: go tool mage reset",
			b.At.Local().Format("15:04 on 2 January"))
	}
}

// timelineFile is where verify -timeline draws, in the state directory.
const timelineFile = "timeline.md"

func writeTimeline(r *run.Run, since time.Time) error {
	file := filepath.Join(r.StateDir, timelineFile)
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	if err := errors.Join(r.Console.Tasks.Timeline(f, since), f.Close()); err != nil {
		return err
	}
	r.Console.Notice("timeline: %s", file)
	return nil
}
