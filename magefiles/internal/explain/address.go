package explain

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/big"
	"math/rand"
	"net/netip"
	"slices"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
)

func address(_ context.Context, l *Lab, args []string) (Story, error) {
	if p, err := netip.ParsePrefix(args[0]); err == nil && p.Addr().Is4() && p.Bits() < 32 {
		return l.network(p.Masked())
	}
	a, err := netip.ParseAddr(strings.TrimSuffix(args[0], "/32"))
	if err != nil {
		p, errPlace := l.Place(args[0])
		if errPlace != nil {
			return Story{}, fmt.Errorf("%w; or say an address, such as 10.1.0.1", errPlace)
		}
		a = p.Address
	}
	if !a.Is4() {
		return Story{}, fmt.Errorf("%s: the lab has IPv4 addresses only", a)
	}
	w := &writer{}
	d := l.Facts.Datastore
	if d.Unknown != "" {
		w.unknown("whose %s is; the datastore can't be read: %s.", a, d.Unknown).by(l.etcd(), fact.EtcdHealth.Command())
		w.answers("The datastore can't be read.")
		return w.story, nil
	}
	if m := l.owner(a); m != "" {
		l.machineAddress(w, a, m)
		return w.story, nil
	}
	pool, ok := poolOf(d.Value.Pools, a)
	if !ok {
		l.outside(w, a)
		return w.story, nil
	}
	w.part("Where it comes from")
	l.pool(w, a.String(), pool)
	block, ok := blockOf(d.Value.Blocks, a)
	if !ok {
		l.noBlock(w, a, pool)
		return w.story, nil
	}
	l.block(w, block, pool)
	if !block.Assigned(a) {
		l.nobody(w, a, block)
		return w.story, nil
	}
	l.holder(w, a, block)
	return w.story, nil
}

// network explains a block, as a prefix.
func (l *Lab) network(p netip.Prefix) (Story, error) {
	w := &writer{}
	for _, b := range l.Facts.Datastore.Value.Blocks {
		if b.CIDR != p {
			continue
		}
		pool, _ := poolOf(l.Facts.Datastore.Value.Pools, p.Addr())
		w.answers("%s is a block of %s: %d of its addresses are in use, %d free.", p, nobodyOr(b.Node), len(b.Used), b.Free)
		l.pool(w, p.String(), pool)
		l.block(w, b, pool)
		for _, a := range b.Used {
			w.say("%s has %s.", l.whose(a), a)
		}
		return w.story, nil
	}
	for _, pool := range l.Facts.Datastore.Value.Pools {
		if pool.CIDR == p {
			w.answers("%s is IP pool %s.", p, pool.Name)
			l.pool(w, "It", pool)
			return w.story, nil
		}
	}
	var blocks []string
	for _, b := range l.Facts.Datastore.Value.Blocks {
		blocks = append(blocks, b.CIDR.String())
	}
	return Story{}, unknown("there is no pool and no block", p.String(), blocks)
}

func (l *Lab) whose(a netip.Addr) string {
	for _, x := range l.Workloads() {
		if x.Address == a {
			return x.Name
		}
	}
	return "somebody who isn't a workload that runs"
}

func poolOf(all []fact.Pool, a netip.Addr) (fact.Pool, bool) {
	i := slices.IndexFunc(all, func(p fact.Pool) bool { return p.CIDR.Contains(a) })
	if i < 0 {
		return fact.Pool{}, false
	}
	return all[i], true
}

func blockOf(all []fact.Block, a netip.Addr) (fact.Block, bool) {
	i := slices.IndexFunc(all, func(b fact.Block) bool { return b.CIDR.Contains(a) })
	if i < 0 {
		return fact.Block{}, false
	}
	return all[i], true
}

func nobodyOr(node string) string {
	if node == "" {
		return "no node"
	}
	return node
}

func (l *Lab) machineAddress(w *writer, a netip.Addr, m string) {
	w.answers("%s is machine %s's own address; Calico didn't give it away.", a, m)
	seen := l.Facts.Machines[m]
	if link, ok := seen.LinkWith(a); ok {
		var prefix netip.Prefix
		for _, p := range link.Addresses {
			if p.Addr() == a {
				prefix = p
			}
		}
		w.say("It is on %s's interface %s.", m, link.Name).saw(fmt.Sprintf("%s: %s, %s", link.Name, prefix, link.MAC)).by(m, "ip address show "+link.Name)
	} else {
		w.unknown("on which interface it is; lab.yaml gives it to %s.", m).by(m, fact.Links.Command())
	}
	if l.Has(a) {
		w.say("It is in the underlay, %s, on which the machines speak BGP and which carries the workloads' packets.", l.SubnetOf(a))
	}
	for _, n := range l.Facts.Datastore.Value.Nodes {
		if n.Address.Addr() == a {
			w.say("Calico has it as the address of node %s: other nodes speak BGP with it, and their routes to its blocks lead via it.", n.Name).
				saw(n.Name+" "+n.Address.String()).by(l.etcd(), fact.Nodes.Command())
		}
	}
}

