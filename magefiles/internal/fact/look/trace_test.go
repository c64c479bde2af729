//go:build linux

package main

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/bpf"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

// frame is the beginning of an Ethernet frame: its type, and the addresses of an IPv4 packet.
func frame(kind uint16, src, dst string) []byte {
	p := make([]byte, 60)
	binary.BigEndian.PutUint16(p[12:], kind)
	if src != "" {
		s, d := netip.MustParseAddr(src).As4(), netip.MustParseAddr(dst).As4()
		copy(p[26:], s[:])
		copy(p[30:], d[:])
	}
	return p
}

// TestFilter runs the filter as the kernel does.
func TestFilter(t *testing.T) {
	for _, addresses := range [][]string{{"10.1.0.1"}, {"10.1.0.1", "10.1.0.2"}, {"10.1.0.1", "10.1.0.2", "192.0.2.9"}} {
		var of []netip.Addr
		for _, a := range addresses {
			of = append(of, netip.MustParseAddr(a))
		}
		raw, err := program(of)
		if err != nil {
			t.Fatal(err)
		}
		var code []bpf.Instruction
		for _, r := range raw {
			code = append(code, bpf.RawInstruction{Op: r.Code, Jt: r.Jt, Jf: r.Jf, K: r.K}.Disassemble())
		}
		vm, err := bpf.NewVM(code)
		if err != nil {
			t.Fatal(err)
		}
		kept := func(p []byte) bool {
			n, err := vm.Run(p)
			if err != nil {
				t.Error(err)
			}
			return n > 0
		}
		if !kept(frame(0x806, "", "")) || kept(frame(0x86dd, "", "")) || kept(frame(0x800, "10.1.0.9", "10.1.0.8")) {
			t.Errorf("%v: ARP, IPv6, or somebody else's", addresses)
		}
		for _, a := range addresses {
			if !kept(frame(0x800, a, "10.9.9.9")) || !kept(frame(0x800, "10.9.9.9", a)) || kept(frame(0x86dd, a, a)) {
				t.Errorf("%v: from or to %s", addresses, a)
			}
		}
	}
	for _, n := range []int{0, 51} {
		if _, err := program(make([]netip.Addr, n)); err == nil {
			t.Errorf("a filter for %d addresses", n)
		}
	}
}

func TestParseCounts(t *testing.T) {
	got := map[string]uint64{}
	parseCounts("Ip: Forwarding InAddrErrors\nIp: 1 3\nIcmp: InMsgs\nIcmp: 9\nTcpExt: SyncookiesSent IPReversePathFilter\nTcpExt: 0 6\nIpExt: InNoRoutes\nIpExt: -1\n", got)
	if diff := cmp.Diff(map[string]uint64{"IpForwarding": 1, "IpInAddrErrors": 3, "TcpExtSyncookiesSent": 0, "TcpExtIPReversePathFilter": 6}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, ok := counts()["TcpExtIPReversePathFilter"]; !ok {
		t.Error("this computer's kernel doesn't count what rp_filter throws away")
	}
}

// icmpError is an error about an echo request, as a raw socket gets it.
func icmpError(kind, code byte, id uint16) []byte {
	inner := ipv4(20, echo(id, id))
	message := append([]byte{kind, code, 0, 0, 0, 0, 0, 0}, inner...)
	return ipv4(20, message)
}

func TestUnreachable(t *testing.T) {
	for _, c := range []struct {
		p    []byte
		want string
	}{
		{icmpError(3, 1, 7), "10.1.0.9 says: host unreachable"},
		{icmpError(11, 0, 7), "10.1.0.9 says: TTL exceeded"},
		{icmpError(3, 77, 7), "10.1.0.9 says: ICMP type 3 code 77"},
		{icmpError(3, 1, 8), ""},      // about somebody else's
		{icmpError(0, 0, 7), ""},      // no error
		{icmpError(3, 1, 7)[:40], ""}, // cut off
		{nil, ""},
	} {
		if got, ok := unreachable(c.p, []uint16{7}); got != c.want || ok != (c.want != "") {
			t.Errorf("% x: %q, %t", c.p, got, ok)
		}
	}
}

func TestHits(t *testing.T) {
	one := fact.Known([]fact.Rule{{Table: "filter", Chain: "c", Packets: 1}})
	two := fact.Known([]fact.Rule{{Table: "filter", Chain: "c", Packets: 3}})
	if got := hits(one, two); got.Unknown != "" || got.Value[0].Packets != 2 {
		t.Errorf("%+v", got)
	}
	if got := hits(two, one); !strings.Contains(got.Unknown, "were changed meanwhile") {
		t.Errorf("%+v", got)
	}
	if got := hits(fact.Unknown[[]fact.Rule]("no iptables"), one); got.Unknown != "no iptables" {
		t.Errorf("%+v", got)
	}
}

func TestTraceRefuses(t *testing.T) {
	for _, in := range []string{"", "not JSON\n", `{"of":[]}` + "\n"} {
		var out strings.Builder
		if err := trace(strings.NewReader(in), &out); err == nil || out.Len() > 0 {
			t.Errorf("%q: %v, %q", in, err, out.String())
		}
	}
}
