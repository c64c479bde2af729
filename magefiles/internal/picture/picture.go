// Package picture draws a lab: one model of what there is, made from facts or, without a lab, from lab.yaml, and the same model as
// SVG, Mermaid, Graphviz and JSON. It asks the machines nothing. Where something stands depends on what there is, never on how it is,
// so that positions stay from look to look.
package picture

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
)

// Version is that of the JSON form. It grows where a field is renamed, is removed or means something else; new fields may come
// without.
const Version = 2

// State is how something is.
type State string

// The states.
const (
	OK      State = "ok"
	Bad     State = "bad"
	Unknown State = "unknown" // it wasn't looked at, or couldn't be
	Planned State = "planned" // lab.yaml has it
)

// What is a picture's question.
type What string

// The questions.
const (
	Topology What = "topology" // what is where?
	BGP      What = "bgp"      // who speaks BGP with whom?
	Blocks   What = "blocks"   // who holds which addresses?
	Packet   What = "packet"   // which way does a packet go?
)

// Questions are all, in the order in which they are asked.
func Questions() []What { return []What{Topology, BGP, Blocks, Packet} }

// Picture is a lab as it is drawn. Its JSON form is what `graph -format=json` prints.
type Picture struct {
	Version  int        `json:"version"`
	Lab      string     `json:"lab"`
	Planned  bool       `json:"planned,omitempty"` // made from lab.yaml alone; nothing was looked at
	At       time.Time  `json:"at,omitzero"`       // of the look
	Underlay Underlay   `json:"underlay"`
	Machines []Machine  `json:"machines"` // members of etcd, nodes, routers
	Sessions []Session  `json:"sessions"`
	Pools    []Pool     `json:"pools"`
	Policies []string   `json:"policies"`             // names, as calicoctl has them
	Hidden   string     `json:"hidden,omitempty"`     // why the datastore's part is missing
	Release  string     `json:"release,omitempty"`    // of Calico, by the datastore
	Conds    *Condition `json:"conditions,omitempty"` // where they were compared
	Packet   *Journey   `json:"packet,omitempty"`
}

// Condition counts the lab's conditions.
type Condition struct {
	All   int `json:"all"`
	Unmet int `json:"unmet"`
}

// Underlay is the machines' own network.
type Underlay struct {
	lab.Underlay
	Gateway netip.Addr `json:"gateway"`
}

// String names the subnets.
func (u Underlay) String() string {
	if !u.Behind.IsValid() {
		return u.Subnet.String()
	}
	return fmt.Sprintf("%s, %s behind %s", u.Subnet, u.Behind, u.Router)
}

// Machine is one of the lab's.
type Machine struct {
	Name      string     `json:"name"`
	Role      string     `json:"role"` // etcd, calico, router
	Address   netip.Addr `json:"address"`
	State     State      `json:"state"`         // by its conditions, where they were compared
	Why       string     `json:"why,omitempty"` // what the first one found that doesn't hold, or why the machine can't be looked at
	Off       bool       `json:"off,omitempty"` // it doesn't run
	Reflector bool       `json:"reflector,omitempty"`
	AS        string     `json:"as,omitempty"`
	Parts     []Part     `json:"parts"`
	Workloads []Workload `json:"workloads,omitempty"`
	// What `ip route`, `ip address` and `docker ps` would show.
	Routes     []Route     `json:"routes,omitempty"`
	Interfaces []Interface `json:"interfaces,omitempty"`
	Containers []Container `json:"containers,omitempty"`
}

// Route is an entry of a machine's main routing table.
type Route struct {
	Route string `json:"route"` // as `ip route` writes it
	By    string `json:"by"`    // who programmed it
}

// Interface is one of a machine's.
type Interface struct {
	Name      string         `json:"name"`
	Type      string         `json:"type"`
	Up        bool           `json:"up"`
	MTU       int            `json:"mtu"`
	Addresses []netip.Prefix `json:"addresses,omitempty"`
}

// Container is one of a machine's, of the lab's or not.
type Container struct {
	Name   string `json:"name"`
	Image  string `json:"image"`
	Status string `json:"status"` // running, exited, ...
}

// Part is a program that the lab is about: etcd, Felix, confd, BIRD.
type Part struct {
	Name  string `json:"name"`
	State State  `json:"state"`
	Says  string `json:"says,omitempty"`
}

