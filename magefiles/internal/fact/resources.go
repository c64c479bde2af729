package fact

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
)

// Resources is what only explanations need of Calico's datastore. A deep look has it.
type Resources struct {
	Policies    []PolicyResource  `json:"policies,omitempty"`
	Profiles    []PolicyResource  `json:"profiles,omitempty"` // whose Labels their endpoints inherit
	Endpoints   []EndpointDetail  `json:"endpoints,omitempty"`
	Allocations []Allocation      `json:"allocations,omitempty"`
	Free        []FreeList        `json:"free,omitempty"`
	Peers       []PeerResource    `json:"peers,omitempty"`
	NodeLabels  map[string]Labels `json:"nodeLabels,omitempty"`
}

// Labels are a resource's.
type Labels map[string]string

// PolicyResource is a network policy, global or of a namespace, or a profile. Its rules and selectors are as the user wrote them.
type PolicyResource struct {
	Kind     string         `json:"kind"` // globalnetworkpolicies, networkpolicies, profiles
	Name     string         `json:"name"` // as in the datastore: of a policy that is tier.name, or namespace/tier.name
	Tier     string         `json:"tier,omitempty"`
	Order    *float64       `json:"order,omitempty"` // nil is after all others
	Selector string         `json:"selector,omitempty"`
	Types    []string       `json:"types,omitempty"` // Ingress, Egress
	Ingress  []ResourceRule `json:"ingress,omitempty"`
	Egress   []ResourceRule `json:"egress,omitempty"`
	Labels   Labels         `json:"labels,omitempty"` // labelsToApply of a profile
}

// ResourceRule is a rule of a policy or profile.
type ResourceRule struct {
	Action      string          `json:"action"`
	IPVersion   int             `json:"ipVersion,omitempty"` // 4 or 6; 0: both
	Protocol    json.RawMessage `json:"protocol,omitempty"`  // a name or a number
	NotProtocol json.RawMessage `json:"notProtocol,omitempty"`
	ICMP        *ICMP           `json:"icmp,omitempty"`
	NotICMP     *ICMP           `json:"notICMP,omitempty"`
	HTTP        json.RawMessage `json:"http,omitempty"`
	Source      RuleEnd         `json:"source,omitzero"`
	Destination RuleEnd         `json:"destination,omitzero"`
}

// ICMP is what a rule asks of an ICMP message; nil is any.
type ICMP struct {
	Type *int `json:"type,omitempty"`
	Code *int `json:"code,omitempty"`
}

// RuleEnd is the source or the destination in a rule.
type RuleEnd struct {
	Nets              []string          `json:"nets,omitempty"`
	NotNets           []string          `json:"notNets,omitempty"`
	Selector          string            `json:"selector,omitempty"`
	NotSelector       string            `json:"notSelector,omitempty"`
	NamespaceSelector string            `json:"namespaceSelector,omitempty"`
	ServiceAccounts   *ServiceAccounts  `json:"serviceAccounts,omitempty"`
	Services          *Service          `json:"services,omitempty"`
	Ports             []json.RawMessage `json:"ports,omitempty"`
	NotPorts          []json.RawMessage `json:"notPorts,omitempty"`
}

// ServiceAccounts are Kubernetes' that an end runs as.
type ServiceAccounts struct {
	Names    []string `json:"names,omitempty"`
	Selector string   `json:"selector,omitempty"`
}

// Service is one of Kubernetes' that an end is of.
type Service struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace,omitempty"`
}

// EndpointDetail is what policies look at of a workload endpoint.
type EndpointDetail struct {
	Name      string `json:"name"` // as Endpoint has it
	Namespace string `json:"namespace"`
	Labels    Labels `json:"labels,omitempty"`
	Workload  string `json:"workload,omitempty"`
}

// Allocation is an address that somebody has.
type Allocation struct {
	Address    netip.Addr `json:"address"`
	Handle     string     `json:"handle,omitempty"`
	Attributes Labels     `json:"attributes,omitempty"` // what the asker wrote of itself: node, namespace, timestamp
}

// FreeList are a block's addresses that nobody has, in the order in which they are given away.
type FreeList struct {
	Block netip.Prefix `json:"block"`
	Next  []netip.Addr `json:"next"`
}

