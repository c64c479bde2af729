// Package run is one run of targets: the lab's definition, its state directory with lock and log, its hardware layer and the
// connections to its machines.
package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/gofrs/flock"
	"github.com/magefile/mage/mg"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine/box"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine/kind"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
	"github.com/calico-cni-lab/lab/magefiles/internal/spec"
	"github.com/calico-cni-lab/lab/magefiles/internal/stage"
	"github.com/calico-cni-lab/lab/magefiles/internal/ui"
)

// Run is one process that runs one target or several, one after the other.
type Run struct {
	Console  *ui.Console
	Exec     *command.Runner
	Root     string // of the project
	LabFile  string
	StateDir string // .lab beside the lab's file

	mu   sync.Mutex
	lab  *Lab // nil until Lab
	lock *flock.Flock

	storesMu sync.Mutex
	stores   []*artifact.Store
}

// New starts a run in the project's directory. Nothing is read or made yet. The context that it returns ends with SIGTERM and
// with what started this process, too.
func New(ctx context.Context) (context.Context, *Run, error) {
	root, err := os.Getwd()
	if err != nil {
		return ctx, nil, err
	}
	_, source, _, _ := runtime.Caller(0)
	program, err := os.Executable()
	if err != nil {
		return ctx, nil, err
	}
	if err := ownTargets(program, mg.CacheDir(), filepath.Join(source, "../../../.."), root); err != nil {
		return ctx, nil, err
	}
	r := &Run{Console: ui.New(os.Stdout), Root: root, Exec: &command.Runner{}, LabFile: "lab.yaml"}
	variables, typed := "", ""
	if file := os.Getenv("LAB_FILE"); file != "" {
		r.LabFile = file
		variables = "LAB_FILE=" + command.Quote(file)
	}
	if filepath.Base(os.Args[0]) == Program {
		typed = command.Quote(os.Args[0])
	}
	r.Console.Typed(variables, typed)
	abs, err := filepath.Abs(r.LabFile)
	if err != nil {
		return ctx, nil, err
	}
	r.StateDir = filepath.Join(filepath.Dir(abs), ".lab")
	ctx, cancel := context.WithCancelCause(ctx)
	endWithParents(ctx, cancel)
	return r.Console.Watch(ctx), r, nil
}

// Shown is the error of a target as Mage may print it: what it quotes may be a machine's.
func Shown(err error) error { return ui.Error(err) }

// emulated is how much longer a machine takes whose CPU is emulated, beside other work on this computer. Five times were
// measured without.
const emulated = 12

// patience is how much longer than one alone machines take that do the same at the same time on so many CPUs. Of eight a CPU it isn't
// noticed: each mostly waits.
func patience(machines, cpus int) int { return max(1, (machines+8*cpus-1)/(8*cpus)) }

// Lab reads the lab's definition, and refuses one that doesn't fit the machines that exist.
func (r *Run) Lab(ctx context.Context) (*Lab, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lab != nil {
		return r.lab, nil
	}
	plan, exists, err := r.Plan()
	if err != nil {
		return nil, err
	}
	l, err := r.define(ctx, plan)
	if err != nil {
		return nil, err
	}
	if exists {
		now := machine.NewPlan(l.Provider.Name(), l.Lab)
		if other := plan.Differences(now, machine.Resizes(l.Provider)); other != "" {
			return nil, fmt.Errorf("%s describes another lab than the one that exists: %s; put that back, or: go tool mage destroy verify", r.LabFile, other)
		}
		l.Gone = plan.Gone(now)
	}
	r.lab = l
	return l, nil
}

// WithoutPlan is Lab for a lab whose kept plan can't be read, so that it can be destroyed.
func (r *Run) WithoutPlan(ctx context.Context) (*Lab, error) { return r.define(ctx, machine.Plan{}) }

