// Package capture reads captured frames: what was in them, and where each packet of a probe was seen on its way.
package capture

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

// Kind is what a frame carries, as far as a probe is concerned.
type Kind string

// The kinds.
const (
	Request    Kind = "request" // of the probe's: an echo request, or a TCP segment to the port
	Reply      Kind = "reply"
	Error      Kind = "error" // an ICMP error about a request
	ARPRequest Kind = "who-has"
	ARPReply   Kind = "is-at"
)

// Sighting is a packet that an interface had.
type Sighting struct {
	Machine          string
	Sandbox          string // "" is the machine's own namespace
	Link             string
	Out              bool // it left by the interface
	At               time.Time
	Kind             Kind
	Flow             uint32 // an echo request's sequence number, a TCP connection's first one: NAT changes neither
	SrcMAC, DstMAC   string
	Src, Dst         netip.Addr // of ARP: who asks, and for whom; who answers, and to whom
	SrcPort, DstPort uint16     // 0 of ICMP
	TTL              uint8
	Says             string // echo request, SYN, host unreachable, ...
}

// Where is the interface with its namespace.
func (s Sighting) Where() string {
	if s.Sandbox != "" {
		return s.Link + " in the workload"
	}
	return s.Link
}

// String writes a sighting as a line of tcpdump's, more or less.
func (s Sighting) String() string {
	way := "In "
	if s.Out {
		way = "Out"
	}
	macs := s.SrcMAC + " > " + s.DstMAC
	switch s.Kind {
	case ARPRequest:
		return fmt.Sprintf("%s %s %s: who has %s? tell %s", s.Link, way, macs, s.Dst, s.Src)
	case ARPReply:
		return fmt.Sprintf("%s %s %s: %s is at %s", s.Link, way, macs, s.Src, s.SrcMAC)
	}
	src, dst := s.Src.String(), s.Dst.String()
	if s.DstPort != 0 {
		src, dst = fmt.Sprintf("%s:%d", s.Src, s.SrcPort), fmt.Sprintf("%s:%d", s.Dst, s.DstPort)
	}
	return fmt.Sprintf("%s %s %s: %s > %s %s, TTL %d", s.Link, way, macs, src, dst, s.Says, s.TTL)
}

// Probe is what was sent, to know it again.
type Probe struct {
	From, To netip.Addr
	Port     uint16   // 0 is a ping
	Echoes   []uint16 // sequence numbers of the echo requests
}

// Read reads the frames of a machine, those of the probe and ARP, in the order of their times.
func Read(machine string, frames []fact.Frame, p Probe) []Sighting {
	var all []Sighting
	for _, f := range frames {
		s := Sighting{Machine: machine, Sandbox: f.Sandbox, Link: f.Link, Out: f.Out, At: f.At}
		if p.read(f.Data, &s) {
			all = append(all, s)
		}
	}
	slices.SortStableFunc(all, func(a, b Sighting) int { return a.At.Compare(b.At) })
	return all
}

// read decodes a frame; ok is false for one that isn't the probe's.
func (p Probe) read(data []byte, s *Sighting) (ok bool) {
	packet := gopacket.NewPacket(data, layers.LayerTypeEthernet, gopacket.NoCopy)
	eth, ok := packet.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
	if !ok {
		return false
	}
	s.SrcMAC, s.DstMAC = eth.SrcMAC.String(), eth.DstMAC.String()
	if arp, ok := packet.Layer(layers.LayerTypeARP).(*layers.ARP); ok {
		return readARP(arp, s)
	}
	ip, ok := packet.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
	if !ok {
		return false
	}
	s.Src, s.Dst, s.TTL = address(ip.SrcIP), address(ip.DstIP), ip.TTL
	if icmp, ok := packet.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4); ok {
		return p.readICMP(icmp, s)
	}
	if tcp, ok := packet.Layer(layers.LayerTypeTCP).(*layers.TCP); ok && p.Port != 0 {
		return p.readTCP(tcp, s)
	}
	return false
}

