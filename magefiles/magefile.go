//go:build mage

// Calico CNI Lab: learn Project Calico and CNI hands on, without Kubernetes.
package main

import (
	"context"
	"fmt"
	"sync"

	"github.com/magefile/mage/mg"

	"github.com/calico-cni-lab/lab/magefiles/internal/session"
	"github.com/calico-cni-lab/lab/magefiles/internal/stage"
)

// The stages, in the order of their dependencies: each needs what is named behind it.

// Up makes and boots the machines of lab.yaml.
func Up(ctx context.Context) error {
	s, err := current(ctx)
	if err != nil {
		return err
	}
	return s.Run(s.Up)
}

// Etcd runs etcd, the datastore, in a container on the etcd machine.
func Etcd(ctx context.Context) error { return run(ctx, stage.Etcd, Up) }

// Calico runs calico-node on the Calico nodes and puts calicoctl on every machine.
func Calico(ctx context.Context) error { return run(ctx, stage.Calico, Etcd) }

// Golang puts the Go toolchain on the Calico nodes.
func Golang(ctx context.Context) error { return run(ctx, stage.Golang, Up) }

// CNIPlugins puts the CNI plugins and the network's conflist on the Calico nodes.
func CNIPlugins(ctx context.Context) error { return run(ctx, stage.CNIPlugins, Golang) }

// Cnitool puts cnitool on the Calico nodes.
func Cnitool(ctx context.Context) error { return run(ctx, stage.Cnitool, Golang) }

// IPPool makes the IP pool, or brings it in line with lab.yaml.
func IPPool(ctx context.Context) error { return run(ctx, stage.IPPool, Calico) }

// Plumb gives a workload container on each Calico node an interface, and shows it.
func Plumb(ctx context.Context) error {
	return after(ctx, (*session.Session).ShowPlumbed, plumb)
}

func plumb(ctx context.Context) error {
	return run(ctx, stage.Plumb, Calico, CNIPlugins, Cnitool, IPPool)
}

// Unplumb takes the interfaces, the addresses and the workload containers back.
func Unplumb(ctx context.Context) error { return after(ctx, (*session.Session).Unplumb) }

// Verify does everything that is still to be done, then proves that the lab works (-json: the report for programs,
// -timeline: writes what took how long).
func Verify(ctx context.Context, json, timeline *bool) error {
	s, err := current(ctx)
	if err != nil {
		return err
	}
	if given(json) {
		s.ReportToStdout()
	}
	if given(timeline) {
		s.KeepTimeline()
	}
	return after(ctx, func(s *session.Session) error { return s.Verify(given(json)) }, plumb)
}

// Check proves that the lab works, and changes nothing (-json: the report for programs).
func Check(ctx context.Context, json *bool) error {
	return after(ctx, func(s *session.Session) error { return s.Check(given(json)) })
}

// Stop halts the machines; what is on them stays.
func Stop(ctx context.Context) error { return after(ctx, (*session.Session).Stop) }

// Start boots halted machines and brings the lab back.
func Start(ctx context.Context) error {
	return after(ctx, func(s *session.Session) error {
		if err := s.Exists(); err != nil {
			return err
		}
		return Verify(ctx, nil, nil)
	})
}

// Destroy removes the machines and everything else that the lab made; the cache stays (-force: doesn't ask).
func Destroy(ctx context.Context, force *bool) error {
	return after(ctx, func(s *session.Session) error { return s.Destroy(given(force)) })
}

// Status shows what exists.
func Status(ctx context.Context) error { return after(ctx, (*session.Session).Status) }

// SSH logs in to a machine, or runs a command there: ssh MACHINE [COMMAND].
func SSH(ctx context.Context, machine string) error {
	return after(ctx, func(s *session.Session) error { return s.SSH(machine) })
}

// Benchmark measures the lab and prints a table; it destroys the lab (-rounds: how many, -cold: with an empty cache, once).
func Benchmark(ctx context.Context, rounds *int, cold *bool) error {
	n := 3
	if rounds != nil {
		n = *rounds
	}
	return after(ctx, func(s *session.Session) error { return s.Benchmark(n, given(cold)) })
}

// Inventory prints Ansible's inventory of the lab, for ansible/inventory.
func Inventory(ctx context.Context) error { return after(ctx, (*session.Session).Inventory) }

// Race measures the targets against the playbooks and prints a table; it destroys the lab (-rounds: how many).
func Race(ctx context.Context, rounds *int) error {
	n := 3
	if rounds != nil {
		n = *rounds
	}
	return after(ctx, func(s *session.Session) error { return s.Race(n) })
}

// Box makes the boxes that Vagrant's virtual machines start from.
func Box(ctx context.Context) error { return after(ctx, (*session.Session).Box) }

// Test runs all tests, the real lab's among them.
func Test(ctx context.Context) error { return after(ctx, (*session.Session).Test) }

// TestVagrant tests the lab on real virtual machines, on a libvirt of the test's own.
func TestVagrant(ctx context.Context) error { return after(ctx, (*session.Session).TestVagrant) }

// Lint looks for mistakes in the project's own code.
func Lint(ctx context.Context) error { return after(ctx, (*session.Session).Lint) }

// Outdated shows what is pinned, what is newer, and whether lab.yaml allows it.
func Outdated(ctx context.Context) error { return after(ctx, (*session.Session).Outdated) }

// Bump changes a pin everywhere it stands: bump NAME VERSION.
func Bump(ctx context.Context, name, version string) error {
	return after(ctx, func(s *session.Session) error { return s.Bump(name, version) })
}

// Logs puts everything that is needed to understand the lab into one archive.
func Logs(ctx context.Context) error { return after(ctx, (*session.Session).Logs) }

// Clean empties the cache; not while a lab is there that is made from it.
func Clean(ctx context.Context) error { return after(ctx, (*session.Session).Clean) }

// run runs a stage after the targets that it needs.
func run(ctx context.Context, make func(*stage.Env) stage.Stage, needs ...any) error {
	return after(ctx, func(s *session.Session) error { return s.Run(make) }, needs...)
}

// after does something in the session after the targets that it needs. mg.CtxDeps panics with one text of all errors;
// here they are an error like any other, so that a target that two others need fails for both.
func after(ctx context.Context, do func(*session.Session) error, needs ...any) (err error) {
	s, err := current(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if v := recover(); v != nil {
			if failed := s.Failed(); failed != nil {
				err = failed
				return
			}
			err = fmt.Errorf("%v", v)
		}
	}()
	if len(needs) > 0 {
		mg.CtxDeps(ctx, needs...)
	}
	return do(s)
}

// The session of this process: Mage passes its targets nothing but a context.
var (
	once      sync.Once
	theOne    *session.Session
	errTheOne error
)

func current(ctx context.Context) (*session.Session, error) {
	once.Do(func() { theOne, errTheOne = session.New(ctx) })
	return theOne, errTheOne
}

func given(flag *bool) bool { return flag != nil && *flag }
