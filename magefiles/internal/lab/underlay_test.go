package lab

import (
	"net/netip"
	"testing"
)

// TestUnderlay: between subnets packets go by the routers, within one they don't.
func TestUnderlay(t *testing.T) {
	u := Underlay{Subnet: netip.MustParsePrefix("192.168.4.0/24"), Behind: []Behind{
		{netip.MustParseAddr("192.168.4.8"), netip.MustParsePrefix("192.168.5.0/24")},
		{netip.MustParseAddr("192.168.4.9"), netip.MustParsePrefix("192.168.6.0/25")},
	}}
	for _, tt := range []struct {
		from, to, hop string
		routers       int
	}{
		{"192.168.4.5", "192.168.4.6", "192.168.4.6", 0},
		{"192.168.4.5", "192.168.5.6", "192.168.4.8", 1},
		{"192.168.5.6", "192.168.4.5", "192.168.5.1", 1},
		{"192.168.5.6", "192.168.5.7", "192.168.5.7", 0},
		{"192.168.5.6", "192.168.6.7", "192.168.5.1", 2},
		{"192.168.4.8", "192.168.5.6", "192.168.5.6", 1}, // the router itself
		{"192.168.4.9", "192.168.5.6", "192.168.4.8", 1},
	} {
		from, to := netip.MustParseAddr(tt.from), netip.MustParseAddr(tt.to)
		if got := u.NextHop(from, to); got.String() != tt.hop {
			t.Errorf("from %s to %s: by %s, not %s", from, to, got, tt.hop)
		}
		if got := u.Routers(from, to); got != tt.routers {
			t.Errorf("from %s to %s: %d routers, not %d", from, to, got, tt.routers)
		}
	}
	for a, want := range map[string]int{"192.168.4.5": 2, "192.168.4.8": 1, "192.168.5.6": 0} {
		if got := u.Routes(netip.MustParseAddr(a)); len(got) != want {
			t.Errorf("%s has %v", a, got)
		}
	}
	if got := u.Of(netip.MustParseAddr("192.168.6.7")).Bits(); got != 25 {
		t.Errorf("/%d", got)
	}
	if u.Contains(netip.MustParseAddr("192.168.6.200")) || !u.Contains(netip.MustParseAddr("192.168.6.100")) {
		t.Error("a subnet is as large as its prefix says")
	}
}