func address(ip []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

func readARP(arp *layers.ARP, s *Sighting) bool {
	s.Src, s.Dst = address(arp.SourceProtAddress), address(arp.DstProtAddress)
	s.Kind = ARPRequest
	if arp.Operation == layers.ARPReply {
		s.Kind = ARPReply
	}
	return s.Src.IsValid() && s.Dst.IsValid()
}

func (p Probe) readICMP(icmp *layers.ICMPv4, s *Sighting) bool {
	s.Flow = uint32(icmp.Seq)
	switch t := icmp.TypeCode.Type(); {
	case t == layers.ICMPv4TypeEchoRequest && p.Port == 0 && slices.Contains(p.Echoes, icmp.Seq) && s.Dst == p.To:
		s.Kind, s.Says = Request, "echo request"
		return true
	case t == layers.ICMPv4TypeEchoReply && p.Port == 0 && slices.Contains(p.Echoes, icmp.Seq) && s.Src == p.To:
		s.Kind, s.Says = Reply, "echo reply"
		return true
	case t == layers.ICMPv4TypeDestinationUnreachable || t == layers.ICMPv4TypeTimeExceeded:
		return p.readError(icmp, s)
	}
	return false
}

// readError reads what the error is about: the packet's header, and 8 bytes of it (RFC 792).
func (p Probe) readError(icmp *layers.ICMPv4, s *Sighting) bool {
	inner := gopacket.NewPacket(icmp.Payload, layers.LayerTypeIPv4, gopacket.NoCopy)
	ip, ok := inner.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
	if !ok || address(ip.DstIP) != p.To || len(ip.Payload) < 8 {
		return false
	}
	s.Kind = Error
	s.Says = "ICMP " + says[icmp.TypeCode]
	if says[icmp.TypeCode] == "" {
		s.Says = "ICMP " + icmp.TypeCode.String()
	}
	if p.Port == 0 {
		seq := binary.BigEndian.Uint16(ip.Payload[6:])
		s.Flow = uint32(seq)
		return slices.Contains(p.Echoes, seq)
	}
	s.Flow = binary.BigEndian.Uint32(ip.Payload[4:])
	return binary.BigEndian.Uint16(ip.Payload[2:]) == p.Port
}

// says are the usual errors, as ping and Linux call them.
var says = map[layers.ICMPv4TypeCode]string{
	layers.CreateICMPv4TypeCode(3, 0): "network unreachable", layers.CreateICMPv4TypeCode(3, 1): "host unreachable",
	layers.CreateICMPv4TypeCode(3, 3): "port unreachable", layers.CreateICMPv4TypeCode(3, 4): "fragmentation needed",
	layers.CreateICMPv4TypeCode(3, 13): "prohibited by a filter", layers.CreateICMPv4TypeCode(11, 0): "TTL exceeded",
}

func (p Probe) readTCP(tcp *layers.TCP, s *Sighting) bool {
	s.SrcPort, s.DstPort = uint16(tcp.SrcPort), uint16(tcp.DstPort)
	var flags []string
	for _, f := range []struct {
		set  bool
		name string
	}{{tcp.SYN, "SYN"}, {tcp.FIN, "FIN"}, {tcp.RST, "RST"}, {tcp.ACK, "ACK"}} {
		if f.set {
			flags = append(flags, f.name)
		}
	}
	s.Says = "TCP " + strings.Join(flags, " ")
	switch {
	case s.Dst == p.To && s.DstPort == p.Port:
		s.Kind, s.Flow = Request, tcp.Seq
		return tcp.SYN // the first one says where it goes; the others go the same way
	case s.Src == p.To && s.SrcPort == p.Port:
		s.Kind, s.Flow = Reply, tcp.Ack-1
		return tcp.SYN || tcp.RST
	}
	return false
}

// Trail is where one packet was seen, in the order of its way.
func Trail(all []Sighting, order []string, kind Kind, flow uint32) []Sighting {
	var trail []Sighting
	for _, s := range all {
		if s.Kind != kind || s.Flow != flow {
			continue
		}
		// A segment that was sent again was seen here before.
		if !slices.ContainsFunc(trail, func(t Sighting) bool {
			return t.Machine == s.Machine && t.Sandbox == s.Sandbox && t.Link == s.Link && t.Out == s.Out
		}) {
			trail = append(trail, s)
		}
	}
	slices.SortStableFunc(trail, func(a, b Sighting) int {
		if a.Machine != b.Machine { // their clocks may differ
			return cmp.Compare(slices.Index(order, a.Machine), slices.Index(order, b.Machine))
		}
		if a.stage() != b.stage() {
			return cmp.Compare(a.stage(), b.stage())
		}
		return a.At.Compare(b.At)
	})
	return trail
}

// stage is where on a machine's way a sighting is: out of a workload, through the machine, into a workload. Times alone don't say:
// a namespace has a capture of its own, and the kernel takes the times of the first frames late.
func (s Sighting) stage() int {
	switch {
	case s.Sandbox == "":
		return 1
	case s.Out:
		return 0
	}
	return 2
}

// Unanswered are the addresses that were asked for by ARP on an interface and didn't answer.
func Unanswered(all []Sighting, machine, link string) []netip.Addr {
	var asked []netip.Addr
	for _, s := range all {
		if s.Machine != machine || s.Link != link {
			continue
		}
		switch {
		case s.Kind == ARPRequest && s.Out && !slices.Contains(asked, s.Dst):
			asked = append(asked, s.Dst)
		case s.Kind == ARPReply && !s.Out:
			asked = slices.DeleteFunc(asked, func(a netip.Addr) bool { return a == s.Src })
		}
	}
	return asked
}
