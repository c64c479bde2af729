package fault

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
)

// Outcome is what a round came to.
type Outcome struct {
	Fault
	Seen []check.Result // what check said didn't hold
	// Leaving is how long verify took to say that the rest is the user's, where it is.
	Leaving time.Duration
	Mending time.Duration // how long the verify took that mended it
	Errs    []error       // what should have been otherwise
}

func (o *Outcome) wrong(format string, args ...any) {
	o.Errs = append(o.Errs, fmt.Errorf(format, args...))
}

// noticed is how long it may take until check sees a fault: BIRD and Felix take a moment to notice.
const noticed = time.Minute

// Round breaks a healthy lab, looks, mends it, and looks whether it is healthy.
func (l *Lab) Round(ctx context.Context, f Fault) Outcome {
	o := Outcome{Fault: f}
	if err := f.Break(ctx, l); err != nil {
		o.wrong("breaking it: %w", err)
	}
	l.observe(ctx, &o)
	if f.Left != "" {
		l.left(ctx, &o)
		if err := f.Undo(ctx, l); err != nil {
			o.wrong("undoing it: %w", err)
		}
	}
	start := time.Now()
	out, err := l.Target(ctx, "verify")
	o.Mending = time.Since(start)
	if err != nil && !f.Chance {
		o.wrong("verify: %w\n%s", err, out)
	} else if within := f.within(); o.Mending > within {
		o.wrong("verify took %s, more than %s", o.Mending.Round(time.Second), within)
	}
	if f.Left == "" && f.Undo != nil {
		if err := f.Undo(ctx, l); err != nil {
			o.wrong("undoing it: %w", err)
		}
	}
	for _, err := range l.Unhealthy(ctx) {
		o.wrong("it is not mended: %w", err)
	}
	return o
}

func (f Fault) within() time.Duration {
	if f.Within > 0 {
		return f.Within
	}
	return Limit
}

// observe waits until check names the fault, and judges what it says first.
func (l *Lab) observe(ctx context.Context, o *Outcome) {
	err := await(ctx, noticed, func() (bool, error) {
		r, err := l.Check(ctx)
		o.Seen = r.Unmet()
		if err == nil && o.Heals && len(o.Seen) == 0 {
			err = o.Break(ctx, l)
		}
		return o.First == "" || slices.ContainsFunc(o.Seen, func(r check.Result) bool { return r.ID == o.First }), err
	})
	allowed := append(strings.Fields(o.Follows), kind(o.First))
	strange := func(u check.Result) bool { return o.Follows != Everything && !slices.Contains(allowed, kind(u.ID)) }
	if late := slices.DeleteFunc(slices.Clone(o.Seen), func(u check.Result) bool { return !strange(u) }); err == nil && OnlyPackets(late) { // one is chance
		var again check.Report
		again, err = l.Check(ctx)
		o.Seen = slices.DeleteFunc(o.Seen, func(u check.Result) bool {
			return strange(u) && !slices.ContainsFunc(again.Unmet(), func(r check.Result) bool { return r.ID == u.ID })
		})
	}
	switch {
	case err != nil:
		o.wrong("%s holds still, %w; what doesn't: %s", o.First, err, Names(o.Seen))
	case o.First != "" && o.Seen[0].ID != o.First:
		o.wrong("%s is not the first that doesn't hold: %s", o.First, Names(o.Seen))
	}
	for _, u := range o.Seen {
		if strange(u) {
			o.wrong("%s doesn't follow from it: %s", u.ID, u.Found)
		}
		if !strings.HasPrefix(u.Try, "go tool mage ") {
			o.wrong("%s: nothing to try: %q", u.ID, u.Try)
		}
	}
	if l.Seen != nil {
		l.Seen(o.Fault, o.Seen)
	}
}

// left runs a verify that is to leave something to the user.
func (l *Lab) left(ctx context.Context, o *Outcome) {
	start := time.Now()
	out, err := l.Target(ctx, "verify")
	o.Leaving = time.Since(start)
	switch {
	case err == nil:
		o.wrong("verify mended it, which is the user's to do")
	case !strings.Contains(out, o.Left):
		o.wrong("verify says nothing of %q: %w\n%s", o.Left, err, out)
	case o.Leaving > o.within():
		o.wrong("verify took %s to leave it, more than %s", o.Leaving.Round(time.Second), o.within())
	}
}

// Unhealthy is what is wrong with a lab that should be healthy.
func (l *Lab) Unhealthy(ctx context.Context) (errs []error) {
	unmet, err := l.Unmet(ctx)
	if err != nil {
		return []error{err}
	}
	for _, u := range unmet {
		errs = append(errs, fmt.Errorf("%s: %s", u.ID, u.Found))
	}
	// What was plumbed anew leaves nothing of the old behind.
	n, err := l.On(ctx, "calico1", "sudo calicoctl get workloadendpoints --all-namespaces -o json | jq '.items | length'")
	if err == nil && n != "2" {
		err = fmt.Errorf("there are %s workload endpoints, not 2", n)
	}
	if err != nil {
		errs = append(errs, err)
	}
	return errs
}

// Err is everything that should have been otherwise; nil where there is nothing.
func (o *Outcome) Err() error { return errors.Join(o.Errs...) }

// Names are conditions that don't hold, and why.
func Names(results []check.Result) string {
	var all []string
	for _, r := range results {
		all = append(all, r.ID+" ("+r.Found+")")
	}
	return strings.Join(all, ", ")
}

// kind is a condition's, without the machine.
func kind(id string) string { k, _, _ := strings.Cut(id, "/"); return k }

// Kinds are the kinds of conditions that faults break.
func Kinds(all []Fault) map[string]bool {
	kinds := map[string]bool{}
	for _, f := range all {
		kinds[kind(f.First)] = true
	}
	return kinds
}
