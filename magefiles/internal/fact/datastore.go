package fact

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// KeyValue is an entry of etcd's.
type KeyValue struct {
	Key   string `json:"key"`
	Value []byte `json:"value"`
}

// Datastore is what Calico keeps in etcd, as far as the lab reads it.
type Datastore struct {
	Nodes      []Node         `json:"nodes"`
	Pools      []Pool         `json:"pools"`
	Blocks     []Block        `json:"blocks"`
	Affinities []Affinity     `json:"affinities"`
	Handles    []string       `json:"handles"`
	Endpoints  []Endpoint     `json:"endpoints"` // workload endpoints
	BGP        BGP            `json:"bgp"`
	Peers      []PeerResource `json:"peers"`
	Policies   []Policy       `json:"policies"`
	Profiles   []string       `json:"profiles"`
	Cluster    ClusterInfo    `json:"cluster"`
}

// Node is a registered Calico node.
type Node struct {
	Name      string       `json:"name"`
	Address   netip.Prefix `json:"address"` // zero where it hasn't got as far
	AS        string       `json:"as,omitempty"`
	ClusterID string       `json:"clusterID,omitempty"` // of a route reflector
	VXLAN     netip.Addr   `json:"vxlan,omitzero"`      // of its end of the tunnel
	// Reflector says that the lab made it a route reflector, by its label.
	Reflector bool      `json:"reflector,omitempty"`
	Created   time.Time `json:"created,omitzero"` // by the clock of the machine that registered it
}

// Pool is an IP pool.
type Pool struct {
	Name        string       `json:"name"`
	CIDR        netip.Prefix `json:"cidr"`
	BlockSize   int          `json:"blockSize"` // prefix length, in bits
	IPIPMode    string       `json:"ipipMode"`
	VXLANMode   string       `json:"vxlanMode"`
	NATOutgoing bool         `json:"natOutgoing"`
	Disabled    bool         `json:"disabled"`
	NoBGPExport bool         `json:"disableBGPExport"`
	// NodeSelector says which nodes may have blocks of it: all() is Calico's default.
	NodeSelector string `json:"nodeSelector"`
}

// Block is a block of addresses, and who has them.
type Block struct {
	CIDR netip.Prefix `json:"cidr"`
	Node string       `json:"node,omitempty"` // whose affinity it has; "": nobody's
	Free int          `json:"free"`           // how many addresses nobody has
	Used []netip.Addr `json:"used,omitempty"` // those that somebody has
}

// Assigned says whether somebody has an address.
func (b Block) Assigned(a netip.Addr) bool { return slices.Contains(b.Used, a) }

// Affinity ties a block to a node.
type Affinity struct {
	Node  string       `json:"node"`
	Block netip.Prefix `json:"block"`
	State string       `json:"state"` // confirmed, pending, pendingDeletion
}

// Endpoint is a workload endpoint.
type Endpoint struct {
	Name      string         `json:"name"`
	Node      string         `json:"node"`
	Interface string         `json:"interface"` // on the machine: cali...
	Addresses []netip.Prefix `json:"addresses"`
	Profiles  []string       `json:"profiles"`
	Container string         `json:"containerID"`
	Labels    Labels         `json:"labels,omitempty"`
}

// BGP is the BGPConfiguration named default; the zero value is what Calico does where there is none.
type BGP struct {
	MeshOff bool   `json:"meshOff,omitempty"`
	AS      string `json:"as,omitempty"`
	LabAS   string `json:"labAS,omitempty"` // the one that the lab wrote there, by its annotation
}

// The marks of what the lab writes into resources that may be the user's, too.
const (
	LabelReflector = "calico-cni-lab.reflector" // label of nodes
	LabelAS        = "calico-cni-lab.asNumber"  // annotation of the BGPConfiguration
)

// Policy is a network policy, global or of a namespace, outside of the tiers' defaults.
type Policy struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
}

// ClusterInfo is what calico-node wrote of itself.
type ClusterInfo struct {
	Version string `json:"version"` // with its v
	Ready   bool   `json:"ready"`
}

// Where Calico has what in etcd (libcalico-go/lib/backend/model).
const (
	ResourcePrefix = "/calico/resources/v3/projectcalico.org/"
	IPAMPrefix     = "/calico/ipam/v2/"
	FelixPrefix    = "/calico/felix/" // what Felix reports of itself
)

