package fact

import (
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"
)

// Machine is everything that one look at a machine found.
type Machine struct {
	At          time.Time             `json:"at"`
	Took        time.Duration         `json:"took"` // on the machine
	Login       Login                 `json:"login"`
	Mark        Seen[string]          `json:"mark"`      // of the lab that it belongs to, where it existed before that; "": none
	Rivals      Seen[[]Rival]         `json:"rivals"`    // on a machine that existed before the lab, and
	Listeners   Seen[[]Listener]      `json:"listeners"` // on the lab's ports there
	Links       Seen[[]Link]          `json:"links"`
	Routes      Seen[[]Route]         `json:"routes"` // IPv4, main table
	Neighbours  Seen[[]Neighbour]     `json:"neighbours"`
	Forwarding  Seen[bool]            `json:"forwarding"` // net.ipv4.ip_forward
	Docker      Seen[Docker]          `json:"docker"`
	BIRD        Seen[BIRD]            `json:"bird"`
	Felix       Seen[Health]          `json:"felix"`
	MTU         Seen[int]             `json:"mtu,omitzero"`     // that workloads are to have, by Felix; 0: it hasn't said
	Etcd        Seen[Health]          `json:"etcd"`             // as it answers this machine
	Dialled     Seen[[]Dialled]       `json:"dialled,omitzero"` // etcd's addresses, from a Calico node
	Auth        Seen[Auth]            `json:"auth"`             // what etcd lets its clients do
	Members     Seen[[]Member]        `json:"members,omitzero"`
	Dropping    Seen[[]Rule]          `json:"dropping,omitzero"` // rules of the packet filter that have dropped packets of the machine's own, where BGP or etcd isn't well
	Files       Seen[map[string]File] `json:"files"`
	Go          Seen[Tree]            `json:"go"`    // /usr/local/go
	Owned       Seen[[]string]        `json:"owned"` // paths that the lab noted as its own before it made them
	Attachments Seen[[]Attachment]    `json:"attachments"`
	Sandboxes   Seen[[]Sandbox]       `json:"sandboxes"`
	Lacks       []string              `json:"lacks,omitempty"` // packages of Debian's whose programs are missing
	Datastore   Seen[[]KeyValue]      `json:"datastore"`       // what etcd has below /calico/
	Deep        Seen[Deep]            `json:"deep,omitzero"`
}

// Login is the user that the machine was entered as.
type Login struct {
	User  string `json:"user"`
	Group string `json:"group"`
	Home  string `json:"home"`
}

// Cnitool is where cnitool is for the login user: where `go install` puts it, as in the tutorial.
func (l Login) Cnitool() string { return path.Join(l.Home, "go/bin/cnitool") }

// Link is a network interface (rtnetlink(7)).
type Link struct {
	Name      string         `json:"name"`
	Type      string         `json:"type"` // veth, bridge, device, ...
	MAC       string         `json:"mac,omitempty"`
	MTU       int            `json:"mtu"`
	Up        bool           `json:"up"` // administratively
	Addresses []netip.Prefix `json:"addresses,omitempty"`
}

// Route is an entry of the main routing table.
type Route struct {
	Type     string       `json:"type,omitempty"` // blackhole, unreachable, ...; "" is unicast
	To       netip.Prefix `json:"to"`             // 0.0.0.0/0 is the default route
	Via      netip.Addr   `json:"via,omitzero"`
	Dev      string       `json:"dev,omitempty"`
	Protocol string       `json:"protocol,omitempty"` // who programmed it: bird, kernel, static, boot, ...
	Metric   int          `json:"metric,omitempty"`
	Scope    string       `json:"scope,omitempty"` // link or host; "" is global
	Src      netip.Addr   `json:"src,omitzero"`    // the address that packets are sent from
}

// String writes the route as `ip route` does.
func (r Route) String() string {
	to := r.To.String()
	switch {
	case r.To.Bits() == 0:
		to = "default"
	case r.To.IsSingleIP():
		to = r.To.Addr().String()
	}
	parts := []string{r.Type, to}
	if r.Via.IsValid() {
		parts = append(parts, "via", r.Via.String())
	}
	if r.Dev != "" {
		parts = append(parts, "dev", r.Dev)
	}
	if r.Protocol != "" && r.Protocol != "boot" {
		parts = append(parts, "proto", r.Protocol)
	}
	return strings.TrimSpace(strings.Join(parts, " "))
}

// Neighbour is an entry of the ARP cache.
type Neighbour struct {
	Address netip.Addr `json:"address"`
	MAC     string     `json:"mac,omitempty"`
	Dev     string     `json:"dev"`
	State   string     `json:"state"` // reachable, stale, failed, ...
}

// Docker is the machine's Docker Engine.
type Docker struct {
	Version    string            `json:"version"`
	Containers []Container       `json:"containers"`
	Images     map[string]string `json:"images"` // repository:tag to the image's label LabelImage, "" on those that aren't the lab's
	Volumes    []Volume          `json:"volumes"`
	Full       bool              `json:"full,omitempty"` // its disk has no room for a container, and Docker's own errors hide that
}

// Part returns the containers that carry the lab's label for a part.
func (d Docker) Part(part string) []Container {
	return slices.DeleteFunc(slices.Clone(d.Containers), func(c Container) bool { return c.Config.Labels[LabelPart] != part })
}

// Named finds a container by its name, as `docker ps` shows it.
func (d Docker) Named(name string) (Container, bool) {
	i := slices.IndexFunc(d.Containers, func(c Container) bool { return c.Name == "/"+name })
	if i < 0 {
		return Container{}, false
	}
	return d.Containers[i], true
}

