package fact

import (
	"net/netip"
	"slices"
)

// Process is a program that runs in the machine's own network namespace.
type Process struct {
	PID       int    `json:"pid"`                 // 0: nobody knows
	Name      string `json:"name,omitempty"`      // as ps shows it: bird
	Container string `json:"container,omitempty"` // ID of the container that it is in, of whatever runtime; "": in none
}

// Listener is a TCP port that somebody listens on.
type Listener struct {
	Address netip.AddrPort `json:"address"`
	Process Process        `json:"process"`
}

// Rival is a program that keeps routes, interfaces or firewall rules in its own way, as Calico does.
type Rival struct {
	Product string  `json:"product"`        // one of the Products
	Process Process `json:"process"`        // zero where it doesn't run
	Unit    string  `json:"unit,omitempty"` // of systemd's, which starts it at boot
}

// Products are the rivals that the look program knows.
const (
	Calico         = "Calico"
	Kubernetes     = "Kubernetes"
	BIRDDaemon     = "BIRD"
	FRR            = "FRR"
	Firewalld      = "firewalld"
	UFW            = "ufw"
	NetworkManager = "NetworkManager" // without an exception for Calico's interfaces
)

// Volume is a Docker volume.
type Volume struct {
	Name   string
	Labels map[string]string
}

// Ours says whether a process is in one of the lab's containers. known is false where Docker has to be asked for that, and doesn't
// answer.
func (m Machine) Ours(p Process) (ours, known bool) {
	if p.Container == "" {
		return false, true
	}
	if c, ok := m.container(p.Container); ok {
		return c.Config.Labels[LabelPart] != "", true
	}
	return false, m.Docker.Unknown == ""
}

// Unlisted says whether a process is in a container that isn't among Docker's.
func (m Machine) Unlisted() bool {
	unlisted := func(p Process) bool {
		_, ok := m.container(p.Container)
		return p.Container != "" && !ok
	}
	return m.Docker.Unknown == "" &&
		(slices.ContainsFunc(m.Rivals.Value, func(r Rival) bool { return unlisted(r.Process) }) ||
			slices.ContainsFunc(m.Listeners.Value, func(l Listener) bool { return unlisted(l.Process) }))
}

func (m Machine) container(id string) (Container, bool) {
	all := m.Docker.Value.Containers
	if i := slices.IndexFunc(all, func(c Container) bool { return c.ID == id }); i >= 0 {
		return all[i], true
	}
	return Container{}, false
}