// ClusterKey is the key of the ClusterInformation. Where there is none, a calico-node that runs writes one within a minute, when it looks
// at its addresses, and so does calicoctl apply: with a new GUID (libcalico-go/lib/clientv3, EnsureInitialized).
const ClusterKey = ResourcePrefix + "clusterinformations/default"

// Replaced says whether a datastore isn't the one that it was, but one that was made since, by what was and is at ClusterKey: nil where
// there is nothing.
func Replaced(was, is []byte) bool { return clusterGUID(was) != clusterGUID(is) }

func clusterGUID(value []byte) string {
	var v struct{ Spec struct{ ClusterGUID string } }
	if json.Unmarshal(value, &v) != nil {
		return ""
	}
	return v.Spec.ClusterGUID
}

// ParseDatastore decodes Calico's entries.
func ParseDatastore(all []KeyValue) (Datastore, error) {
	var d Datastore
	for _, kv := range all {
		var err error
		if rest, ok := strings.CutPrefix(kv.Key, ResourcePrefix); ok {
			err = d.resource(rest, kv.Value)
		} else if rest, ok := strings.CutPrefix(kv.Key, IPAMPrefix); ok {
			err = d.ipam(rest, kv.Value)
		}
		if err != nil {
			return d, errAt(kv.Key, err)
		}
	}
	return d, nil
}

func errAt(key string, err error) error { return fmt.Errorf("%s: %w", key, err) }

func decode[T any](data []byte, then func(T)) error {
	var v T
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	then(v)
	return nil
}

// network is a network as Calico writes it. An address alone is one of its own, as to Calico (libcalico-go/lib/net,
// ParseCIDROrIP).
type network struct{ netip.Prefix }

// UnmarshalText implements encoding.TextUnmarshaler.
func (n *network) UnmarshalText(text []byte) error {
	if a, err := netip.ParseAddr(string(text)); err == nil {
		n.Prefix = netip.PrefixFrom(a, a.BitLen())
		return nil
	}
	return n.Prefix.UnmarshalText(text)
}

func prefixes(all []network) []netip.Prefix {
	var out []netip.Prefix
	for _, n := range all {
		out = append(out, n.Prefix)
	}
	return out
}

// resource takes in one of Calico's resources; key is its kind, a slash and its name.
func (d *Datastore) resource(key string, value []byte) error {
	kind, name, _ := strings.Cut(key, "/")
	switch kind {
	case "nodes":
		return d.node(name, value)
	case "ippools":
		return d.pool(name, value)
	case "workloadendpoints":
		return d.endpoint(name, value)
	case "bgpconfigurations":
		return d.bgp(name, value)
	case "clusterinformations":
		return d.cluster(value)
	case "globalnetworkpolicies", "networkpolicies": // staged ones enforce nothing
		d.Policies = append(d.Policies, Policy{kind, name})
	case "profiles":
		d.Profiles = append(d.Profiles, name)
	case "bgppeers":
		return decode(value, func(v struct{ Spec PeerResource }) {
			v.Spec.Name = name
			d.Peers = append(d.Peers, v.Spec)
		})
	}
	return nil
}

func (d *Datastore) node(name string, value []byte) error {
	return decode(value, func(v struct {
		Metadata struct {
			CreationTimestamp time.Time
			Labels            Labels
		}
		Spec struct {
			IPv4VXLANTunnelAddr netip.Addr
			BGP                 struct {
				IPv4Address             network
				ASNumber                json.Number
				RouteReflectorClusterID string
			}
		}
	}) {
		b := v.Spec.BGP
		_, reflector := v.Metadata.Labels[LabelReflector]
		d.Nodes = append(d.Nodes, Node{
			Name: name, Address: b.IPv4Address.Prefix, AS: b.ASNumber.String(), ClusterID: b.RouteReflectorClusterID,
			VXLAN: v.Spec.IPv4VXLANTunnelAddr, Reflector: reflector, Created: v.Metadata.CreationTimestamp,
		})
	})
}

func (d *Datastore) pool(name string, value []byte) error {
	return decode(value, func(v struct {
		Spec struct {
			CIDR                                    network
			IPIPMode, VXLANMode, NodeSelector       string
			BlockSize                               int
			NATOutgoing, Disabled, DisableBGPExport bool
		}
	}) {
		s := v.Spec
		d.Pools = append(d.Pools, Pool{
			Name: name, CIDR: s.CIDR.Prefix, BlockSize: s.BlockSize, IPIPMode: s.IPIPMode, VXLANMode: s.VXLANMode,
			NATOutgoing: s.NATOutgoing, Disabled: s.Disabled, NoBGPExport: s.DisableBGPExport, NodeSelector: s.NodeSelector,
		})
	})
}