// PeerResource is a BGPPeer.
type PeerResource struct {
	Name         string      `json:"name"`
	Node         string      `json:"node,omitempty"` // "" with no NodeSelector: all
	NodeSelector string      `json:"nodeSelector,omitempty"`
	PeerIP       string      `json:"peerIP,omitempty"`
	PeerSelector string      `json:"peerSelector,omitempty"`
	AS           json.Number `json:"asNumber,omitempty"`
	KeepNextHop  bool        `json:"keepOriginalNextHop,omitempty"`
}

// Allocation finds who has an address.
func (r *Resources) Allocation(a netip.Addr) (Allocation, bool) {
	i := slices.IndexFunc(r.Allocations, func(x Allocation) bool { return x.Address == a })
	if i < 0 {
		return Allocation{}, false
	}
	return r.Allocations[i], true
}

// Endpoint finds what policies look at of an endpoint.
func (r *Resources) Endpoint(name string) EndpointDetail {
	i := slices.IndexFunc(r.Endpoints, func(x EndpointDetail) bool { return x.Name == name })
	if i < 0 {
		return EndpointDetail{}
	}
	return r.Endpoints[i]
}

// ParseResources decodes what Datastore leaves out.
func ParseResources(all []KeyValue) (Resources, error) {
	r := Resources{NodeLabels: map[string]Labels{}}
	for _, kv := range all {
		var err error
		if rest, ok := strings.CutPrefix(kv.Key, ResourcePrefix); ok {
			kind, name, _ := strings.Cut(rest, "/")
			err = r.resource(kind, name, kv.Value)
		} else if strings.HasPrefix(kv.Key, IPAMPrefix+"assignment/") {
			err = r.block(kv.Value)
		}
		if err != nil {
			return r, errAt(kv.Key, err)
		}
	}
	return r, nil
}

func (r *Resources) resource(kind, name string, value []byte) error {
	switch kind {
	case "globalnetworkpolicies", "networkpolicies":
		return decode(value, func(v struct{ Spec PolicyResource }) {
			v.Spec.Kind, v.Spec.Name = kind, name
			r.Policies = append(r.Policies, v.Spec)
		})
	case "profiles":
		return decode(value, func(v struct {
			Spec struct {
				Ingress, Egress []ResourceRule
				LabelsToApply   Labels
			}
		}) {
			r.Profiles = append(r.Profiles, PolicyResource{Kind: kind, Name: name, Ingress: v.Spec.Ingress, Egress: v.Spec.Egress, Labels: v.Spec.LabelsToApply})
		})
	case "workloadendpoints":
		return decode(value, func(v struct {
			Metadata struct {
				Namespace string
				Labels    Labels
			}
			Spec struct{ Workload string }
		}) {
			r.Endpoints = append(r.Endpoints, EndpointDetail{name, v.Metadata.Namespace, v.Metadata.Labels, v.Spec.Workload})
		})
	case "bgppeers":
		return decode(value, func(v struct{ Spec PeerResource }) {
			v.Spec.Name = name
			r.Peers = append(r.Peers, v.Spec)
		})
	case "nodes":
		return decode(value, func(v struct{ Metadata struct{ Labels Labels } }) { r.NodeLabels[name] = v.Metadata.Labels })
	}
	return nil
}

func (r *Resources) block(value []byte) error {
	return decode(value, func(v struct {
		CIDR        netip.Prefix
		Allocations []*int
		Unallocated []int
		Attributes  []struct {
			Handle    string `json:"handle_id"`
			Secondary Labels `json:"secondary"`
		}
		Deleted bool
	}) {
		if v.Deleted {
			return
		}
		addresses := make([]netip.Addr, len(v.Allocations))
		for i, a := 0, v.CIDR.Addr(); i < len(addresses); i, a = i+1, a.Next() {
			addresses[i] = a
		}
		for i, attribute := range v.Allocations {
			if attribute == nil {
				continue
			}
			a := Allocation{Address: addresses[i]}
			if n := *attribute; n >= 0 && n < len(v.Attributes) {
				a.Handle, a.Attributes = v.Attributes[n].Handle, v.Attributes[n].Secondary
			}
			r.Allocations = append(r.Allocations, a)
		}
		free := FreeList{Block: v.CIDR}
		for _, n := range v.Unallocated {
			if n >= 0 && n < len(addresses) {
				free.Next = append(free.Next, addresses[n])
			}
		}
		r.Free = append(r.Free, free)
	})
}