// Labels that the lab's containers carry, whoever starts them.
const (
	LabelPart  = "calico-cni-lab.part"  // which of the lab's containers it is, whatever its name
	LabelImage = "calico-cni-lab.image" // of an image and its containers: the image's ID as it was made; Docker's own differs from store to store
	LabelCA    = "calico-cni-lab.ca"    // SHA-256 of the file of the authority's certificate that a container trusts
)

// Container is what the lab reads of a container (Docker Engine API, ContainerInspect).
type Container struct {
	ID    string `json:"Id"`
	Name  string // with a slash before it, as Docker has it
	State struct {
		Status    string // running, exited, created, ...
		Pid       int
		StartedAt string
		ExitCode  int
	}
	RestartCount int
	Config       struct {
		Hostname    string
		Image       string
		Env, Cmd    []string
		Labels      map[string]string
		StopTimeout int
	}
	HostConfig struct {
		NetworkMode                             string
		RestartPolicy                           struct{ Name string }
		Binds, CapAdd, SecurityOpt, MaskedPaths []string
		Init                                    bool
	}
	NetworkSettings struct{ SandboxKey string }
}

// BIRD is what BIRD says at its control socket.
type BIRD struct {
	Version   string     `json:"version"`
	Protocols []Protocol `json:"protocols"`
}

// Protocol is one of BIRD's protocols: `birdcl show protocols`.
type Protocol struct {
	Name  string `json:"name"`           // Mesh_192_168_4_6, Global_..., Node_..., kernel1
	Proto string `json:"proto"`          // BGP, Kernel, Device, Direct, Static
	State string `json:"state"`          // up, start, down
	Since string `json:"since"`          // a time of day, or a date
	Info  string `json:"info,omitempty"` // of a BGP session: Established, Active, Connect, ...
}

// Established says whether a BGP session exchanges routes.
func (p Protocol) Established() bool {
	return p.State == "up" && strings.HasPrefix(p.Info, "Established")
}

// Peer is the neighbour of a BGP session, from the name that confd gives it: Mesh_192_168_4_6
func (p Protocol) Peer() netip.Addr {
	_, rest, ok := strings.Cut(p.Name, "_")
	if !ok || p.Proto != "BGP" {
		return netip.Addr{}
	}
	rest, _, _ = strings.Cut(rest, "_port_")
	a, _ := netip.ParseAddr(strings.ReplaceAll(rest, "_", "."))
	return a
}

// Health is what a program answers about itself over HTTP.
type Health struct {
	OK      bool   `json:"ok"`
	Said    string `json:"said"`
	Version string `json:"version,omitempty"`
}

// Dialled is what came of a TCP connection to an address.
type Dialled struct {
	To   netip.AddrPort `json:"to"`
	Said string         `json:"said,omitempty"` // why there was none; "" is that it was made
	// Refused says that the packets arrive, and nobody listens.
	Refused bool `json:"refused,omitempty"`
}

// Member is a member of etcd's cluster, as the cluster knows it.
type Member struct {
	ID      string `json:"id"`   // in hex, as etcdctl shows it
	Name    string `json:"name"` // "" until it has been started
	Peer    string `json:"peer"` // URL
	Client  string `json:"client,omitempty"`
	Learner bool   `json:"learner,omitempty"` // it gets the data, and doesn't vote yet
	Leader  bool   `json:"leader,omitempty"`
}

// Auth is what etcd lets its clients do.
type Auth struct {
	Enabled bool                `json:"enabled"` // otherwise everybody with a certificate may do everything
	Users   map[string][]string `json:"users"`   // the roles of each, who is known by the common name of his certificate
	Roles   map[string][]Grant  `json:"roles"`   // sorted by key
}

// Grant lets a role read all keys from one up to another, and write them.
type Grant struct {
	Key   string `json:"key"`
	End   string `json:"end"`
	Write bool   `json:"write,omitempty"`
}

// Below is the grant for all keys with a prefix.
func Below(prefix string, write bool) Grant {
	last := len(prefix) - 1
	return Grant{Key: prefix, End: prefix[:last] + string(prefix[last]+1), Write: write}
}

// File is a file, a symbolic link or a directory.
type File struct {
	SHA256 string `json:"sha256,omitempty"` // of a regular file, in hex
	Mode   string `json:"mode"`             // permission bits in octal
	Owner  string `json:"owner"`            // user:group
	Link   string `json:"link,omitempty"`   // target of a symbolic link
	Dir    bool   `json:"dir,omitempty"`
}

// Tree is a Go toolchain's directory.
type Tree struct {
	Version string `json:"version"` // as in its file VERSION: go1.26.8; "" where there is none
	Files   int    `json:"files"`   // how many files are in it
}

// Link finds an interface by its name.
func (s Sandbox) Link(name string) (Link, bool) { return link(s.Links, name) }

func link(links []Link, name string) (Link, bool) {
	i := slices.IndexFunc(links, func(l Link) bool { return l.Name == name })
	if i < 0 {
		return Link{}, false
	}
	return links[i], true
}

// Link finds an interface of the machine by its name.
func (m Machine) Link(name string) (Link, bool) { return link(m.Links.Value, name) }

// LinkWith finds the interface that has an address.
func (m Machine) LinkWith(a netip.Addr) (Link, bool) {
	i := slices.IndexFunc(m.Links.Value, func(l Link) bool {
		return slices.ContainsFunc(l.Addresses, func(p netip.Prefix) bool { return p.Addr() == a })
	})
	if i < 0 {
		return Link{}, false
	}
	return m.Links.Value[i], true
}

// The lab's containers, by the value of LabelPart.
const (
	PartEtcd     = "etcd"
	PartNode     = "calico-node"
	PartWorkload = "workload"
	PartRouter   = "router"
)
