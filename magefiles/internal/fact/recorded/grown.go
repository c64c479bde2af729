package recorded

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
)

// Grown makes a lab of n nodes of a recorded one of two, for tests of how many are drawn: each node is a copy of the recorded calico1
// with a name, an address and a block of its own, and a session with every other.
func Grown(l *lab.Lab, f *fact.Lab, n int) (*lab.Lab, *fact.Lab) {
	big, facts := *l, f.Clone()
	big.Machines = []lab.Machine{l.Etcd()}
	like, _ := l.Machine("calico1")
	was := f.Machines["calico1"]
	delete(facts.Machines, "calico1")
	delete(facts.Machines, "calico2")
	d := facts.Datastore.Value
	d.Nodes, d.Blocks, d.Affinities, d.Endpoints = nil, nil, nil, nil
	facts.Probes = nil
	address := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{192, 168, 4, byte(20 + i)}) }
	block := func(i int) netip.Prefix {
		k := (i*397 + 13) % 1024
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, byte(k >> 2), byte(k << 6)}), 26)
	}
	for i := range n {
		m := like
		m.Name, m.Address = fmt.Sprintf("calico%d", i+1), address(i)
		big.Machines = append(big.Machines, m)
		seen := was
		bird := fact.BIRD{Version: was.BIRD.Value.Version}
		var routes []fact.Route
		for j := range n {
			if j != i {
				bird.Protocols = append(bird.Protocols, fact.Protocol{Name: "Mesh_" + strings.ReplaceAll(address(j).String(), ".", "_"), Proto: "BGP", State: "up", Since: "20:53:07", Info: "Established"})
				routes = append(routes, fact.Route{To: block(j), Via: address(j), Dev: "host0", Protocol: "bird"})
			}
		}
		own := block(i).Addr()
		seen.BIRD, seen.Routes = fact.Known(bird), fact.Known(append(routes, fact.Route{To: netip.PrefixFrom(own, 32), Dev: "calicnitool-52f", Protocol: "boot"}))
		a := was.Attachments.Value[0]
		a.Result = []byte(strings.ReplaceAll(string(a.Result), was.Attachments.Value[0].Address().String(), own.String()))
		seen.Attachments = fact.Known([]fact.Attachment{a})
		facts.Machines[m.Name] = seen
		d.Nodes = append(d.Nodes, fact.Node{Name: m.Name, Address: netip.PrefixFrom(m.Address, 24)})
		d.Blocks = append(d.Blocks, fact.Block{CIDR: block(i), Node: m.Name, Free: 63, Used: []netip.Addr{own}})
		d.Affinities = append(d.Affinities, fact.Affinity{Node: m.Name, Block: block(i), State: "confirmed"})
		d.Endpoints = append(d.Endpoints, fact.Endpoint{Name: "default/" + m.Name, Node: m.Name, Interface: "calicnitool-52f", Addresses: []netip.Prefix{netip.PrefixFrom(own, 32)}})
	}
	facts.Datastore = fact.Known(d)
	return &big, &facts
}
