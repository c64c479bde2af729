package stage

import (
	"context"
	"fmt"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/spec"
)

// goneCondition doesn't hold as long as the lab has a machine that lab.yaml has no more.
func goneCondition(m machine.Planned) check.Condition {
	return check.Condition{
		ID: id("gone", m.Name), Machine: m.Name, Expected: m.Name + ", which lab.yaml has no more, is gone", Try: "go tool mage status",
		Mend: "takes away the machine, or what the lab did there, and its node with its addresses",
		Test: func(*fact.Lab) check.Finding { return check.Not("the machine or its node is still there") },
	}
}

// retire takes machines away that lab.yaml has no more. With a node Calico deletes its endpoints, and releases its addresses and blocks.
// A member of etcd's goes once it is none any more: it may be one of those that the others need for a majority.
func retire(ctx context.Context, e *Env, f *fact.Lab) error {
	if len(e.leaving()) > 0 {
		if found := membersFinding(e, f); found.State != check.Holds {
			return lateError{fmt.Errorf("%s stays until etcd's other members are as they should be: %s; see what is wrong: go tool mage check", check.Names(e.leaving()), found.Found)}
		}
	}
	for _, m := range e.gone() {
		err := e.Retire(ctx, m, func(ctx context.Context) error {
			switch m.Role {
			case lab.RoleCalico:
				return e.datastore(ctx, "deleting node "+m.Name, []string{"delete", "node", m.Name, "--skip-not-exists"}, nil)
			case lab.RoleRouter:
				peer := spec.RouterPeerName(m.Name)
				return e.datastore(ctx, "deleting BGPPeer "+peer, []string{"delete", "bgppeer", peer, "--skip-not-exists"}, nil)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	e.retired.Store(true)
	return nil
}

// gone are the machines that are still to be taken away. Stages ask while that of Calico takes them away.
func (e *Env) gone() []machine.Planned {
	if e.retired.Load() {
		return nil
	}
	return e.Gone
}
