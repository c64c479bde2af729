package capture

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

var (
	from  = netip.MustParseAddr("10.1.0.1")
	to    = netip.MustParseAddr("10.1.0.2")
	host  = netip.MustParseAddr("192.168.4.5")
	macA  = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	macB  = net.HardwareAddr{2, 0, 0, 0, 0, 2}
	start = time.Unix(1000, 0)
)

func packed(t *testing.T, all ...gopacket.SerializableLayer) []byte {
	t.Helper()
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, all...); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func ip(src, dst netip.Addr, ttl uint8, proto layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: ttl, Protocol: proto, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
}

func ethernet(kind layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: macA, DstMAC: macB, EthernetType: kind}
}

func icmp(t *testing.T, src, dst netip.Addr, ttl uint8, kind, code uint8, id, seq uint16, payload []byte) []byte {
	return packed(t, ethernet(layers.EthernetTypeIPv4), ip(src, dst, ttl, layers.IPProtocolICMPv4),
		&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(kind, code), Id: id, Seq: seq}, gopacket.Payload(payload))
}

func segment(t *testing.T, src, dst netip.Addr, srcPort, dstPort uint16, set func(*layers.TCP)) []byte {
	i := ip(src, dst, 64, layers.IPProtocolTCP)
	s := &layers.TCP{SrcPort: layers.TCPPort(srcPort), DstPort: layers.TCPPort(dstPort), Seq: 77}
	set(s)
	if err := s.SetNetworkLayerForChecksum(i); err != nil {
		t.Fatal(err)
	}
	return packed(t, ethernet(layers.EthernetTypeIPv4), i, s)
}

func arp(t *testing.T, op uint16, src, dst netip.Addr) []byte {
	return packed(t, ethernet(layers.EthernetTypeARP), &layers.ARP{
		AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: op,
		SourceHwAddress: macA, SourceProtAddress: src.AsSlice(), DstHwAddress: macB, DstProtAddress: dst.AsSlice(),
	})
}

func TestRead(t *testing.T) {
	ping := Probe{From: from, To: to, Echoes: []uint16{500, 501}}
	tcp := Probe{From: from, To: to, Port: 80}
	// What an error is about: the header and 8 bytes, no checksum of which anybody looks at.
	about := icmp(t, from, to, 1, 8, 0, 500, 500, nil)[14:]
	for _, c := range []struct {
		name  string
		probe Probe
		data  []byte
		kind  Kind
		flow  uint32
		says  string
	}{
		{"request", ping, icmp(t, from, to, 64, 8, 0, 500, 500, nil), Request, 500, "10.1.0.1 > 10.1.0.2 echo request, TTL 64"},
		{"request whose source and ID NAT changed", ping, icmp(t, host, to, 63, 8, 0, 9999, 501, nil), Request, 501, "192.168.4.5 > 10.1.0.2 echo request, TTL 63"},
		{"reply", ping, icmp(t, to, from, 62, 0, 0, 500, 500, nil), Reply, 500, "echo reply, TTL 62"},
		{"somebody else's request", ping, icmp(t, from, to, 64, 8, 0, 500, 502, nil), "", 0, ""},
		{"error", ping, icmp(t, host, from, 64, 3, 1, 0, 0, about), Error, 500, "ICMP host unreachable"},
		{"error about a packet to somewhere else", ping, icmp(t, host, from, 64, 3, 1, 0, 0, icmp(t, from, host, 1, 8, 0, 500, 500, nil)[14:]), "", 0, ""},
		{"SYN", tcp, segment(t, from, to, 4000, 80, func(s *layers.TCP) { s.SYN = true }), Request, 77, "10.1.0.1:4000 > 10.1.0.2:80 TCP SYN, TTL 64"},
		{"SYN ACK", tcp, segment(t, to, from, 80, 4000, func(s *layers.TCP) { s.SYN, s.ACK, s.Ack = true, true, 78 }), Reply, 77, "TCP SYN ACK"},
		{"RST", tcp, segment(t, to, from, 80, 4000, func(s *layers.TCP) { s.RST, s.ACK, s.Ack = true, true, 78 }), Reply, 77, "TCP RST ACK"},
		{"data", tcp, segment(t, from, to, 4000, 80, func(s *layers.TCP) { s.ACK = true }), "", 0, ""},
		{"another port", tcp, segment(t, from, to, 4000, 81, func(s *layers.TCP) { s.SYN = true }), "", 0, ""},
		{"a ping while a connection is looked for", tcp, icmp(t, from, to, 64, 8, 0, 500, 500, nil), "", 0, ""},
		{"who has", ping, arp(t, layers.ARPRequest, from, to), ARPRequest, 0, "who has 10.1.0.2? tell 10.1.0.1"},
		{"is at", ping, arp(t, layers.ARPReply, to, from), ARPReply, 0, "10.1.0.2 is at 02:00:00:00:00:01"},
		{"cut off", ping, icmp(t, from, to, 64, 8, 0, 500, 500, nil)[:30], "", 0, ""},
		{"nothing", ping, nil, "", 0, ""},
	} {
		got := Read("calico1", []fact.Frame{{At: start, Link: "host0", Data: c.data}}, c.probe)
		if c.kind == "" {
			if len(got) > 0 {
				t.Errorf("%s: %v", c.name, got)
			}
			continue
		}
		if len(got) != 1 || got[0].Kind != c.kind || got[0].Flow != c.flow || !strings.Contains(got[0].String(), c.says) || got[0].SrcMAC != macA.String() {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}

// TestTrail: in the order of the way, whatever the clocks say, and each interface once.
func TestTrail(t *testing.T) {
	at := func(machine, sandbox, link string, out bool, when int) Sighting {
		return Sighting{Machine: machine, Sandbox: sandbox, Link: link, Out: out, At: start.Add(time.Duration(when)), Kind: Request, Flow: 5}
	}
	other := at("a", "", "host0", true, 1)
	other.Flow = 6
	all := []Sighting{
		at("b", "", "host0", false, 1), at("b", "ns", "eth0", false, 0), at("b", "", "cali2", true, 2),
		at("a", "", "cali1", false, 50), at("a", "", "host0", true, 60), at("a", "ns", "eth0", true, 99), at("a", "ns", "eth0", true, 999), other,
	}
	var got []string
	for _, s := range Trail(all, []string{"a", "b"}, Request, 5) {
		got = append(got, s.Machine+" "+s.Link)
	}
	if diff := cmp.Diff([]string{"a eth0", "a cali1", "a host0", "b host0", "b cali2", "b eth0"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := Trail(all, []string{"a", "b"}, Reply, 5); len(got) > 0 {
		t.Errorf("replies: %v", got)
	}
}

func TestUnanswered(t *testing.T) {
	ask := Sighting{Machine: "a", Link: "host0", Out: true, Kind: ARPRequest, Src: from, Dst: to}
	answer := Sighting{Machine: "a", Link: "host0", Kind: ARPReply, Src: to, Dst: from}
	if got := Unanswered([]Sighting{ask, ask}, "a", "host0"); len(got) != 1 || got[0] != to {
		t.Errorf("asked twice: %v", got)
	}
	for name, all := range map[string][]Sighting{"answered": {ask, answer}, "asked by somebody else": {{Machine: "a", Link: "host0", Kind: ARPRequest, Src: to, Dst: from}}} {
		if got := Unanswered(all, "a", "host0"); len(got) > 0 {
			t.Errorf("%s: %v", name, got)
		}
	}
	if got := Unanswered([]Sighting{ask}, "a", "eth0"); len(got) > 0 {
		t.Errorf("on another interface: %v", got)
	}
}
