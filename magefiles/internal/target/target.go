// Package target is what the lab's targets do: one function each, on a run.
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
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/baseline"
	"github.com/calico-cni-lab/lab/magefiles/internal/challenge"
	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/picture"
	"github.com/calico-cni-lab/lab/magefiles/internal/run"
	"github.com/calico-cni-lab/lab/magefiles/internal/stage"
	"github.com/calico-cni-lab/lab/magefiles/internal/support"
	"github.com/calico-cni-lab/lab/magefiles/internal/ui"
)

// everything is the goal of verify, check and plan: all stages, and packets that arrive.
var everything = stage.Goal{Stages: []string{stage.Plumb}, Probe: true}

// Reach brings a stage about, with all that it needs.
func Reach(ctx context.Context, r *run.Run, name string) error {
	now, err := reach(ctx, r, stage.Goal{Stages: []string{name}})
	if err != nil {
		return err
	}
	if !now.report.OK {
		r.Console.Report(now.report, false)
		support.CollectFailed(ctx, r, now.lab)
		return unmet(now.report)
	}
	return keepBaseline(ctx, r, now.lab, false)
}

// reached is how a lab is that the engine has worked on.
type reached struct {
	lab    *run.Lab // nil where it didn't come to that
	report check.Report
	facts  fact.Lab
}

// reach runs the engine, and collects the logs of a failure once its cause is printed.
func reach(ctx context.Context, r *run.Run, g stage.Goal) (reached, error) {
	l, err := r.Lab(ctx)
	if err == nil {
		err = notDuringChallenge(r, "this would mend what it broke")
	}
	if err == nil {
		err = r.Begin(ctx)
	}
	if err != nil {
		return reached{}, err
	}
	if line := restoring(r); line != "" {
		r.Console.Notice("%s", line)
	}
	if err := keepPlan(ctx, r, l); err != nil {
		return reached{}, err
	}
	if err := lookBefore(ctx, r, l); err != nil {
		return reached{}, err
	}
	l.Expect()
	engine := l.Engine()
	report, err := engine.Reach(ctx, g)
	now := reached{l, report, engine.Facts()}
	if ctx.Err() != nil {
		return now, interrupted(ctx)
	}
	var refused *stage.RefusedError
	if err != nil && !errors.As(err, &refused) { // of a refusal there is nothing to find out
		r.Console.Cause(err)
		byHand(r)
		support.CollectFailed(ctx, r, l)
		return now, &printedError{err}
	}
	if err != nil {
		return now, err
	}
	if report.OK {
		l.Reached()
	}
	return now, l.WriteSSHConfig()
}

// keepPlan: a lab whose plan was lost is there all the same, and how its machines are entered may have changed.
func keepPlan(ctx context.Context, r *run.Run, l *run.Lab) error {
	_, made, err := r.Plan()
	if err == nil && !made {
		made, err = l.Made(ctx)
	}
	if err != nil || !made {
		return err
	}
	return l.KeepPlan()
}

// printedError is an error whose text is on the screen already: its first line is enough for the last one.
type printedError struct{ error }

func (e *printedError) Error() string {
	line, _, _ := strings.Cut(e.error.Error(), "\n")
	return line
}

func (e *printedError) Unwrap() error { return e.error }

// interrupted is why a context ended: Mage's own, on Ctrl-C, has no cause to show.
func interrupted(ctx context.Context) error {
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return run.ErrInterrupted
}

func unmet(r check.Report) error {
	return fmt.Errorf("%s; the first: %s", r.Tally(), r.Unmet()[0].ID)
}

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
		r.Console.Next(time.Since(start), next(now.lab))
	}
	return err
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
	if slices.ContainsFunc(report.Unmet(), check.Result.Mendable) && !report.Blocked() {
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
	r.Console.Plan(stageNames(), report)
	if n := report.Count(check.Refused); n > 0 {
		return false, errors.New("verify would stop before it touches anything")
	}
	if !report.OK && !slices.ContainsFunc(report.Unmet(), check.Result.Mendable) {
		return false, unmet(report)
	}
	return !report.OK, nil
}

func stageNames() []string {
	var names []string
	for _, s := range stage.All() {
		names = append(names, s.Name)
	}
	return names
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

// Plumb brings the stage about and shows the plumbed workloads.
func Plumb(ctx context.Context, r *run.Run) error {
	if err := Reach(ctx, r, stage.Plumb); err != nil {
		return err
	}
	l, err := r.Lab(ctx)
	if err != nil {
		return err
	}
	f := l.Observer().Look(ctx, l.Machines, nil)
	for _, m := range l.ByRole(lab.RoleCalico) {
		for _, w := range f.Machines[m.Name].Workloads(l.Network) {
			r.Console.Plumbed(m.Name, w, f.Datastore.Value.BlocksOf(m.Name))
		}
	}
	return nil
}

// Unplumb takes the workloads back.
func Unplumb(ctx context.Context, r *run.Run) error {
	l, err := r.Lab(ctx)
	if err != nil {
		return err
	}
	if err := notDuringChallenge(r, "it needs the workloads"); err != nil {
		return err
	}
	if err := r.Begin(ctx); err != nil {
		return err
	}
	var nodes []string
	for _, m := range l.ByRole(lab.RoleCalico) {
		nodes = append(nodes, m.Name)
	}
	if err := l.Running(ctx, nodes...); err != nil {
		return err
	}
	f := l.Observer().Look(ctx, l.ByRole(lab.RoleCalico), nil)
	if err := stage.Unplumb(ctx, l.Engine().Env, &f); err != nil {
		return err
	}
	r.Console.Notice("the workloads are gone, their addresses released; plumb again with: go tool mage plumb")
	return nil
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