// define makes a lab of its file; plan is the one that its machines were made by, empty where there is none.
func (r *Run) define(ctx context.Context, plan machine.Plan) (*Lab, error) {
	l, err := lab.Load(r.LabFile)
	if err != nil {
		return nil, err
	}
	pins, err := artifact.ReadPins(r.Root)
	if err != nil {
		return nil, err
	}
	store, err := r.Cache()
	if err != nil {
		return nil, err
	}
	maker := &artifact.Maker{
		Store: store, Run: r.Exec, Root: r.Root, Arch: runtime.GOARCH, Debian: l.Versions.Debian, GoOnNode: l.Versions.Go.String(), Pins: pins,
		Published: l.Versions.Source == lab.Release, ImageLabel: fact.LabelImage,
	}
	o := r.options(plan)
	o.Lab, o.Maker, o.Store = l, maker, r.Trees()
	o.Files = func(ctx context.Context, role lab.Role) ([]remote.File, error) {
		return commonFiles(ctx, l, maker, role)
	}
	var made *Lab
	o.Survey = func(ctx context.Context, name string, h *remote.Host) ([]string, error) {
		m, _ := l.Machine(name)
		return stage.Survey(ctx, made.Engine().Env, m, h, made.Observer().Survey)
	}
	k, why, err := kind.Choose(ctx, os.Getenv("LAB_HARDWARE"), o)
	if err != nil {
		return nil, err
	}
	o.Plan = machine.NewPlan(k.Name, l)
	if k.Fit != nil {
		if err := k.Fit(ctx, o); err != nil {
			return nil, err
		}
	}
	if err := r.stock(l, maker, o.Store); err != nil {
		return nil, err
	}
	provider := k.New(o)
	made = &Lab{Lab: l, Why: why, Provider: provider, Maker: maker, Slow: 1, run: r}
	made.Hosts = remote.NewHosts(provider.Endpoints, func() *command.Log { return r.Exec.Log })
	made.Slow = patience(len(l.Machines), runtime.NumCPU())
	if provider.Capabilities().SlowCPU {
		made.Slow = emulated
	}
	made.Mark, err = machine.ReadMark(r.StateDir)
	return made, err
}

// options are what a provider for a plan is made with, without lab.yaml.
func (r *Run) options(plan machine.Plan) machine.Options {
	file, err := filepath.Abs(r.LabFile)
	if err != nil {
		file = r.LabFile // the working directory is gone; then this is the least trouble
	}
	return machine.Options{
		Plan: plan, LabFile: file, ProjectDir: r.Root, StateDir: r.StateDir, Run: r.Exec, Notice: r.Console.Notice,
		TakeOver: os.Getenv(machine.TakeOverVariable),
	}
}

// Provider returns the provider for a kept plan, whether lab.yaml can be read or not.
func (r *Run) Provider(plan machine.Plan) (machine.Provider, error) {
	k, err := kind.Find(plan.Hardware)
	if err != nil {
		return nil, err
	}
	return k.New(r.options(plan)), nil
}

// commonFiles are the files that a provider may put on a machine before it boots.
func commonFiles(ctx context.Context, l *lab.Lab, maker *artifact.Maker, role lab.Role) ([]remote.File, error) {
	s, err := newSpec(ctx, l, maker)
	if err != nil {
		return nil, err
	}
	return spec.ForLogin(s.Common(role), fact.Login{User: box.User, Group: box.User, Home: "/home/" + box.User}), nil
}

// Plan reads what the machines were made from, and whether there is such a plan.
func (r *Run) Plan() (p machine.Plan, exists bool, err error) { return machine.ReadPlan(r.StateDir) }

// Reset forgets the lab: the next target reads its file again, makes its state directory and takes its locks.
func (r *Run) Reset() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lab != nil {
		r.lab.Hosts.Close()
	}
	err := r.Exec.Log.Close()
	if r.lock != nil {
		err = errors.Join(err, r.lock.Close())
	}
	r.storesMu.Lock()
	defer r.storesMu.Unlock()
	for _, s := range r.stores {
		err = errors.Join(err, s.Release())
	}
	r.lab, r.lock, r.stores, r.Exec.Log = nil, nil, nil, nil
	return err
}
