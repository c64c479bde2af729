// Package stage brings the lab from what it is to what it should be. A stage is a list of conditions that hold when it is
// done, and how to make them hold; each has a file of its own. The engine looks, applies what is unmet in the order in which
// the stages need one another, and looks again.
package stage

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/singleflight"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/progress"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
	"github.com/calico-cni-lab/lab/magefiles/internal/spec"
)

// Names of the stages: the targets'.
const (
	Up         = "up"
	Etcd       = "etcd"
	Calico     = "calico"
	Golang     = "golang"
	CNIPlugins = "cniPlugins"
	Cnitool    = "cnitool"
	IPPool     = "ipPool"
	Plumb      = "plumb"
)

// Stage is one step of the lab, on all the machines that it concerns.
type Stage struct {
	Name  string
	Needs []string // stages that have to be applied before this one is
	// Role of the machines that it works on; "" is all.
	Role lab.Role
	// Conditions are what holds when it is done, from the cause to the consequence.
	Conditions func(*Env) []check.Condition
	// Done says what there is when it is done, for people.
	Done func(*Env, *fact.Lab) string
	// Prepare does what needs nothing but the machines, while other stages are at work; nil where there is nothing.
	Prepare func(context.Context, *Env, Job) error
	// Apply makes the unmet conditions hold. It may find a half-finished state.
	Apply func(context.Context, *Env, Job) error
	// Until is what takes a moment after Apply on a machine, by what the datastore has then; nil: nothing does.
	Until func(*Env, lab.Machine, *fact.Lab) fact.Until
	// Datastore says whether its conditions look at the datastore, which the etcd machine shows.
	Datastore bool
	// Settled says whether the stages that need this one wait for Until too.
	Settled bool
}

// Job is what there is to do.
type Job struct {
	Facts *fact.Lab
	Unmet []check.Result // of this stage
	Round int            // 0 at first; later ones may use a larger hammer
}

// Has says whether one of the conditions is unmet on a machine, "" stands for the whole lab's.
func (j Job) Has(machine string, kinds ...string) bool {
	return slices.ContainsFunc(j.Unmet, func(r check.Result) bool {
		return r.Machine == machine && slices.ContainsFunc(kinds, func(k string) bool { return r.ID == id(k, machine) })
	})
}

// broken is Has without what couldn't be looked at.
func (j Job) broken(machine string, kinds ...string) bool {
	known := j
	known.Unmet = slices.DeleteFunc(slices.Clone(j.Unmet), func(r check.Result) bool { return r.State == check.Unknown })
	return known.Has(machine, kinds...)
}

// readable is an error where the datastore can't be read: what it has would be taken for nothing, and written over.
func (j Job) readable() error {
	if why := j.Facts.Datastore.Unknown; why != "" {
		return lateError{fmt.Errorf("the datastore can't be read: %s; see what is wrong: go tool mage check", why)}
	}
	return nil
}

// On says whether anything is unmet on a machine.
func (j Job) On(machine string) bool {
	return slices.ContainsFunc(j.Unmet, func(r check.Result) bool { return r.Machine == machine })
}

func id(kind, machine string) string {
	if machine == "" {
		return kind
	}
	return kind + "/" + machine
}

// All are the stages, each after the ones that it needs.
func All() []Stage {
	return []Stage{up(), etcd(), calico(), golang(), cniPlugins(), cnitool(), ipPool(), plumb()}
}

// Closure are the named stages and all that they need, in All's order.
func Closure(names ...string) []Stage {
	all := All()
	want := map[string]bool{}
	var add func(name string)
	add = func(name string) {
		want[name] = true
		for _, s := range all {
			if s.Name == name {
				for _, n := range s.Needs {
					add(n)
				}
			}
		}
	}
	for _, n := range names {
		add(n)
	}
	return slices.DeleteFunc(all, func(s Stage) bool { return !want[s.Name] })
}

// Conditions are those of stages, in their order.
func Conditions(e *Env, stages []Stage) []check.Condition {
	var all []check.Condition
	for _, s := range stages {
		for _, c := range layered(s.Conditions(e)) {
			c.Stage = s.Name
			all = append(all, c)
		}
	}
	return all
}

// layered puts conditions of the same kind together, the kinds in the order in which they first come: what is wrong with BIRD on
// the last node is the cause of what BGP on the first one lacks.
func layered(all []check.Condition) []check.Condition {
	order := map[string]int{}
	kind := func(c check.Condition) string { k, _, _ := strings.Cut(c.ID, "/"); return k }
	for _, c := range all {
		if _, ok := order[kind(c)]; !ok {
			order[kind(c)] = len(order)
		}
	}
	slices.SortStableFunc(all, func(a, b check.Condition) int { return cmp.Compare(order[kind(a)], order[kind(b)]) })
	return all
}

