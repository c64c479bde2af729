package baseline

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
)

// Restorer brings a lab back to its baseline.
type Restorer struct {
	Baseline *Baseline
	Lab      *lab.Lab
	Look     func(context.Context) fact.Lab // a deep look at all machines
	Host     func(ctx context.Context, name string) (*remote.Host, error)
	Etcd     func(context.Context) error // brings about what the datastore needs
	// StopNodes stops calico-node everywhere, which watches a datastore that isn't there any more; Stages starts it again.
	StopNodes func(context.Context) error
	// Write changes entries of the datastore. An interruption between two transactions is one between two rounds.
	Write  func(context.Context, []fact.Op) error
	Stages func(context.Context) error // brings about everything else that lab.yaml says, the workloads with their addresses
	Told   func(line string)           // what was taken away or put back
	Slow   int                         // how much longer than this computer the machines take for the same work
}

const (
	rounds     = 4                // of looking and putting back, before it is given up
	settleTime = 10 * time.Second // what BIRD, confd and Felix take to catch up, at most
	undoTime   = time.Minute      // a machine's script
)

// Run takes away what wasn't there, puts back what was, and looks again until nothing differs. It returns how many things it
// undid, and those that nothing can put back. Interrupted anywhere, it can be run again.
func (r *Restorer) Run(ctx context.Context) (undone int, lost []Difference, err error) {
	told := map[Key]bool{}
	tell := func(all []Difference) {
		all = slices.DeleteFunc(slices.Clone(all), func(d Difference) bool { return told[d.Key] || d.How == Unseen || d.Lost != "" })
		for _, d := range all {
			told[d.Key] = true
		}
		for _, line := range Lines(all) {
			r.Told(line)
		}
		undone += len(causes(all))
	}
	var left []Difference
	var said string
	for round := range rounds {
		f := r.Look(ctx)
		left, lost = split(Differences(r.Baseline, &f), round)
		if len(left) == 0 && round > 0 {
			return undone, lost, nil
		}
		said, err = r.machines(ctx, left, &f, round)
		if err == nil {
			left, err = r.datastore(ctx, left, &f)
		}
		if err == nil {
			tell(slices.DeleteFunc(slices.Clone(left), byStages))
			err = r.Stages(ctx)
		}
		if err != nil {
			return undone, lost, err
		}
		tell(left)
		if left, lost, err = r.settle(ctx); err != nil || len(left) == 0 {
			return undone, lost, err
		}
	}
	return undone, lost, &LeftError{left, said}
}

// split parts what can be put back from what can't: files that neither the baseline nor a stage has are known as such when the stages
// are through.
func split(all []Difference, round int) (left, lost []Difference) {
	for _, d := range all {
		if round > 0 && d.Kind == Path && d.How != Extra && d.Was.Raw == "" {
			d.Lost = "its contents weren't kept"
		}
		if d.Lost != "" {
			lost = append(lost, d)
		} else {
			left = append(left, d)
		}
	}
	return left, lost
}

// LeftError is what differs all the same.
type LeftError struct {
	Left []Difference
	Said string // what the machines said to what they were told
}

func (e *LeftError) Error() string {
	text := "this still isn't as it was:"
	for _, d := range e.Left {
		text += fmt.Sprintf("\n  %s %s %s%s", d.Machine, d.About, d.How, map[bool]string{true: ": " + d.Is.Value}[d.How == Unseen])
	}
	if e.Said != "" {
		text += "\nthe machines said:\n  " + strings.ReplaceAll(e.Said, "\n", "\n  ")
	}
	return text + "\nrun it again; if that doesn't help, make the lab anew: go tool mage destroy verify"
}