func (l *Lab) outside(w *writer, a netip.Addr) {
	var pools []string
	for _, p := range l.Facts.Datastore.Value.Pools {
		pools = append(pools, p.Name+" "+p.CIDR.String())
	}
	w.answers("%s is in no IP pool: Calico has nothing to do with it.", a)
	w.say("It is outside of every IP pool, so no workload can have it.").saw(pools...).by(l.etcd(), fact.Pools.Command())
	if a == l.Gateway() {
		w.say("It is the first address of the underlay %s: the gateway that the machines' default routes lead to. In a lab of nspawn containers the bridge between them has it, and there is nothing behind.", l.Subnet)
		return
	}
	if l.Has(a) {
		w.say("It is in the underlay %s, and no machine of the lab has it.", l.SubnetOf(a))
		return
	}
	nat := slices.ContainsFunc(l.Facts.Datastore.Value.Pools, func(p fact.Pool) bool { return p.NATOutgoing })
	if nat {
		w.say("A packet to it from a workload leaves its machine by the default route, and under the machine's own address: the pool has natOutgoing, and the address is in no pool.").by(l.etcd(), fact.Pools.Command())
	} else {
		w.say("A packet to it from a workload leaves its machine by the default route, under the workload's own address: no pool has natOutgoing.").by(l.etcd(), fact.Pools.Command())
	}
}

func (l *Lab) pool(w *writer, what string, p fact.Pool) {
	n := ""
	if p.Disabled {
		n = " It is disabled: nobody new gets an address of it."
	}
	w.say("%s is in IP pool %s, which is cut into blocks of /%d, %d addresses each.%s", what, p.Name, p.BlockSize, 1<<(32-p.BlockSize), n).
		saw(fmt.Sprintf("%s %s blockSize %d natOutgoing %t", p.Name, p.CIDR, p.BlockSize, p.NATOutgoing)).by(l.etcd(), fact.Pools.Command())
}

// firstBlock is where Calico's IPAM begins to search for a block for a node: at a number that a generator seeded with a hash of
// the node's name draws (libcalico-go/lib/ipam, randomBlockGenerator), so it is the same each time.
func firstBlock(p fact.Pool, node string) netip.Prefix {
	if p.BlockSize >= 32 || p.BlockSize < p.CIDR.Bits() {
		return netip.Prefix{}
	}
	h := fnv.New32()
	_, _ = h.Write([]byte(node)) // it never fails
	blocks := big.NewInt(int64(1) << (p.BlockSize - p.CIDR.Bits()))
	n := new(big.Int).Rand(rand.New(rand.NewSource(int64(h.Sum32()))), blocks) // the generator that Calico uses
	base := p.CIDR.Masked().Addr().As4()
	first := new(big.Int).SetBytes(base[:])
	first.Add(first, n.Lsh(n, uint(32-p.BlockSize)))
	var b [4]byte
	first.FillBytes(b[:])
	return netip.PrefixFrom(netip.AddrFrom4(b), p.BlockSize)
}

func (l *Lab) block(w *writer, b fact.Block, p fact.Pool) {
	if b.Node == "" {
		w.say("Block %s belongs to no node any more.", b.CIDR).by(l.etcd(), fact.Blocks.Command())
		return
	}
	state := "without an affinity, which is wrong"
	for _, a := range l.Facts.Datastore.Value.Affinities {
		if a.Block == b.CIDR && a.Node == b.Node {
			state = "affinity " + a.State
		}
	}
	w.say("%s holds the block %s: it has an affinity for it, and gives its workloads addresses of it.", b.Node, b.CIDR).
		saw(fmt.Sprintf("%s host:%s, %s, %d in use, %d free", b.CIDR, b.Node, state, len(b.Used), b.Free)).by(l.etcd(), fact.Blocks.Command())
	switch first := firstBlock(p, b.Node); {
	case first == b.CIDR:
		w.say("Why this block: Calico begins to search at a block that a hash of the node's name picks, and for the name %s that is this one. So every lab with a node of this name and this pool has the same.", b.Node).
			saw(fmt.Sprintf("fnv32(%q) seeds the draw of one of %d blocks: %s", b.Node, 1<<(p.BlockSize-p.CIDR.Bits()), first))
	case first.IsValid():
		w.say("Why this block: the search for a block begins at %s for the name %s, and goes on to the next one that is free; it was not the first.", first, b.Node)
	}
	for _, r := range l.Facts.Machines[b.Node].Routes.Value {
		if r.To == b.CIDR && r.Type == "blackhole" {
			w.say("%s has a blackhole route for the whole block. That is normal: a packet to an address of it that nobody has ends there, instead of going back out by the default route. Addresses in use have longer routes, which win.", b.Node).
				saw(r.String()).by(b.Node, "ip route show "+b.CIDR.String())
		}
	}
}

