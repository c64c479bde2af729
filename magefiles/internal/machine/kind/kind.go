// Package kind is the registry of the hardware layers: which there are, and which one a lab is on.
package kind

import (
	"context"
	"fmt"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine/docker"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine/nspawn"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine/ssh"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine/vagrant"
)

// Auto is what LAB_HARDWARE calls no choice.
const Auto = "auto"

// All returns the kinds, in the order in which Choose asks them.
func All() []machine.Kind {
	return []machine.Kind{ssh.Kind(), vagrant.Kind(), nspawn.Kind(), docker.Kind()}
}

// Find returns the kind of a name. The error of another name lists those that there are.
func Find(name string) (machine.Kind, error) { return find(All(), name) }

func find(kinds []machine.Kind, name string) (machine.Kind, error) {
	var names []string
	for _, k := range kinds {
		if k.Name == name {
			return k, nil
		}
		names = append(names, k.Name)
	}
	if name == "hosts" {
		return machine.Kind{}, fmt.Errorf("the hardware layer %s is called ssh now; set LAB_HARDWARE=ssh, or leave it out", name)
	}
	return machine.Kind{}, fmt.Errorf("there is no hardware layer %q; LAB_HARDWARE is one of %s, %s", name, strings.Join(names, ", "), Auto)
}

// Choose returns the kind that a lab is on, and why: the kind that was asked for (LAB_HARDWARE; "" and Auto are no
// choice), else the one of the plan that the lab was made by (o.Plan, empty where there is none), else the first kind
// that takes o.Lab for certain, else the first that may be tried. It changes nothing.
func Choose(ctx context.Context, asked string, o machine.Options) (k machine.Kind, why string, err error) {
	return choose(ctx, All(), asked, o)
}

func choose(ctx context.Context, kinds []machine.Kind, asked string, o machine.Options) (k machine.Kind, why string, err error) {
	switch {
	case asked != "" && asked != Auto:
		k, err = find(kinds, asked)
		return k, "LAB_HARDWARE says so", err
	case o.Plan.Hardware != "":
		if k, err = find(kinds, o.Plan.Hardware); err != nil {
			err = fmt.Errorf("the lab was made by another version of this project: %w", err)
		}
		return k, "the lab uses it already", err
	}
	var not []string
	for _, k := range kinds {
		reason, ok := k.Chosen(ctx, o)
		if ok {
			return k, reason, nil
		}
		not = append(not, k.Name+": "+reason)
	}
	for _, k := range kinds {
		if k.Otherwise == nil {
			continue
		}
		if reason, ok := k.Otherwise(ctx, o); ok {
			return k, reason, nil
		}
	}
	return machine.Kind{}, "", fmt.Errorf("no hardware layer can be used here:\n  %s", strings.Join(not, "\n  "))
}
