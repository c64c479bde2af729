package stage

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
)

// ipPool makes lab.yaml's pool, or brings the one that exists in line with it.
func ipPool() Stage {
	return Stage{
		Name: IPPool, Needs: []string{Calico}, Role: lab.RoleEtcd, Datastore: true,
		Conditions: func(e *Env) []check.Condition {
			want := e.Lab.Pool
			return []check.Condition{
				stored("pool", "", e.Lab, fact.Pools,
					"IP pool "+want.Name+" is as in lab.yaml", "writes the pool",
					func(d *fact.Datastore) check.Finding {
						return poolFinding(d, want, e.Lab.Etcd().Name)
					}),
			}
		},
		Done: func(e *Env, _ *fact.Lab) string {
			return fmt.Sprintf("%s is %s in blocks of /%d", e.Lab.Pool.Name, e.Lab.Pool.CIDR, e.Lab.Pool.BlockSize)
		},
		Apply: func(ctx context.Context, e *Env, j Job) error {
			if err := j.readable(); err != nil {
				return err
			}
			data, err := json.Marshal(e.Pool())
			if err != nil {
				return err
			}
			return e.datastore(ctx, "writing the IP pool", []string{"apply", "--filename=-"}, data)
		},
	}
}

// everyNode is the selector of a pool that is for all nodes, Calico's default.
const everyNode = "all()"

// poolFinding compares the pools that exist with lab.yaml's. What Calico can't change in a pool that exists is refused: CIDR
// and block size are fixed when a pool is made, and two pools must not overlap.
func poolFinding(d *fact.Datastore, want lab.Pool, etcd string) check.Finding {
	remedy := func(old string) string {
		return fmt.Sprintf("what to do: put lab.yaml back, or take the workloads and that pool away first:\n"+
			"  go tool mage unplumb\n  go tool mage ssh %s sudo calicoctl delete ippool %s\n  go tool mage verify", etcd, command.Quote(old))
	}
	var have *fact.Pool
	for i, p := range d.Pools {
		switch {
		case p.Name == want.Name:
			have = &d.Pools[i]
		case p.CIDR.Overlaps(want.CIDR):
			return check.Refuse("pool %s (%s) overlaps lab.yaml's pool %s (%s), and Calico allows no two such pools\n%s", p.Name, p.CIDR, want.Name, want.CIDR, remedy(p.Name))
		}
	}
	if have == nil {
		return check.Not("there is no pool %s", want.Name)
	}
	const never = "Never" // what Calico takes where a pool doesn't say
	var different []string
	fixed := false
	for _, f := range []struct {
		name       string
		have, want any
		fixed      bool
	}{
		{"cidr", have.CIDR, want.CIDR, true},
		{"blockSize", have.BlockSize, want.BlockSize, true},
		{"ipipMode", have.IPIPMode, want.IPIPMode, false},
		{"vxlanMode", cmp.Or(have.VXLANMode, never), want.VXLANMode, false},
		{"natOutgoing", have.NATOutgoing, want.NATOutgoing, false},
		{"disabled", have.Disabled, want.Disabled, false},
		{"disableBGPExport", have.NoBGPExport, false, false},
		{"nodeSelector", cmp.Or(have.NodeSelector, everyNode), everyNode, false},
	} {
		if f.have != f.want {
			different = append(different, fmt.Sprintf("%s is %v, not %v", f.name, f.have, f.want))
			fixed = fixed || f.fixed
		}
	}
	text := strings.Join(different, ", ")
	switch {
	case fixed:
		return check.Refuse("pool %s: %s, and Calico can't change that in a pool that exists\n%s", want.Name, text, remedy(want.Name))
	case text != "":
		return check.Not("%s", text)
	}
	return check.OK("%s, blocks of /%d, ipipMode %s, natOutgoing %t", have.CIDR, have.BlockSize, have.IPIPMode, have.NATOutgoing)
}
