package spec

import (
	v3 "github.com/projectcalico/api/pkg/apis/projectcalico/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

// Route reflectors.
const (
	ClusterID         = "244.0.0.1" // all have it: each client has a session with every one of them
	ReflectorPeer     = "calico-cni-lab.reflectors"
	ReflectorSelector = "has(" + fact.LabelReflector + ")"
)

// ReflectorPeer has every node speak BGP with the reflectors.
func (s *Spec) ReflectorPeer() *v3.BGPPeer {
	return &v3.BGPPeer{
		TypeMeta:   metav1.TypeMeta{Kind: v3.KindBGPPeer, APIVersion: v3.GroupVersionCurrent},
		ObjectMeta: metav1.ObjectMeta{Name: ReflectorPeer},
		Spec:       v3.BGPPeerSpec{NodeSelector: "all()", PeerSelector: ReflectorSelector},
	}
}

// Resources are Calico's resources that lab.yaml asks for, of those that users make too: kind/name, as in the datastore.
func (s *Spec) Resources() []string {
	all := []string{"ippools/" + s.Lab.Pool.Name}
	if len(s.Lab.BGP.Reflectors) > 0 {
		all = append(all, "bgppeers/"+ReflectorPeer)
	}
	for _, m := range s.Lab.Routers() {
		all = append(all, "bgppeers/"+RouterPeerName(m.Name))
	}
	if s.Lab.BGP.AS > 0 || !s.Lab.BGP.Mesh {
		all = append(all, "bgpconfigurations/default")
	}
	return all
}

// Pool is lab.yaml's IP pool as Calico's type.
func (s *Spec) Pool() *v3.IPPool {
	p := s.Lab.Pool
	return &v3.IPPool{
		TypeMeta:   metav1.TypeMeta{Kind: v3.KindIPPool, APIVersion: v3.GroupVersionCurrent},
		ObjectMeta: metav1.ObjectMeta{Name: p.Name},
		Spec: v3.IPPoolSpec{
			CIDR: p.CIDR.String(), BlockSize: p.BlockSize, IPIPMode: v3.IPIPMode(p.IPIPMode), VXLANMode: v3.VXLANMode(p.VXLANMode),
			NATOutgoing: p.NATOutgoing, Disabled: p.Disabled,
		},
	}
}
