package calico

import (
	"encoding/json"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-version"

	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
)

// What birdcl said on a node whose one peer was there and whose other was not yet.
const protocols = `BIRD 1.6.8 ready.
name     proto    table    state  since       info
static1  Static   master   up     00:57:15    
kernel1  Kernel   master   up     00:57:15    
device1  Device   master   up     00:57:15    
direct1  Direct   master   up     00:57:15    
Mesh_192_168_4_6 BGP      master   up     00:57:17    Established   
Mesh_192_168_4_8 BGP      master   start  00:57:17    Active        Socket: Connection refused
Mesh_192_168_4_9 BGP      master   start  00:57:17    Connect       
Global_10_0_0_1 BGP      master   up     00:57:17    Established   
`

func TestParsePeers(t *testing.T) {
	got := parsePeers(protocols)
	want := map[netip.Addr]Peer{
		netip.MustParseAddr("192.168.4.6"): {"up", "Established"},
		netip.MustParseAddr("192.168.4.8"): {"start", "Active Socket: Connection refused"},
		netip.MustParseAddr("192.168.4.9"): {"start", "Connect"},
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for addr, established := range map[string]bool{"192.168.4.6": true, "192.168.4.8": false, "192.168.4.7": false} {
		if p := got[netip.MustParseAddr(addr)]; p.Established() != established {
			t.Errorf("%s: %s", addr, p)
		}
	}
	if s := got[netip.MustParseAddr("192.168.4.7")].String(); s != "not configured" {
		t.Errorf("a peer that BIRD doesn't know is %q", s)
	}
}

func TestRoutes(t *testing.T) {
	var routes []Route
	if err := json.Unmarshal([]byte(`[
		{"dst":"default","gateway":"192.168.4.1","dev":"host0","protocol":"static","flags":[]},
		{"dst":"10.1.86.64/26","gateway":"192.168.4.6","dev":"host0","protocol":"bird","flags":[]},
		{"type":"blackhole","dst":"10.1.127.192/26","protocol":"bird","flags":[]},
		{"type":"blackhole","dst":"10.9.0.0/16","protocol":"static","flags":[]},
		{"dst":"10.1.127.192","dev":"cali1","scope":"link","flags":[]}]`), &routes); err != nil {
		t.Fatal(err)
	}
	if got := Blocks(routes); len(got) != 1 || got[0].String() != "10.1.127.192/26" {
		t.Errorf("blocks: %v", got)
	}
	if got := routes[1].String(); got != "10.1.86.64/26 via 192.168.4.6 dev host0 proto bird" {
		t.Errorf("route: %s", got)
	}
	if got := routes[2].String(); got != "blackhole 10.1.127.192/26 proto bird" {
		t.Errorf("route: %s", got)
	}
}

func TestNodeContainer(t *testing.T) {
	if got := NodeContainer(version.Must(version.NewVersion("3.31.0"))); got != "calico-release-v3.31" {
		t.Error(got)
	}
}

func TestPoolDifferences(t *testing.T) {
	want := lab.Pool{Name: "p", CIDR: netip.MustParsePrefix("10.1.0.0/16"), BlockSize: 26, IPIPMode: "Never", NATOutgoing: true}
	for _, c := range []struct {
		change func(*lab.Pool)
		want   []string
		fixed  bool
	}{
		{func(p *lab.Pool) {}, nil, false},
		{func(p *lab.Pool) { p.NATOutgoing = false }, []string{"natOutgoing is false, not true"}, false},
		{func(p *lab.Pool) { p.Disabled = true }, []string{"disabled is true, not false"}, false},
		{func(p *lab.Pool) { p.IPIPMode = "Always" }, []string{"ipipMode is Always, not Never"}, false},
		{func(p *lab.Pool) { p.BlockSize = 28 }, []string{"blockSize is 28, not 26"}, true},
		{func(p *lab.Pool) { p.CIDR = netip.MustParsePrefix("10.2.0.0/16"); p.NATOutgoing = false },
			[]string{"cidr is 10.2.0.0/16, not 10.1.0.0/16", "natOutgoing is false, not true"}, true},
	} {
		have := want
		c.change(&have)
		got, fixed := PoolDifferences(NewPool(have), want)
		if diff := cmp.Diff(c.want, got); diff != "" || fixed != c.fixed {
			t.Errorf("%+v: fixed %t (-want +got):\n%s", have, fixed, diff)
		}
	}
}

func TestAttachment(t *testing.T) {
	var a Attachment
	if err := json.Unmarshal([]byte(`{"kind":"cniCacheV1","containerId":"cnitool-995","ifName":"eth0","networkName":"test-calico",
		"netns":"/var/run/docker/netns/9c4","result":{"cniVersion":"1.0.0","dns":{},
		"interfaces":[{"name":"calicnitool-995"}],"ips":[{"address":"10.1.86.64/32"}]}}`), &a); err != nil {
		t.Fatal(err)
	}
	if addrs := a.Addresses(); len(addrs) != 1 || addrs[0].String() != "10.1.86.64" || a.HostInterface() != "calicnitool-995" || a.NetNS != "/var/run/docker/netns/9c4" {
		t.Errorf("attachment: %+v", a)
	}
	// A result that is not there is no address, not a panic.
	if (Attachment{}).Addresses() != nil || (Attachment{}).HostInterface() != "" {
		t.Error("something from nothing")
	}
}