// Workload is a container or a network namespace with an interface of the lab's network, or one that is to get one.
type Workload struct {
	Name      string     `json:"name"` // calico1/workload
	Address   netip.Addr `json:"address,omitzero"`
	Interface string     `json:"interface,omitempty"` // the end on the machine
	State     State      `json:"state"`
	Why       string     `json:"why,omitempty"`
}

// Short is the workload's name on its machine.
func (w Workload) Short() string {
	_, short, _ := strings.Cut(w.Name, "/")
	return short
}

// Session is a BGP session. Two ends that are both the lab's are one session.
type Session struct {
	A     string `json:"a"`     // a machine
	B     string `json:"b"`     // a machine, or the address of a peer that isn't the lab's
	State State  `json:"state"` // OK: Established at both ends
	Says  string `json:"says"`  // Established, or what the ends say
	Since string `json:"since,omitempty"`
}

// Pool is an IP pool with the blocks that were made of it.
type Pool struct {
	Name        string       `json:"name"`
	CIDR        netip.Prefix `json:"cidr"`
	BlockSize   int          `json:"blockSize"`
	Carried     string       `json:"carried"` // how packets get to other nodes: routed, VXLAN, IP in IP
	NATOutgoing bool         `json:"natOutgoing"`
	Disabled    bool         `json:"disabled,omitempty"`
	Blocks      []Block      `json:"blocks"`
}

// Block is a block of addresses.
type Block struct {
	CIDR     netip.Prefix `json:"cidr"`
	Node     string       `json:"node,omitempty"` // "": nobody's
	Affinity string       `json:"affinity,omitempty"`
	Used     []netip.Addr `json:"used"`
	Free     int          `json:"free"`
}

// size is how many addresses a block has.
func (b Block) size() int { return len(b.Used) + b.Free }

// Journey is a packet's measured way.
type Journey struct {
	From   string `json:"from"`
	To     string `json:"to"`
	Answer string `json:"answer"`
	Lost   string `json:"lost,omitempty"` // the machine where it ended; "" where it arrived or left the lab
	Hops   []Hop  `json:"hops"`
}

// Hop is a place where the packet was seen.
type Hop struct {
	Machine  string       `json:"machine"`
	Workload string       `json:"workload,omitempty"` // "": on the machine itself
	Link     string       `json:"link"`
	Out      bool         `json:"out"` // it left by the interface; otherwise it came in
	Back     bool         `json:"back"`
	TTL      int          `json:"ttl"`
	Says     string       `json:"says"`             // echo request, say
	Seen     string       `json:"seen"`             // as tcpdump would have it, more or less
	Points   [][2]float64 `json:"points,omitempty"` // from the hop before it to this one, in the drawing
}

// Machine finds a machine.
func (p *Picture) Machine(name string) (*Machine, bool) {
	for i := range p.Machines {
		if p.Machines[i].Name == name {
			return &p.Machines[i], true
		}
	}
	return nil, false
}

// Nodes are the machines that speak BGP: the Calico nodes, and routers behind them.
func (p *Picture) Nodes() []Machine {
	return slices.DeleteFunc(slices.Clone(p.Machines), func(m Machine) bool { return m.Role == etcdRole })
}

// members are the machines of etcd's.
func (p *Picture) members() []Machine {
	return slices.DeleteFunc(slices.Clone(p.Machines), func(m Machine) bool { return m.Role != etcdRole })
}

// Formats are what a picture can be written as.
func Formats() []string { return []string{"mermaid", "dot", "svg", "json"} }

// Write writes a picture that answers a question.
func (p *Picture) Write(format string, w What) (string, error) {
	if w == Packet && p.Packet == nil {
		return "", fmt.Errorf("no packet was sent; a packet's picture is of a lab that runs")
	}
	switch format {
	case "mermaid":
		return p.mermaid(w), nil
	case "dot":
		return p.dot(w), nil
	case "svg":
		return p.SVG(w), nil
	}
	return "", fmt.Errorf("there is no format %q; there are %s", format, strings.Join(Formats(), ", "))
}

// counted are the conditions of a report.
func counted(r *check.Report) *Condition {
	if r == nil {
		return nil
	}
	return &Condition{All: len(r.Results), Unmet: len(r.Unmet())}
}
