// Package lab reads lab.yaml, the one definition of a lab, into a validated Lab.
package lab

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/hashicorp/go-version"
)

// Role is what a machine is in the lab.
type Role string

// The roles.
const (
	RoleEtcd   Role = "etcd"   // runs the datastore
	RoleCalico Role = "calico" // runs calico-node and workloads
	RoleRouter Role = "router" // runs BIRD alone, in an AS of its own, and speaks BGP with all nodes
)

var roles = []Role{RoleEtcd, RoleCalico, RoleRouter}

// Lab is a whole lab as lab.yaml describes it. It is valid and not changed after Load.
type Lab struct {
	// Files are those that it was read from: the one that was named, and the one that it extends.
	Files []string
	Name  string
	Underlay
	Machines []Machine // in the file's order
	Network  string    // name of the CNI network
	BGP      BGP
	Pool     Pool
	Plugins  Plugins
	Versions Versions
	Bundle   string // where what machines are made of is taken from: a file, a directory, a URL; "" where it is made
	Vagrant  Vagrant
	// Allowed are the releases that a pin may be changed to, by the pin's name. A pin that isn't there may be changed to anything.
	Allowed map[string]version.Constraints
}

// Machine is one machine of the lab.
type Machine struct {
	Name    string // also its host name
	Role    Role
	Address netip.Addr // on the underlay
	AS      uint32     // of a router; nodes have BGP.AS
	Memory  int        // of a virtual machine, in MB
	CPUs    int        // of a virtual machine
	SSH     SSH        // of a machine that exists already
	// Workloads are those of a Calico node.
	Workloads Workloads
}

// Workloads are how many of a node's there are, and what labels each has.
type Workloads struct {
	Count  int
	Labels map[string]string
}

// SSH is how a machine is reached that the lab didn't make. What is "" or 0 has a default: see package machine/ssh.
type SSH struct {
	Address string `json:"address,omitempty"` // host name or address; the machine's address on the underlay
	Port    int    `json:"port,omitempty"`
	User    string `json:"user,omitempty"`
	Key     string `json:"key,omitempty"`     // file of a private key
	HostKey string `json:"hostKey,omitempty"` // as in known_hosts, without the name: "ssh-ed25519 AAAA..."
}

// BGP is who speaks BGP with whom.
type BGP struct {
	AS         uint32   // of the nodes; 0 is Calico's own, DefaultAS
	Mesh       bool     // whether every node has a session with every other, but for reflectors
	Reflectors []string // names of nodes that have a session with every node, and pass on what they learn
}

// DefaultAS is the AS number that Calico gives nodes where nobody says one.
const DefaultAS = 64512

// Number is the nodes' AS number.
func (b BGP) Number() uint32 { return cmp.Or(b.AS, DefaultAS) }

// Reflects says whether a machine is a route reflector.
func (b BGP) Reflects(machine string) bool { return slices.Contains(b.Reflectors, machine) }

// Pool is the IP pool that workloads get their addresses from.
type Pool struct {
	Name        string
	CIDR        netip.Prefix
	BlockSize   int    // prefix length of the blocks that nodes allocate addresses from, in bits
	IPIPMode    string // Never, or what Calico calls the others
	VXLANMode   string // Never, Always or CrossSubnet
	NATOutgoing bool
	Disabled    bool
}

// VXLAN modes of a pool, as Calico calls them.
const (
	VXLANNever       = "Never"
	VXLANAlways      = "Always"
	VXLANCrossSubnet = "CrossSubnet" // only to nodes that aren't in the sender's own subnet
)

// Versions pins what the lab is made of beside the components that are compiled.
type Versions struct {
	Debian string           // release name
	Go     *version.Version // toolchain on the Calico nodes
	Source string           // Compile, or Release
}

// Where calicoctl, the reference plugins, etcd and calico-node come from.
const (
	Compile = "compile"
	Release = "release" // as their projects do it with a release
)

// OwnBox is what Vagrant calls the box that the lab makes itself.
const OwnBox = "calico-cni-lab"

// Vagrant is what the virtual machines are made with. A constraint that is nil lets every version pass.
type Vagrant struct {
	Box        string
	BoxVersion string // "" is the newest that is installed
	Version    version.Constraints
	Libvirt    version.Constraints // of the plugin
	VirtualBox version.Constraints
}

// What the Vagrantfile takes where a machine of lab.yaml has neither, too.
const (
	defaultMemory = 512 // MB
	defaultCPUs   = 1
)

// Workloads of a Calico node.
const (
	defaultWorkloads = 1
	// cnitool tells the workloads of a node apart by three hexadecimal digits of a hash. With so many, one in sixteen is taken.
	maxWorkloads = 250
)

// ByRole returns the machines of one role, in the file's order.
func (l *Lab) ByRole(r Role) []Machine {
	return slices.DeleteFunc(slices.Clone(l.Machines), func(m Machine) bool { return m.Role != r })
}

// Members are the machines that run the datastore: an etcd member each.
func (l *Lab) Members() []Machine { return l.ByRole(RoleEtcd) }

// Etcd is the first of them, where a person asks the datastore.
func (l *Lab) Etcd() Machine { return l.Members()[0] }

// Routers are the machines that every node has as a BGP peer, beside other nodes.
func (l *Lab) Routers() []Machine { return l.ByRole(RoleRouter) }

// Machine finds a machine by its name.
func (l *Lab) Machine(name string) (Machine, bool) {
	i := slices.IndexFunc(l.Machines, func(m Machine) bool { return m.Name == name })
	if i < 0 {
		return Machine{}, false
	}
	return l.Machines[i], true
}

// Names of all machines, in the file's order.
func (l *Lab) Names() []string {
	var names []string
	for _, m := range l.Machines {
		names = append(names, m.Name)
	}
	return names
}
