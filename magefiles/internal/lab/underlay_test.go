package lab

import (
	"net/netip"
	"testing"
)

// TestUnderlay: between subnets packets go by the router, within one they don't.
func TestUnderlay(t *testing.T) {
	one := Underlay{Subnet: netip.MustParsePrefix("192.168.4.0/24")}
	two := one
	two.Behind, two.Router = netip.MustParsePrefix("192.168.5.0/25"), netip.MustParseAddr("192.168.4.8")
	for _, tt := range []struct {
		u             Underlay
		from, to, hop string
		crosses       bool
	}{
		{one, "192.168.4.5", "192.168.4.6", "192.168.4.6", false},
		{two, "192.168.4.5", "192.168.4.6", "192.168.4.6", false},
		{two, "192.168.4.5", "192.168.5.6", "192.168.4.8", true},
		{two, "192.168.5.6", "192.168.4.5", "192.168.5.1", true},
		{two, "192.168.5.6", "192.168.5.7", "192.168.5.7", false},
	} {
		from, to := netip.MustParseAddr(tt.from), netip.MustParseAddr(tt.to)
		if got := tt.u.NextHop(from, to); got.String() != tt.hop {
			t.Errorf("from %s to %s: by %s, not %s", from, to, got, tt.hop)
		}
		if got := tt.u.Crosses(from, to); got != tt.crosses {
			t.Errorf("from %s to %s: the router is between them: %t", from, to, got)
		}
	}
	for _, tt := range []struct {
		u       Underlay
		address string
		has     bool
		bits    int
		gateway string
		detours bool
	}{
		{one, "192.168.4.5", true, 24, "192.168.4.1", false},
		{one, "192.168.5.6", false, 24, "192.168.4.1", false},
		{two, "192.168.4.5", true, 24, "192.168.4.1", true},
		{two, "192.168.4.8", true, 24, "192.168.4.1", false}, // the router
		{two, "192.168.5.6", true, 25, "192.168.5.1", false},
		{two, "192.168.5.200", false, 24, "192.168.4.1", true}, // a subnet is as large as its prefix says
	} {
		a := netip.MustParseAddr(tt.address)
		if has, bits := tt.u.Has(a), tt.u.SubnetOf(a).Bits(); has != tt.has || bits != tt.bits {
			t.Errorf("%s: %t, /%d", a, has, bits)
		}
		if gateway, detours := tt.u.GatewayOf(a), tt.u.Detours(a); gateway.String() != tt.gateway || detours != tt.detours {
			t.Errorf("%s: gateway %s, a route by the router: %t", a, gateway, detours)
		}
	}
}
