package target

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/backup"
	"github.com/calico-cni-lab/lab/magefiles/internal/baseline"
	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/keep"
	"github.com/calico-cni-lab/lab/magefiles/internal/run"
	"github.com/calico-cni-lab/lab/magefiles/internal/stage"
)

// Backup writes a snapshot of etcd to a file on this computer: where the user says, else to the directory backups beside the lab's file,
// which destroy leaves alone.
func Backup(ctx context.Context, r *run.Run, file string) error {
	l, err := existing(ctx, r)
	if err != nil {
		return err
	}
	if err := l.AnyRuns(ctx); err != nil {
		return err
	}
	if file == "" {
		abs, err := filepath.Abs(r.LabFile)
		if err != nil {
			return err
		}
		file = filepath.Join(filepath.Dir(abs), "backups", l.Name+"-"+time.Now().Format("2006-01-02T15-04-05")+".db")
	}
	snapshot, err := l.Observer().Snapshot(ctx)
	if ctx.Err() != nil {
		return interrupted(ctx)
	}
	if err != nil {
		return err
	}
	if err := backup.Write(file, snapshot); err != nil {
		return err
	}
	all, err := backup.Read(file)
	if err != nil {
		return err
	}
	r.Console.Notice("%s: %d entries, %d kB; put them back with: go tool mage restore %s", file, len(all), len(snapshot)>>10, file)
	return nil
}

// restoringFile names the backup whose restoring is under way.
const restoringFile = "restoring"

// Restore brings the datastore back to what a backup has, and the lab in line with it. Members, certificates and rights stay: they are
// the lab's, not the backup's. Interrupted, it is finished by the next one.
func Restore(ctx context.Context, r *run.Run, file string) error {
	start := time.Now()
	l, err := existing(ctx, r)
	if err != nil {
		return err
	}
	if err := notDuringChallenge(r, "this would mend what it broke"); err != nil {
		return err
	}
	was, err := backup.Read(file)
	if err != nil {
		return err
	}
	if err := backup.Fits(was, l.Lab); err != nil {
		return err
	}
	if err := r.Begin(ctx); err != nil {
		return err
	}
	abs, err := filepath.Abs(file)
	if err != nil {
		return err
	}
	// calico-node registers nodes and keeps its own; what it watches is there first.
	goal := stage.Goal{Stages: []string{stage.Etcd, stage.CNIPlugins, stage.Cnitool}}
	if err := reachFor(ctx, r, l, goal, nil); err != nil {
		return err
	}
	f := deepLook(ctx, l)
	why := unseen(&f)
	for _, name := range slices.Sorted(maps.Keys(f.Machines)) {
		if unknown := f.Machines[name].Attachments.Unknown; unknown != "" {
			why = append(why, name+": "+unknown)
		}
	}
	if len(why) > 0 {
		return fmt.Errorf("nothing was restored: %s\nsee what is wrong: go tool mage check; then restore again", check.Names(why))
	}
	if err := keep.Write(filepath.Join(r.StateDir, restoringFile), []byte(abs+"\n"), 0o600); err != nil {
		return err
	}
	plan := backup.Plan(l.Lab, was, &f)
	if err := putBack(ctx, l, plan); err != nil {
		if ctx.Err() != nil {
			err = interrupted(ctx)
		}
		return fmt.Errorf("%w\nfinish it with: go tool mage restore %s", err, file)
	}
	// What the lab is from now on.
	if err := keep.Remove(filepath.Join(r.StateDir, baseline.File)); err != nil {
		return err
	}
	if err := reachFor(ctx, r, l, everything, &plan); err != nil {
		return err
	}
	if err := forgetRestoring(r); err != nil {
		return err
	}
	if err := keepBaseline(ctx, r, l, true); err != nil {
		return err
	}
	r.Console.Notice("the datastore is as in %s: %s put back or taken away; the lab works (%.1fs)", file, things(len(plan.Ops)), time.Since(start).Seconds())
	return nil
}

// putBack makes the datastore what a backup has.
func putBack(ctx context.Context, l *run.Lab, plan backup.Restoration) error {
	env := l.Engine().Env
	if plan.Replaced {
		if err := env.StopNodes(ctx); err != nil {
			return err
		}
	}
	if err := writer(l)(ctx, plan.Ops); err != nil {
		return err
	}
	return env.Release(ctx, plan.Lost)
}

// reachFor has the engine bring a goal about on the way of a restore.
func reachFor(ctx context.Context, r *run.Run, l *run.Lab, g stage.Goal, plan *backup.Restoration) error {
	engine := l.Engine()
	engine.Report = news{r.Console}
	if plan != nil {
		engine.Env.Addresses = plan.Addresses
	}
	report, err := engine.Reach(ctx, g)
	switch {
	case ctx.Err() != nil:
		return interrupted(ctx)
	case err != nil:
		return err
	case !report.OK:
		r.Console.Report(report, false)
		return unmet(report)
	}
	return nil
}

// unseen says why it can't be seen what a lab is.
func unseen(f *fact.Lab) (why []string) {
	for _, name := range slices.Sorted(maps.Keys(f.Unreached)) {
		why = append(why, name+": "+f.Unreached[name])
	}
	for _, name := range slices.Sorted(maps.Keys(f.Machines)) {
		if docker := f.Machines[name].Docker; docker.Unknown != "" {
			why = append(why, name+": "+docker.Unknown)
		}
	}
	if f.Datastore.Unknown != "" {
		why = append(why, "the datastore: "+f.Datastore.Unknown)
	}
	return why
}

// forgetRestoring: a restore is finished, or what it did was undone.
func forgetRestoring(r *run.Run) error { return keep.Remove(filepath.Join(r.StateDir, restoringFile)) }

// restoring says that a restore was interrupted; "" where none was.
func restoring(r *run.Run) string {
	data, err := os.ReadFile(filepath.Join(r.StateDir, restoringFile))
	if err != nil {
		return ""
	}
	return fmt.Sprintf("restoring a backup was interrupted; finish it with: go tool mage restore %s", strings.TrimSpace(string(data)))
}