func (l *Lab) noBlock(w *writer, a netip.Addr, p fact.Pool) {
	block := netip.PrefixFrom(a, p.BlockSize).Masked()
	w.answers("Nobody has %s, and no node has taken its block %s.", a, block)
	w.say("No node holds its block, %s, so nobody can have it yet.", block).by(l.etcd(), fact.Blocks.Command())
	for _, n := range l.ByRole(lab.RoleCalico) {
		if firstBlock(p, n.Name) == block {
			w.say("It is the block at which Calico begins to search for %s: that node takes it with its first workload.", n.Name)
		}
	}
	w.say("No node announces it. A packet to it takes the default route, and is lost behind it.")
}

func (l *Lab) nobody(w *writer, a netip.Addr, b fact.Block) {
	w.part("Who has it")
	w.answers("Nobody has %s. It is free in block %s of %s.", a, b.CIDR, nobodyOr(b.Node))
	s := w.say("Nobody has it: it is one of the block's %d free addresses.", b.Free).by(l.etcd(), "sudo calicoctl ipam show --ip="+a.String())
	for _, f := range l.Facts.Resources.Value.Free {
		if n := slices.Index(f.Next, a); n >= 0 {
			s.saw(fmt.Sprintf("number %d of %d in the list of free addresses", n+1, len(f.Next)))
			w.say("Addresses are given away from the front of that list, and go back to its end: the next workload on %s gets %s.", b.Node, f.Next[0])
		}
	}
	if b.Node != "" {
		w.say("A packet to it goes to %s all the same, as the whole block is announced, and ends in the blackhole route there, without an answer.", b.Node).by(b.Node, "ip route show "+b.CIDR.String())
	}
}

func (l *Lab) holder(w *writer, a netip.Addr, b fact.Block) {
	w.part("Who has it")
	alloc, known := l.Facts.Resources.Value.Allocation(a)
	if known {
		s := w.say("Calico's IPAM wrote down who asked for it, under a handle: with it `cnitool del` gives the address back.").saw("handle " + alloc.Handle)
		for _, k := range []string{"node", "namespace", "pod", "timestamp"} {
			if v := alloc.Attributes[k]; v != "" {
				s.saw(k + " " + v)
			}
		}
		s.by(l.etcd(), "sudo calicoctl ipam show --ip="+a.String())
	} else {
		w.unknown("under which handle; %s.", l.Facts.Resources.Unknown)
	}
	place, workload := -1, Workload{}
	for i, x := range l.Workloads() {
		if x.Address == a {
			place, workload = i, x
		}
	}
	for _, e := range l.Facts.Datastore.Value.Endpoints {
		if !slices.Contains(e.Addresses, netip.PrefixFrom(a, 32)) {
			continue
		}
		w.say("Workload endpoint %s has it: Felix on %s makes its route and its packet filter from that.", e.Name, e.Node).
			saw(fmt.Sprintf("%s, interface %s, profile %s", e.Node, e.Interface, strings.Join(e.Profiles, ", "))).by(l.etcd(), fact.Endpoints.Command())
		if place < 0 {
			w.wrong("No workload that runs on %s has it: the endpoint is left over.", e.Node).by(e.Node, fact.Attachments.Command())
		}
		if e.Node != b.Node && b.Node != "" {
			w.say("%s borrowed it: the block is %s's, so a route for this one address, longer than the block's, leads to %s.", e.Node, b.Node, e.Node)
		}
	}
	if place < 0 {
		w.answers("%s is taken, but no workload that runs has it: it has leaked.", a)
		w.wrong("Nothing that runs has it: it has leaked. Give it back with the command below.").by(l.etcd(), "sudo calicoctl ipam release --ip="+a.String())
		return
	}
	whose := workload.Name + "'s"
	if workload.Container == "" {
		whose = "in the network namespace " + workload.Sandbox + " on " + workload.Machine
	}
	w.answers("%s is %s, from block %s of %s.", a, whose, b.CIDR, nobodyOr(b.Node))
	m := l.Facts.Machines[workload.Machine]
	s := w.say("In the workload it is on eth0; the other end of that pair is %s on %s.", workload.Interface, workload.Machine).
		by(workload.Machine, l.exec(workload.Machine, workload.Sandbox, "ip address show eth0"))
	for _, sandbox := range m.Sandboxes.Value {
		if link, ok := sandbox.Link("eth0"); ok && sandbox.Key == workload.Sandbox {
			s.saw(fmt.Sprintf("eth0 %v %s", link.Addresses, link.MAC))
		}
	}
	if workload.Endpoint == "" {
		w.wrong("No workload endpoint has it, so Felix knows nothing of this workload.").by(l.etcd(), fact.Endpoints.Command())
	}
	w.part("Why this one")
	n := number(b.CIDR, a)
	w.say("It is address number %d of the block's %d. A new block gives its addresses away in order, the first one first; one that is given back goes to the end of the list, so after a restart a workload gets the next.", n+1, 1<<(32-b.CIDR.Bits())).by(l.etcd(), "sudo calicoctl ipam show --show-blocks")
}

func number(block netip.Prefix, a netip.Addr) int {
	x, y := a.As4(), block.Masked().Addr().As4()
	return int(new(big.Int).Sub(new(big.Int).SetBytes(x[:]), new(big.Int).SetBytes(y[:])).Int64())
}