func (d *Datastore) endpoint(name string, value []byte) error {
	return decode(value, func(v struct {
		Metadata struct{ Labels Labels }
		Spec     struct {
			Node, InterfaceName, ContainerID string
			IPNetworks                       []network
			Profiles                         []string
		}
	}) {
		s := v.Spec
		d.Endpoints = append(d.Endpoints, Endpoint{name, s.Node, s.InterfaceName, prefixes(s.IPNetworks), s.Profiles, s.ContainerID, v.Metadata.Labels})
	})
}

// bgp takes in a BGPConfiguration; only the one named default is for all nodes.
func (d *Datastore) bgp(name string, value []byte) error {
	if name != "default" {
		return nil
	}
	return decode(value, func(v struct {
		Metadata struct{ Annotations Labels }
		Spec     struct {
			NodeToNodeMeshEnabled *bool
			ASNumber              json.Number
		}
	}) {
		d.BGP = BGP{v.Spec.NodeToNodeMeshEnabled != nil && !*v.Spec.NodeToNodeMeshEnabled, v.Spec.ASNumber.String(), v.Metadata.Annotations[LabelAS]}
	})
}

func (d *Datastore) cluster(value []byte) error {
	return decode(value, func(v struct {
		Spec struct {
			CalicoVersion  string
			DatastoreReady bool
		}
	}) {
		d.Cluster = ClusterInfo{v.Spec.CalicoVersion, v.Spec.DatastoreReady}
	})
}

// block takes in a block of addresses.
func (d *Datastore) block(value []byte) error {
	var v struct {
		CIDR        netip.Prefix
		Affinity    string
		Allocations []*int
		Unallocated []int
		Deleted     bool
	}
	if err := json.Unmarshal(value, &v); err != nil || v.Deleted {
		return err
	}
	b := Block{CIDR: v.CIDR, Node: strings.TrimPrefix(v.Affinity, "host:"), Free: len(v.Unallocated)}
	address := v.CIDR.Masked().Addr()
	for _, handle := range v.Allocations { // one for each address of the block, in order
		if !v.CIDR.Contains(address) {
			return fmt.Errorf("block %s is too small for its %d addresses", v.CIDR, len(v.Allocations))
		}
		if handle != nil {
			b.Used = append(b.Used, address)
		}
		address = address.Next()
	}
	d.Blocks = append(d.Blocks, b)
	return nil
}

func (d *Datastore) ipam(key string, value []byte) error {
	switch parts := strings.Split(key, "/"); {
	case parts[0] == "assignment":
		return d.block(value)
	case parts[0] == "host" && len(parts) == 5 && parts[3] == "block":
		block, err := netip.ParsePrefix(strings.ReplaceAll(parts[4], "-", "/"))
		if err != nil {
			return err
		}
		return decode(value, func(v struct {
			State   string
			Deleted bool
		}) {
			if !v.Deleted {
				d.Affinities = append(d.Affinities, Affinity{parts[1], block, v.State})
			}
		})
	case parts[0] == "handle" && len(parts) == 2:
		d.Handles = append(d.Handles, parts[1])
	}
	return nil
}

// Node finds a registered node.
func (d *Datastore) Node(name string) (Node, bool) {
	i := slices.IndexFunc(d.Nodes, func(n Node) bool { return n.Name == name })
	if i < 0 {
		return Node{}, false
	}
	return d.Nodes[i], true
}

// Peer finds a BGPPeer.
func (d *Datastore) Peer(name string) (PeerResource, bool) {
	i := slices.IndexFunc(d.Peers, func(p PeerResource) bool { return p.Name == name })
	if i < 0 {
		return PeerResource{}, false
	}
	return d.Peers[i], true
}

// BlocksOf returns the blocks that a node has an affinity for.
func (d *Datastore) BlocksOf(node string) []netip.Prefix {
	var all []netip.Prefix
	for _, b := range d.Blocks {
		if b.Node == node {
			all = append(all, b.CIDR)
		}
	}
	return all
}
