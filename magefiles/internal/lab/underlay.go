package lab

import "net/netip"

// Underlay is the machines' own network: a subnet, and those that are behind routers of it.
type Underlay struct {
	Subnet netip.Prefix
	Behind []Behind
}

// Behind is a subnet behind a router, which has its first address, too.
type Behind struct {
	Router netip.Addr // in the underlay's own subnet
	Subnet netip.Prefix
}

// Gateway is what machines in the subnet have their default route to.
func (b Behind) Gateway() netip.Addr { return gateway(b.Subnet) }

// Underlay of the lab.
func (l *Lab) Underlay() Underlay {
	u := Underlay{Subnet: l.Subnet}
	for _, m := range l.Routers() {
		if m.Behind.IsValid() {
			u.Behind = append(u.Behind, Behind{m.Address, m.Behind})
		}
	}
	return u
}

// behind is the subnet behind a router that an address is in, if it is in one.
func (u Underlay) behind(a netip.Addr) (Behind, bool) {
	for _, b := range u.Behind {
		if b.Subnet.Contains(a) {
			return b, true
		}
	}
	return Behind{}, false
}

// Of is the subnet that an address of a machine is in.
func (u Underlay) Of(a netip.Addr) netip.Prefix {
	if b, ok := u.behind(a); ok {
		return b.Subnet
	}
	return u.Subnet
}

// Contains says whether an address is in one of the subnets.
func (u Underlay) Contains(a netip.Addr) bool { return u.Of(a).Contains(a) }

// GatewayOf is what the machine with an address has its default route to.
func (u Underlay) GatewayOf(a netip.Addr) netip.Addr { return gateway(u.Of(a)) }

// Routes are those that the machine with an address has beside its default route: to the subnets behind routers, by these.
func (u Underlay) Routes(a netip.Addr) (all []Behind) {
	if _, ok := u.behind(a); ok {
		return nil // its default route leads there
	}
	for _, b := range u.Behind {
		if b.Router != a {
			all = append(all, b)
		}
	}
	return all
}

// NextHop is where a machine sends what is for another one: to itself within a subnet, else to a router.
func (u Underlay) NextHop(from, to netip.Addr) netip.Addr {
	there, behind := u.behind(to)
	switch own, beyond := u.behind(from); {
	case own.Subnet == there.Subnet || behind && there.Router == from:
		return to
	case beyond:
		return own.Gateway()
	}
	return there.Router
}

// Routers are how many there are between two machines.
func (u Underlay) Routers(a, b netip.Addr) (n int) {
	one, behindOne := u.behind(a)
	two, behindTwo := u.behind(b)
	if one.Subnet == two.Subnet {
		return 0
	}
	if behindOne {
		n++
	}
	if behindTwo {
		n++
	}
	return n
}