// Env is what stages work with.
type Env struct {
	*spec.Spec
	Caps     machine.Capabilities
	Provider machine.Provider
	StateDir string
	Mark     machine.Mark // the lab's, where Caps.Undo; "" before it has one
	// Host returns the connection to a machine.
	Host func(ctx context.Context, name string) (*remote.Host, error)
	// Order has something done in etcd, by its administrator, from a member's machine: the named one, or where none is, any.
	Order   func(ctx context.Context, on string, o fact.Order) (fact.Ordered, error)
	loading singleflight.Group // archives of images, by machine
	// Addresses are what the workloads are to have, by fact.WorkloadKey, where it isn't any of their node's: those of a baseline. May be nil.
	Addresses map[string]netip.Addr
	Notice    func(format string, args ...any)
	// Gone are machines that lab.yaml has no more. Retire takes one away, and forgets it once done has done the rest.
	Gone    []machine.Planned
	retired atomic.Bool // whether all of them are; see gone
	Retire  func(ctx context.Context, m machine.Planned, done func(context.Context) error) error
	// Preflight returns what would stop the artifacts' making.
	Preflight func() error
}

// atOnce is on how many machines something is done at the same time: on one computer more only wait for one another.
const atOnce = 16

// on runs f on machines, atOnce of them, and ends the others with the first that fails.
func (e *Env) on(ctx context.Context, machines []lab.Machine, f func(context.Context, lab.Machine, *remote.Host) error) error {
	one := progress.Counter(ctx, len(machines), "machines")
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for _, m := range machines {
		g.Go(func() error {
			defer one()
			return progress.Do(ctx, progress.Machine, m.Name, func(ctx context.Context) error {
				h, err := e.Host(ctx, m.Name)
				if err != nil {
					return err
				}
				return f(ctx, m, h)
			})
		})
	}
	return g.Wait()
}

// onEtcd runs f on the machine of one of etcd's members, the first that can be entered.
func (e *Env) onEtcd(ctx context.Context, f func(context.Context, *remote.Host) error) (err error) {
	for _, m := range e.Lab.Members() {
		var h *remote.Host
		if h, err = e.Host(ctx, m.Name); err == nil {
			return progress.Do(ctx, progress.Machine, m.Name, func(ctx context.Context) error { return f(ctx, h) })
		}
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		err = fmt.Errorf("%s: %w", m.Name, err)
	}
	return err
}

// where are the machines on which something is unmet.
func (e *Env) where(j Job) []lab.Machine {
	return slices.DeleteFunc(slices.Clone(e.Lab.Machines), func(m lab.Machine) bool { return !j.On(m.Name) })
}

// machines are the ones that a stage works on.
func (s Stage) machines(l *lab.Lab) []lab.Machine {
	if s.Role == "" {
		return l.Machines
	}
	return l.ByRole(s.Role)
}

// on makes a condition on one machine. test is only called where the machine answered.
func on(kind string, m lab.Machine, see fact.Kind, expected, mend string, test func(fact.Machine, *fact.Lab) check.Finding) check.Condition {
	return check.Condition{
		ID: id(kind, m.Name), Machine: m.Name, Expected: expected, Mend: mend, Try: try(m, see.Command()),
		Test: func(f *fact.Lab) check.Finding {
			seen, ok := f.Machine(m.Name)
			if !ok {
				return check.CantSee("the machine doesn't answer")
			}
			return test(seen, f)
		},
	}
}

// stored makes a condition on the datastore. test is only called where it was read.
func stored(kind, machine string, l *lab.Lab, see fact.Kind, expected, mend string, test func(*fact.Datastore) check.Finding) check.Condition {
	return check.Condition{
		ID: id(kind, machine), Machine: machine, Expected: expected, Mend: mend, Try: try(l.Etcd(), see.Command()),
		Test: func(f *fact.Lab) check.Finding {
			if f.Datastore.Unknown != "" {
				return check.CantSee("the datastore can't be read: %s", f.Datastore.Unknown)
			}
			return test(&f.Datastore.Value)
		},
	}
}

// try is the command line to look at a machine with.
func try(m lab.Machine, line string) string {
	return fmt.Sprintf("go tool mage ssh %s %s", m.Name, line)
}

// plural writes a number of things.
func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
