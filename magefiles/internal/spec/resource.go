package spec

import "github.com/calico-cni-lab/lab/magefiles/internal/fact"

// Resource is one of Calico's, as calicoctl and Ansible get it; S is its spec.
//
// The types are the lab's own, with what the lab writes, because github.com/projectcalico/api takes Kubernetes' API with it: a third of what
// there is to compile before the first target runs. The tests read all that is written with Calico's types, which refuse what they don't know.
type Resource[S any] struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Metadata   Metadata `json:"metadata"`
	Spec       S        `json:"spec"`
}

// Metadata is a resource's name.
type Metadata struct {
	Name string `json:"name"`
}

// NewResource returns a resource of the version that calicoctl reads.
func NewResource[S any](kind, name string, spec S) Resource[S] {
	return Resource[S]{APIVersion: "projectcalico.org/v3", Kind: kind, Metadata: Metadata{Name: name}, Spec: spec}
}

// PoolSpec is an IPPool's.
type PoolSpec struct {
	CIDR        string `json:"cidr"`
	BlockSize   int    `json:"blockSize,omitempty"` // a prefix's length
	IPIPMode    string `json:"ipipMode,omitempty"`
	VXLANMode   string `json:"vxlanMode,omitempty"`
	NATOutgoing bool   `json:"natOutgoing,omitempty"`
	Disabled    bool   `json:"disabled,omitempty"`
}

// PeerSpec is a BGPPeer's.
type PeerSpec struct {
	NodeSelector        string `json:"nodeSelector,omitempty"`
	PeerSelector        string `json:"peerSelector,omitempty"`
	PeerIP              string `json:"peerIP,omitempty"`
	ASNumber            uint32 `json:"asNumber,omitempty"`
	KeepOriginalNextHop bool   `json:"keepOriginalNextHop,omitempty"`
}

// Route reflectors.
const (
	ClusterID         = "244.0.0.1" // all have it: each client has a session with every one of them
	ReflectorPeer     = "calico-cni-lab.reflectors"
	ReflectorSelector = "has(" + fact.LabelReflector + ")"
)

// ReflectorPeer has every node speak BGP with the reflectors.
func (s *Spec) ReflectorPeer() Resource[PeerSpec] {
	return NewResource("BGPPeer", ReflectorPeer, PeerSpec{NodeSelector: "all()", PeerSelector: ReflectorSelector})
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

// Pool is lab.yaml's IP pool.
func (s *Spec) Pool() Resource[PoolSpec] {
	p := s.Lab.Pool
	return NewResource("IPPool", p.Name, PoolSpec{
		CIDR: p.CIDR.String(), BlockSize: p.BlockSize, IPIPMode: p.IPIPMode, VXLANMode: p.VXLANMode, NATOutgoing: p.NATOutgoing, Disabled: p.Disabled,
	})
}