// settle looks until nothing differs, or what comes by itself has had its time.
func (r *Restorer) settle(ctx context.Context) (left, lost []Difference, err error) {
	deadline := time.Now().Add(settleTime * time.Duration(max(r.Slow, 1)))
	for {
		f := r.Look(ctx)
		left, lost = split(Differences(r.Baseline, &f), 1)
		late := slices.ContainsFunc(left, func(d Difference) bool { return !comes(d) })
		if cause := context.Cause(ctx); cause != nil || len(left) == 0 || late || time.Now().After(deadline) {
			return left, lost, cause
		}
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// byStages says whether an item is put back by the lab's stages.
func byStages(d Difference) bool {
	switch d.Kind {
	case Container, Path:
		return d.How != Extra && (d.Kind == Container) == (d.Was.Raw != "")
	case Sandbox:
		return true
	}
	return comes(d) || d.Kind == Link && d.How == Missing
}

// comes says whether something may come by itself: Calico's processes follow the datastore.
func comes(d Difference) bool {
	switch d.Kind {
	case Rendered, Service:
		return true
	case Route:
		return strings.Contains(d.Was.Value+d.Is.Value, "proto bird") || strings.Contains(d.Was.Value+d.Is.Value, "dev {interface")
	case Neighbour:
		return strings.Contains(d.Name, "{interface")
	case Container:
		return d.How == Unseen
	}
	return d.How == Unseen
}

// machines runs each machine's script, and puts its small files.
func (r *Restorer) machines(ctx context.Context, all []Difference, f *fact.Lab, round int) (said string, err error) {
	names := expand(workloads(f, r.Baseline.Network, r.Baseline.Workloads))
	out := make([]string, len(r.Lab.Machines))
	g, gctx := errgroup.WithContext(ctx)
	for i, m := range r.Lab.Machines {
		seen, ok := f.Machine(m.Name)
		if !ok {
			continue // the stages say why
		}
		these := slices.DeleteFunc(slices.Clone(all), func(d Difference) bool { return d.Machine != m.Name && d.Kind != Entry })
		text := r.Baseline.machineScript(these, seen, names, round)
		put := files(these, names, seen.Login.Home)
		if text == "" && len(put) == 0 {
			continue
		}
		g.Go(func() error {
			h, err := r.Host(gctx, m.Name)
			if err != nil {
				return err
			}
			if text != "" {
				answer, err := h.Exec(gctx, undoTime*time.Duration(max(r.Slow, 1)), strings.NewReader(text), "bash", "-s")
				if err != nil {
					return fmt.Errorf("putting %s back: %w", m.Name, err)
				}
				out[i] = strings.TrimSpace(string(answer))
			}
			kept, err := h.Put(gctx, put...)
			out[i] = strings.TrimSpace(out[i] + "\n" + kept)
			return err
		})
	}
	err = g.Wait()
	out = slices.DeleteFunc(out, func(s string) bool { return s == "" })
	return strings.Join(out, "\n"), err
}

// datastore puts Calico's keys back. It returns what differs, with what could only be seen once etcd answered.
func (r *Restorer) datastore(ctx context.Context, all []Difference, f *fact.Lab) ([]Difference, error) {
	// What etcd has can't be seen while it is off, and calico-node can't be stopped while Docker is.
	if slices.ContainsFunc(all, func(d Difference) bool { return d.How == Unseen && (d.Kind == Entry || d.Kind == Container) }) {
		if err := r.Etcd(ctx); err != nil {
			return all, err
		}
		*f = r.Look(ctx)
		isEntry := func(d Difference) bool { return d.Kind == Entry }
		entries := slices.DeleteFunc(Differences(r.Baseline, f), func(d Difference) bool { return !isEntry(d) })
		all = append(slices.DeleteFunc(slices.Clone(all), isEntry), entries...)
	}
	if slices.ContainsFunc(all, replaced) {
		if err := r.StopNodes(ctx); err != nil {
			return all, err
		}
	}
	if err := r.Write(ctx, operations(all, expand(workloads(f, r.Baseline.Network, r.Baseline.Workloads)))); err != nil {
		return all, fmt.Errorf("putting the datastore back: %w", err)
	}
	return all, nil
}

// replaced says whether a difference is that the datastore isn't the one that it was: it lost its data. Something may have written
// another ClusterInformation since.
func replaced(d Difference) bool {
	return d.Name == fact.ClusterKey && fact.Replaced([]byte(d.Was.Raw), []byte(d.Is.Raw))
}

// operations are what brings the datastore back. The policies and the like come before what is plumbed.
func operations(all []Difference, names *strings.Replacer) []fact.Op {
	ops := map[string]fact.Op{}
	for _, d := range all {
		if d.Kind != Entry || d.How == Unseen {
			continue
		}
		op := fact.Op{KeyValue: fact.KeyValue{Key: names.Replace(d.Name)}, Delete: d.How == Extra}
		if !op.Delete {
			op.Value = []byte(names.Replace(d.Was.Raw))
		}
		ops[op.Key] = op
	}
	var out []fact.Op
	for _, key := range slices.Backward(slices.Sorted(maps.Keys(ops))) {
		out = append(out, ops[key])
	}
	return out
}

// Without is the baseline without what is lost.
func (b *Baseline) Without(lost []Difference) *Baseline {
	c := *b
	c.Items = slices.DeleteFunc(slices.Clone(b.Items), func(i Item) bool {
		return slices.ContainsFunc(lost, func(d Difference) bool { return d.Key == i.Key })
	})
	return &c
}
