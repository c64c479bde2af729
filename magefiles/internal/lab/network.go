package lab

import (
	"cmp"
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/nearest"
)

func (v *validator) bgp(raw *rawBGP, l *Lab) {
	l.BGP.AS = v.asNumber(raw.AS, "bgp.asNumber")
	seen := map[string]int{}
	for _, s := range raw.Reflectors {
		m, ok := l.Machine(s.Value)
		switch {
		case s.bad:
		case seen[s.Value] > 0:
			v.fault(s.Line, "bgp.reflectors: %s: duplicate of line %d", s.Value, v.line(seen[s.Value]))
		case !ok:
			near := "; there are " + strings.Join(l.nodes(), ", ")
			if names := nearest.Of(s.Value, l.nodes()); len(names) > 0 {
				near = fmt.Sprintf("; did you mean %q?", names[0])
			}
			v.fault(s.Line, "bgp.reflectors: there is no machine %q%s", s.Value, near)
		case m.Role != RoleCalico:
			v.fault(s.Line, "bgp.reflectors: %s has role %s; only machines with role %s reflect routes", s.Value, m.Role, RoleCalico)
		}
		seen[s.Value] = s.Line
		l.BGP.Reflectors = append(l.BGP.Reflectors, s.Value)
	}
	l.BGP.Mesh = len(raw.Reflectors) == 0
	if raw.Mesh.Value != "" {
		l.BGP.Mesh = v.bool(raw.Mesh, "bgp.mesh")
	}
	if !l.BGP.Mesh && len(raw.Reflectors) == 0 && !raw.Mesh.bad {
		v.fault(raw.Mesh.Line, "bgp.mesh false: no node would have a BGP session, and no workload would reach another node; name reflectors, such as bgp.reflectors: [%s]", cmp.Or(strings.Join(l.nodes()[:min(1, len(l.nodes()))], ""), "calico1"))
	}
}

// routers wants them in another AS than the nodes: within one AS nobody tells on what a peer told. One that has a subnet behind it is alone:
// sessions with routers are with neighbours, and a node behind another one is none.
func (v *validator) routers(raw *rawLab, l *Lab) {
	nodes := l.BGP.Number()
	for i, rm := range raw.Machines {
		key := fmt.Sprintf("machines[%d].asNumber", i)
		switch {
		case rm.Role.Value != string(RoleRouter) || rm.AS.bad:
		case rm.AS.Value == "":
			v.fault(cmp.Or(rm.AS.Line, rm.Role.Line), "%s is missing: a router is in an AS of its own; write for example: asNumber: %d", key, nodes+1)
		case rm.AS.Value == strconv.FormatUint(uint64(nodes), 10):
			v.fault(rm.AS.Line, "%s %d is the nodes' own (bgp.asNumber, or %d); write another one, such as %d", key, nodes, DefaultAS, nodes+1)
		}
		if n := len(l.Routers()); n > 1 && rm.Behind.Value != "" {
			v.fault(rm.Behind.Line, "machines[%d].behind: there are %d routers, and none but this one would have a session with a node behind it; leave the others out", i, n)
		}
	}
}

// nodes are the names of the Calico nodes.
func (l *Lab) nodes() (names []string) {
	for _, m := range l.ByRole(RoleCalico) {
		names = append(names, m.Name)
	}
	return names
}

// reservedAS are numbers that no network has (https://www.iana.org/assignments/iana-as-numbers-special-registry).
var reservedAS = []uint32{0, 23456, 65535, 4294967295}

func (v *validator) asNumber(s scalar, key string) uint32 {
	if s.Value == "" || s.bad {
		return 0
	}
	n, err := strconv.ParseUint(s.Value, 10, 32)
	if err != nil || strconv.FormatUint(n, 10) != s.Value {
		v.fault(s.Line, "%s %q: expected a number from 1 to 4294967294; the private ones are 64512 to 65534 and 4200000000 to 4294967294", key, s.Value)
		return 0
	}
	if slices.Contains(reservedAS, uint32(n)) {
		v.fault(s.Line, "%s %d is reserved; write a private one, from 64512 to 65534 or from 4200000000 to 4294967294", key, n)
	}
	return uint32(n)
}

