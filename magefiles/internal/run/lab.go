package run

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/observe"
	"github.com/calico-cni-lab/lab/magefiles/internal/pki"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
	"github.com/calico-cni-lab/lab/magefiles/internal/spec"
	"github.com/calico-cni-lab/lab/magefiles/internal/stage"
)

// Lab is a lab as its file defines it, and what works on it.
type Lab struct {
	*lab.Lab
	Why      string // the hardware layer was chosen
	Provider machine.Provider
	Maker    *artifact.Maker
	Hosts    *remote.Hosts
	Slow     int          // how much longer than this computer the machines take for the same work
	Mark     machine.Mark // on machines that existed before; "" before it has one
	// Gone are machines that the lab still has, and its file no more.
	Gone []machine.Planned

	run     *Run
	program struct {
		sync.Mutex
		file, sum string
	}
}

// Spec returns what the lab is to be; its artifacts are made first where they are missing.
// So are the lab's certificates.
func (l *Lab) Spec(ctx context.Context) (*spec.Spec, error) {
	s, err := newSpec(ctx, l.Lab, l.Maker)
	if err == nil {
		s.Certificates, err = pki.Issue(l.pkiDir(), spec.Subjects(l.Lab), time.Now())
	}
	return s, err
}

// pkiDir is where the lab's certificates are.
func (l *Lab) pkiDir() string { return filepath.Join(l.run.StateDir, "pki") }

func newSpec(ctx context.Context, l *lab.Lab, maker *artifact.Maker) (*spec.Spec, error) {
	a, err := spec.Make(ctx, maker)
	if err != nil {
		return nil, err
	}
	return spec.New(l, maker.Pins, a)
}

// Observer looks at the machines.
func (l *Lab) Observer() *observe.Observer {
	return &observe.Observer{Lab: l.Lab, Hosts: l.Hosts, Program: l.look, Existing: l.Provider.Capabilities().Undo, Slow: l.Slow}
}

// look returns the look program, which is looked for once.
func (l *Lab) look(ctx context.Context) (file, sum string, err error) {
	l.program.Lock()
	defer l.program.Unlock()
	if l.program.file == "" {
		l.program.file, l.program.sum, err = l.Maker.Look(ctx)
	}
	return l.program.file, l.program.sum, err
}

// Engine brings the stages about.
func (l *Lab) Engine() *stage.Engine {
	o := l.Observer()
	return &stage.Engine{
		Env: &stage.Env{
			Spec: &spec.Spec{Lab: l.Lab, Pins: l.Maker.Pins}, Caps: l.Provider.Capabilities(), Provider: planned{l.Provider, l}, Host: o.Host, Order: o.Order,
			Gone: slices.Clone(l.Gone), Retire: l.retire,
			Preflight: l.Maker.Preflight, StateDir: l.run.StateDir, Mark: l.Mark, Notice: l.run.Console.Notice,
		},
		Look: o, Report: l.run.Console, Spec: l.Spec, Slow: l.Slow,
	}
}

// Viewer is an engine that only looks. The one artifact that it makes is the look program.
func (l *Lab) Viewer() *stage.Engine {
	e := l.Engine()
	e.Spec = func(ctx context.Context) (*spec.Spec, error) {
		s, err := newSpec(ctx, l.Lab, l.Maker.LookOnly())
		if errors.Is(err, artifact.ErrNotMade) {
			s, err = spec.New(l.Lab, l.Maker.Pins, spec.Artifacts{Missing: err.Error()})
		}
		if err == nil {
			s.Certificates, err = pki.Read(l.pkiDir(), spec.Subjects(l.Lab), time.Now())
		}
		return s, err
	}
	return e
}

// Unmade is what has to be made, or fetched, before the lab can be as it is to be, sorted; the machines themselves aside.
func (l *Lab) Unmade(ctx context.Context) ([]string, error) {
	m := l.Maker.LookOnly()
	m.Store.Stock = l.Maker.Store.Stock
	if _, err := spec.Make(ctx, m); err != nil && !errors.Is(err, artifact.ErrNotMade) {
		return nil, err
	}
	return slices.Sorted(slices.Values(m.Store.Unmade())), nil
}

// planned is a provider whose plan is kept before it makes anything, so that it can be destroyed without lab.yaml. While the
// machines are made, so are the artifacts.
type planned struct {
	machine.Provider
	lab *Lab
}

func (p planned) Up(ctx context.Context) error {
	p.lab.run.Console.Notice("machines: %s (%s)", p.Name(), p.lab.Why)
	if err := p.lab.KeepPlan(); err != nil {
		return err
	}
	making, cancel := context.WithCancel(ctx)
	defer cancel()
	wait := p.lab.Maker.Start(making)
	err := p.Provider.Up(ctx)
	p.lab.Hosts.Close() // what was connected before may be another boot's
	if err != nil {
		cancel() // nobody wants the artifacts now, but no compiler may outlive this process
		_ = wait()
		return err
	}
	// Also for a person who wants to look at what fails after this.
	return errors.Join(p.lab.WriteSSHConfig(), wait())
}

// Running returns an error that says which of some machines, all where none are named, don't run and what to do.
func (l *Lab) Running(ctx context.Context, names ...string) error {
	all, err := l.Provider.Status(ctx)
	if err != nil {
		return err
	}
	var off []string
	stopped := false
	for _, m := range all {
		if m.State != machine.Running && (len(names) == 0 || slices.Contains(names, m.Machine)) {
			off = append(off, m.Machine+" is "+string(m.State))
			stopped = stopped || m.State == machine.Stopped
		}
	}
	switch {
	case len(off) == 0:
		return nil
	case stopped:
		return fmt.Errorf("%s; boot with: go tool mage start", strings.Join(off, ", "))
	case slices.ContainsFunc(all, func(m machine.Status) bool { return m.State != machine.Absent }):
		return fmt.Errorf("%s; bring the whole lab up with: go tool mage verify", strings.Join(off, ", "))
	default:
		return machine.ErrNotUp
	}
}

// AnyRuns returns an error that says what to do where none of the machines runs.
func (l *Lab) AnyRuns(ctx context.Context) error {
	all, err := l.Provider.Status(ctx)
	if err != nil || slices.ContainsFunc(all, func(m machine.Status) bool { return m.State == machine.Running }) {
		return err
	}
	return l.Running(ctx)
}

// Made says whether any of the machines is there.
func (l *Lab) Made(ctx context.Context) (bool, error) {
	all, err := l.Provider.Status(ctx)
	return slices.ContainsFunc(all, func(m machine.Status) bool { return m.State != machine.Absent }), err
}

// KeepPlan writes what the machines are made by, and how they are entered.
func (l *Lab) KeepPlan() error {
	now := machine.NewPlan(l.Provider.Name(), l.Lab)
	now.Machines = append(now.Machines, l.Gone...)
	if kept, _, err := l.run.Plan(); err == nil && reflect.DeepEqual(kept, now) {
		return nil
	}
	return now.Write(l.run.StateDir)
}

// WriteSSHConfig writes ssh_config for the machines as they are now.
func (l *Lab) WriteSSHConfig() error {
	endpoints, err := l.Provider.Endpoints()
	if err != nil {
		return err
	}
	return machine.WriteSSHConfig(l.run.StateDir, endpoints)
}
