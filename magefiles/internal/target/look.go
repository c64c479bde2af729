package target

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/challenge"
	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/run"
	"github.com/calico-cni-lab/lab/magefiles/internal/stage"
	"github.com/calico-cni-lab/lab/magefiles/internal/ui"
)

// show prints a report, and adds it to the summary of a job of GitHub Actions.
func show(r *run.Run, report check.Report, asJSON, verbose bool) error {
	if err := summarize(report); err != nil {
		return err
	}
	if !asJSON {
		r.Console.Report(report, verbose)
		return nil
	}
	return ui.JSON(os.Stdout, report)
}

func summarize(report check.Report) error {
	return ui.Summarize(func(w io.Writer) { ui.Markdown(w, report) })
}

// Check looks at the lab and changes nothing. While a challenge is on it shows what doesn't hold, and why, only where it may spoil that.
func Check(ctx context.Context, r *run.Run, asJSON, verbose, spoils bool) error {
	if asJSON {
		r.Console.Redirect(os.Stderr)
	}
	l, err := r.Lab(ctx)
	if err != nil {
		return err
	}
	if made, err := l.Made(ctx); err != nil || !made {
		return cmp.Or(err, machine.ErrNotUp)
	}
	report, err := l.Viewer().Peek(ctx, everything)
	if ctx.Err() != nil {
		return interrupted(ctx)
	}
	s, on, serr := challenge.Read(r.StateDir)
	switch {
	case cmp.Or(err, serr) != nil:
		return cmp.Or(err, serr)
	case on && spoils:
		err = spoil(r, s)
	case on:
		return checkOutside(r, s, report, asJSON)
	}
	if err == nil {
		err = show(r, report, asJSON, verbose)
	}
	if err != nil || report.OK {
		return err
	}
	if slices.ContainsFunc(report.Unmet(), check.Result.Mendable) && !report.Blocked() && !on {
		r.Console.Notice("mend it with: go tool mage verify (what that does: go tool mage plan)")
	}
	return unmet(report)
}

// Plan shows what verify would do, and why, and changes nothing. todo says whether there is anything.
func Plan(ctx context.Context, r *run.Run) (todo bool, err error) {
	l, err := r.Lab(ctx)
	if err != nil {
		return false, err
	}
	if err := notDuringChallenge(r, "this would tell what it broke"); err != nil {
		return false, err
	}
	report, err := l.Viewer().Peek(ctx, everything)
	if ctx.Err() != nil {
		return false, interrupted(ctx)
	}
	if err != nil {
		return false, err
	}
	var first []string
	if !report.OK {
		if first, err = l.Unmade(ctx); err != nil {
			return false, err
		}
	}
	r.Console.Plan(stageNames(), first, report)
	if n := report.Count(check.Refused); n > 0 {
		return false, errors.New("verify would stop before it touches anything")
	}
	if !report.OK && !slices.ContainsFunc(report.Unmet(), check.Result.Mendable) {
		return false, unmet(report)
	}
	return !report.OK, nil
}

// Status shows what exists: machines, a line for each stage, and what to type next.
func Status(ctx context.Context, r *run.Run) error {
	l, err := r.Lab(ctx)
	if err != nil {
		return err
	}
	machines, err := machine.Measured(ctx, l.Provider)
	if err != nil {
		return err
	}
	present := slices.ContainsFunc(machines, func(m machine.Status) bool { return m.State != machine.Absent })
	absent := slices.ContainsFunc(machines, func(m machine.Status) bool { return m.State == machine.Absent })
	stopped := slices.ContainsFunc(machines, func(m machine.Status) bool { return m.State == machine.Stopped })
	p := l.Maker.Pins
	more := [][2]string{
		{"pins", fmt.Sprintf("Calico %s, etcd %s, cnitool %s, CNI plugins %s, Go %s, Debian %s", p.Calico, p.Etcd, p.Cnitool, p.Plugins, l.Versions.Go, l.Versions.Debian)},
		{"cache", l.Maker.Store.Dir},
	}
	if present {
		more = append(more, [2]string{"logs", filepath.Join(r.StateDir, "logs")},
			[2]string{"ssh", "ssh -F " + filepath.Join(r.StateDir, machine.SSHConfigFile) + " " + machines[0].Machine})
	}
	if present {
		line, err := lessonLine(r, func() fact.Lab { return deepLook(ctx, l) })
		if err != nil {
			return err
		}
		if line != "" {
			more = append(more, [2]string{"lesson", strings.TrimPrefix(line, "lesson ")})
		}
	}
	next, stages := "go tool mage verify", stageNames()
	var report check.Report
	s, on, err := challenge.Read(r.StateDir)
	if err != nil {
		return err
	}
	if present && on {
		more, next, stages = append(more, [2]string{"challenge", s.Name + " is on, so no stage is shown; give it up with: go tool mage reset"}), "go tool mage challenge", nil
	} else if present {
		if report, err = l.Viewer().Peek(ctx, stage.Goal{Stages: everything.Stages}); err != nil {
			return err
		}
	}
	switch {
	case l.Provider.Capabilities().Undo && present && absent:
		next = "go tool mage verify brings everything back; go tool mage destroy -force undoes the rest"
	case stopped && on:
		next = "go tool mage start (which gives the challenge up)"
	case stopped:
		next = "go tool mage start"
	case present && report.OK:
		next = "go tool mage check"
	}
	r.Console.Status(l.Name, l.Provider.Name(), machines, stages, report, append(more, [2]string{"next", next}))
	return nil
}
