package session

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/computer"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine/box"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine/hosts"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine/nspawn"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine/vagrant"
)

// hardware chooses the hardware layer and says why: what LAB_HARDWARE says, else what the lab already uses, else
// machines that lab.yaml says how to enter, else Vagrant where it can make the machines at full speed, else embedded machines.
func (s *Session) hardware(old machine.Plan, l *lab.Lab) (name, why string, err error) {
	switch h := os.Getenv("LAB_HARDWARE"); h {
	case nspawn.Name, vagrant.Name, machine.Hosts:
		return h, "LAB_HARDWARE says so", nil
	case "", "auto":
	default:
		return "", "", fmt.Errorf("LAB_HARDWARE=%s: known are %s", h, strings.Join([]string{nspawn.Name, vagrant.Name, machine.Hosts, "auto"}, ", "))
	}
	switch {
	case old.Hardware != "":
		return old.Hardware, "the lab uses it already", nil
	case slices.ContainsFunc(l.Machines, func(m lab.Machine) bool { return m.SSH != lab.SSH{} }):
		return machine.Hosts, "lab.yaml says how to enter the machines", nil
	case vagrant.Made(s.stateDir):
		return vagrant.Name, "there are machines of Vagrant's already", nil
	}
	if err := vagrant.Fit(s.ctx, s.vagrant(machine.NewPlan(vagrant.Name, l), l)); err != nil {
		reason, _, _ := strings.Cut(err.Error(), "\n")
		return nspawn.Name, "LAB_HARDWARE=vagrant would be the other way: " + reason, nil
	}
	return vagrant.Name, "Vagrant can make virtual machines here; LAB_HARDWARE=nspawn is the other way", nil
}

// newProvider gives the hardware layer for a plan.
func (s *Session) newProvider(plan machine.Plan) machine.Provider {
	switch plan.Hardware {
	case vagrant.Name:
		return vagrant.New(s.vagrant(plan, s.lab))
	case machine.Hosts:
		return hosts.New(hosts.Options{Plan: plan, StateDir: s.stateDir, Run: s.run})
	}
	o := nspawn.Options{Plan: plan, StateDir: s.stateDir, Run: s.run, Notice: s.Console.Notice}
	if s.maker != nil {
		o.Share, o.Debian, o.Images, o.Toolchain = s.maker.Store.Dir, s.maker.Debian, s.maker.Images, s.maker.Toolchain
		o.Store = s.trees()
	}
	return nspawn.New(o)
}

func (s *Session) vagrant(plan machine.Plan, l *lab.Lab) vagrant.Options {
	return vagrant.Options{
		Plan: plan, Lab: l, StateDir: s.stateDir, ProjectDir: s.root, LabFile: filepath.Join(filepath.Dir(s.stateDir), filepath.Base(s.labFile)),
		Run: s.run, Box: s.box, Notice: s.Console.Notice,
	}
}

// trees is the store of what belongs to root.
func (s *Session) trees() *artifact.Store {
	return &artifact.Store{Dir: box.CacheDir(), Run: s.run, Making: s.Console.Making}
}

// box makes the lab's own box for one of Vagrant's providers.
func (s *Session) box(ctx context.Context, provider string) (box.File, error) {
	if err := computer.BecomeRoot(ctx, s.run, "virtual machine disks", s.Console.Notice); err != nil {
		return box.File{}, err
	}
	if err := box.MakeCacheDir(ctx, s.run); err != nil {
		return box.File{}, err
	}
	if err := computer.Install(ctx, s.run, box.DiskNeeds, s.Console.Notice); err != nil {
		return box.File{}, err
	}
	return box.Recipe{Debian: s.maker.Debian, Run: s.run}.Box(ctx, s.trees(), s.maker.Store, provider)
}

// Box makes the lab's own boxes.
func (s *Session) Box() error {
	if _, err := s.Lab(); err != nil {
		return err
	}
	if err := s.begin(); err != nil {
		return err
	}
	for _, provider := range []string{box.Libvirt, box.VirtualBox} {
		file, err := s.box(s.ctx, provider)
		if err != nil {
			return err
		}
		s.Console.Notice("%s: %s", provider, file.Path)
	}
	s.Console.Notice("LAB_HARDWARE=vagrant go tool mage verify adds the one it needs to Vagrant by itself")
	return nil
}
