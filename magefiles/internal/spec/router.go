package spec

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
)

// A router's BIRD.
const (
	RouterContainer = "bird"
	birdDir         = "/etc/bird"
	birdRun         = "/run/bird"
	RouterSocket    = birdRun + "/bird.ctl" // where birdc looks for it without being told
)

// RouterDirs are the directories that Docker makes for BIRD's volumes where they aren't there.
var RouterDirs = []string{birdRun}

// RouterPeerName names the BGPPeer of a router.
func RouterPeerName(router string) string { return "calico-cni-lab.router." + router }

// router is what the template of a router's bird.conf is filled in with.
type router struct {
	Lab, Name  string
	Address    netip.Addr
	AS, NodeAS uint32
	Nodes      []routerPeer
}

type routerPeer struct {
	Name, Protocol string
	Address        netip.Addr
}

func newRouter(l *lab.Lab, m lab.Machine) router {
	r := router{Lab: l.Name, Name: m.Name, Address: m.Address, AS: m.AS, NodeAS: l.BGP.Number()}
	for _, n := range l.ByRole(lab.RoleCalico) {
		// As confd names a node's own sessions: what reads BIRD's protocols knows the peer by it.
		r.Nodes = append(r.Nodes, routerPeer{n.Name, "Node_" + strings.ReplaceAll(n.Address.String(), ".", "_"), n.Address})
	}
	return r
}

// RouterFiles are what a router's BIRD is configured by.
func (s *Spec) RouterFiles(m lab.Machine) []remote.File {
	return []remote.File{{Path: birdDir + "/bird.conf", Mode: 0o644, Content: s.rendered["bird.conf "+m.Name]}}
}

// Router is the container of a router's BIRD: Debian's, in the image that workloads have. It routes for its machine.
func (s *Spec) Router() Container {
	return Container{
		Part: fact.PartRouter, Name: RouterContainer, Image: s.Artifacts.Images.Workload,
		Network: "host", Caps: []string{"NET_ADMIN"}, Seccomp: true,
		Volumes: []string{birdDir + ":" + birdDir + ":ro", birdRun + ":" + birdRun},
		Cmd:     []string{"bird", "-f"},
	}
}

// RouterPeer has every node speak BGP with a router, which each tells its own blocks and those of the others. With the original next hops all
// say of a block that it is behind the node that has it; without, each says that it is behind itself.
func RouterPeer(m lab.Machine) Resource[PeerSpec] {
	return NewResource("BGPPeer", RouterPeerName(m.Name), PeerSpec{PeerIP: m.Address.String(), ASNumber: m.AS, KeepOriginalNextHop: true})
}

// CalicoFiles are what stage calico puts on a machine.
func (s *Spec) CalicoFiles(m lab.Machine) []remote.File {
	if m.Role == lab.RoleRouter {
		return s.RouterFiles(m)
	}
	return s.CalicoctlFiles()
}

// WithCalicoctl are the machines that have calicoctl: all but routers, which are no part of Calico.
func (s *Spec) WithCalicoctl() []lab.Machine {
	return slices.DeleteFunc(slices.Clone(s.Lab.Machines), func(m lab.Machine) bool { return m.Role == lab.RoleRouter })
}