func (v *validator) pool(raw *rawPool, l *Lab) {
	p := &l.Pool
	p.Name = v.name(raw.Name, "pool.name", objectName, 253, raw.CIDR)
	p.CIDR = v.prefix(raw.CIDR, "pool.cidr", raw.Name)
	v.clash(raw.CIDR.Line, "pool.cidr", p.CIDR, "the underlay", l.Subnet)
	v.clash(raw.CIDR.Line, "pool.cidr", p.CIDR, "which is behind a router", l.Behind)
	v.clash(raw.CIDR.Line, "pool.cidr", p.CIDR, "Docker's own bridge on every machine", dockerBridge)
	if v.have(raw.BlockSize, "pool.blockSize", raw.CIDR, raw.Name) {
		p.BlockSize = v.blockSize(raw.BlockSize, p.CIDR, l.ByRole(RoleCalico))
	}
	p.IPIPMode = raw.IPIPMode.Value
	// An IPIP pool needs Calico's fork of BIRD (the krt_tunnel attribute); the lab's image has Debian's.
	if v.have(raw.IPIPMode, "pool.ipipMode", raw.CIDR, raw.Name) && p.IPIPMode != "Never" {
		v.fault(raw.IPIPMode.Line, "pool.ipipMode %q: the lab's image can only do Never; see docs/differences.md", p.IPIPMode)
	}
	p.VXLANMode = cmp.Or(raw.VXLANMode.Value, VXLANNever)
	if modes := []string{VXLANNever, VXLANAlways, VXLANCrossSubnet}; !raw.VXLANMode.bad && !slices.Contains(modes, p.VXLANMode) {
		v.fault(raw.VXLANMode.Line, "pool.vxlanMode %q: expected one of: %s", p.VXLANMode, strings.Join(modes, ", "))
	}
	p.NATOutgoing = v.bool(raw.NATOutgoing, "pool.natOutgoing")
	p.Disabled = v.bool(raw.Disabled, "pool.disabled")
	if p.Disabled {
		v.fault(raw.Disabled.Line, "pool.disabled true: no workload could get an address")
	}
}

// maxBlocks is how many blocks Calico lets a node have where nobody says otherwise (libcalico-go/lib/ipam, MaxBlocksPerHost).
const maxBlocks = 20

// blockSize reads the size of the pool's blocks. Each node needs enough of its own: one that finds none left has to borrow
// single addresses from other nodes' blocks, and then routes are no longer one for each block.
func (v *validator) blockSize(s scalar, pool netip.Prefix, nodes []Machine) int {
	n, err := strconv.Atoi(s.Value)
	if err != nil || strconv.Itoa(n) != s.Value || n < minBlockSize || n > maxBlockSize {
		v.fault(s.Line, "pool.blockSize %q: expected a prefix length from %d to %d", s.Value, minBlockSize, maxBlockSize)
		return n
	}
	if !pool.IsValid() {
		return n
	}
	if n < pool.Bits() {
		v.fault(s.Line, "pool.blockSize %d: a block would be larger than the pool %s", n, pool)
		return n
	}
	blocks, needed := 1<<(n-pool.Bits()), 0
	for _, m := range nodes {
		own := max(1, (m.Workloads.Count+1<<(32-n)-1)>>(32-n))
		if needed += own; own > maxBlocks {
			v.fault(s.Line, "pool.blockSize %d: the %d workloads of %s would take %d blocks, and Calico gives a node %d; write %d or less",
				n, m.Workloads.Count, m.Name, own, maxBlocks, 32-bits.Len(uint((m.Workloads.Count-1)/maxBlocks)))
			return n
		}
	}
	of := fmt.Sprintf("for %d Calico nodes, and each needs one", len(nodes))
	if needed > len(nodes) {
		of = fmt.Sprintf("and the workloads of %d Calico nodes need %d", len(nodes), needed)
	}
	if blocks < needed {
		enough := pool.Bits() + bits.Len(uint(needed-1)) // the least n with 2^(n-pool.Bits()) >= needed
		remedy := "write a larger pool.cidr"
		if enough <= maxBlockSize && needed == len(nodes) {
			remedy = fmt.Sprintf("write %d or more, or a larger pool.cidr", enough)
		}
		plural := "s"
		if blocks == 1 {
			plural = ""
		}
		v.fault(s.Line, "pool.blockSize %d makes %d block%s of %s %s; %s", n, blocks, plural, pool, of, remedy)
	}
	return n
}
