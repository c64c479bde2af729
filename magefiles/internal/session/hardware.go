package session

import (
	"os"
	"path/filepath"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine/box"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine/kind"
)

// hardware chooses the kind of the lab's machines and says why.
func (s *Session) hardware(old machine.Plan, l *lab.Lab) (machine.Kind, string, error) {
	return kind.Choose(s.ctx, os.Getenv("LAB_HARDWARE"), s.options(old, l))
}

// newProvider returns the hardware layer for a plan.
func (s *Session) newProvider(plan machine.Plan) (machine.Provider, error) {
	k, err := kind.Find(plan.Hardware)
	if err != nil {
		return nil, err
	}
	return k.New(s.options(plan, s.lab)), nil
}

func (s *Session) options(plan machine.Plan, l *lab.Lab) machine.Options {
	o := machine.Options{
		Plan: plan, Lab: l, LabFile: filepath.Join(filepath.Dir(s.stateDir), filepath.Base(s.labFile)),
		ProjectDir: s.root, StateDir: s.stateDir, Run: s.run, Maker: s.maker, Notice: s.Console.Notice,
	}
	if s.maker != nil {
		o.Store = &artifact.Store{Dir: box.CacheDir(), Run: s.run, Making: s.Console.Making}
	}
	return o
}

// Box makes the lab's own boxes.
func (s *Session) Box() error {
	l, err := s.Lab()
	if err != nil {
		return err
	}
	if err := s.begin(); err != nil {
		return err
	}
	for _, provider := range []string{box.Libvirt, box.VirtualBox} {
		file, err := box.Make(s.ctx, s.options(machine.Plan{}, l), provider)
		if err != nil {
			return err
		}
		s.Console.Notice("%s: %s", provider, file.Path)
	}
	s.Console.Notice("LAB_HARDWARE=vagrant go tool mage verify adds the one it needs to Vagrant by itself")
	return nil
}
