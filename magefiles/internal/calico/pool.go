package calico

import (
	"fmt"

	v3 "github.com/projectcalico/api/pkg/apis/projectcalico/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
)

// NewPool is lab.yaml's pool as Calico's type.
func NewPool(p lab.Pool) *v3.IPPool {
	return &v3.IPPool{
		TypeMeta:   metav1.TypeMeta{Kind: v3.KindIPPool, APIVersion: v3.GroupVersionCurrent},
		ObjectMeta: metav1.ObjectMeta{Name: p.Name},
		Spec: v3.IPPoolSpec{
			CIDR:        p.CIDR.String(),
			BlockSize:   p.BlockSize,
			IPIPMode:    v3.IPIPMode(p.IPIPMode),
			NATOutgoing: p.NATOutgoing,
			Disabled:    p.Disabled,
		},
	}
}

// PoolDifferences says in which of lab.yaml's fields a pool differs, and whether Calico can change them:
// CIDR and block size are fixed when a pool is made.
func PoolDifferences(have *v3.IPPool, want lab.Pool) (differences []string, fixed bool) {
	w := NewPool(want).Spec
	for _, f := range []struct {
		name       string
		have, want any
		fixed      bool
	}{
		{"cidr", have.Spec.CIDR, w.CIDR, true},
		{"blockSize", have.Spec.BlockSize, w.BlockSize, true},
		{"ipipMode", have.Spec.IPIPMode, w.IPIPMode, false},
		{"natOutgoing", have.Spec.NATOutgoing, w.NATOutgoing, false},
		{"disabled", have.Spec.Disabled, w.Disabled, false},
	} {
		if f.have != f.want {
			differences = append(differences, fmt.Sprintf("%s is %v, not %v", f.name, f.have, f.want))
			fixed = fixed || f.fixed
		}
	}
	return differences, fixed
}
