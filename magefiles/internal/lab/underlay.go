package lab

import "net/netip"

// Underlay is the machines' own network: a subnet, and perhaps a second one behind a router, which has an address in each.
type Underlay struct {
	Subnet netip.Prefix `json:"subnet"`
	Behind netip.Prefix `json:"behind,omitzero"` // its first address is the router's, too
	Router netip.Addr   `json:"router,omitzero"` // in Subnet
}

// Gateway is the underlay's own address: the subnet's first. It leads nowhere; a node needs
// a default route all the same, because the kernel answers ARP for 169.254.1.1, the workloads'
// next hop, only if it could route it.
func (u Underlay) Gateway() netip.Addr { return gateway(u.Subnet) }

func gateway(subnet netip.Prefix) netip.Addr { return subnet.Masked().Addr().Next() }

// SubnetOf is the subnet that a machine's address is in.
func (u Underlay) SubnetOf(a netip.Addr) netip.Prefix {
	if u.Behind.Contains(a) {
		return u.Behind
	}
	return u.Subnet
}

// Has says whether an address is in one of the subnets.
func (u Underlay) Has(a netip.Addr) bool { return u.SubnetOf(a).Contains(a) }

// GatewayOf is what the machine with an address has its default route to.
func (u Underlay) GatewayOf(a netip.Addr) netip.Addr { return gateway(u.SubnetOf(a)) }

// Detours says whether the machine with an address has a route to the second subnet by the router, beside its default route.
func (u Underlay) Detours(a netip.Addr) bool {
	return u.Behind.IsValid() && !u.Behind.Contains(a) && a != u.Router
}

// Crosses says whether the router is between two machines.
func (u Underlay) Crosses(a, b netip.Addr) bool { return u.SubnetOf(a) != u.SubnetOf(b) }

// NextHop is where a node sends what is for another one: to itself within a subnet, else to the router.
func (u Underlay) NextHop(from, to netip.Addr) netip.Addr {
	switch {
	case !u.Crosses(from, to):
		return to
	case u.Behind.Contains(from):
		return gateway(u.Behind)
	}
	return u.Router
}
