package stage

import (
	"context"
	"fmt"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/calico"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
)

type ipPool struct{ *Env }

// IPPool is the stage that makes lab.yaml's pool, or brings the one that exists in line with it.
func IPPool(e *Env) Stage { return ipPool{e} }

func (ipPool) Name() string { return "ipPool" }

func (s ipPool) Check(ctx context.Context) (bool, string, error) {
	want := s.Lab.Pool
	ok := fmt.Sprintf("%s is %s in blocks of /%d", want.Name, want.CIDR, want.BlockSize)
	return s.check(ctx, s.Lab.ByRole(lab.RoleEtcd), ok, func(ctx context.Context, _ lab.Machine, h *remote.Host) (string, error) {
		have, err := calico.Pool(ctx, h, want.Name)
		if err != nil {
			return "", err
		}
		if have == nil {
			return "no pool " + want.Name, nil
		}
		differences, fixed := calico.PoolDifferences(have, want)
		if fixed {
			return "", fmt.Errorf("pool %s: %s, and Calico can't change that in a pool that exists\n"+
				"  what to do: give the pool in lab.yaml another name, or remove this one first:\n"+
				"    go tool mage unplumb\n    go tool mage ssh %s sudo calicoctl delete ippool %s",
				want.Name, strings.Join(differences, ", "), s.Lab.Etcd().Name, want.Name)
		}
		return strings.Join(differences, ", "), nil
	})
}

func (s ipPool) Apply(ctx context.Context) error {
	return s.on(ctx, s.Lab.ByRole(lab.RoleEtcd), func(ctx context.Context, _ lab.Machine, h *remote.Host) error {
		return calico.ApplyPool(ctx, h, calico.NewPool(s.Lab.Pool))
	})
}
