//go:build linux

package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

// checksum is RFC 1071's: over a message with its checksum in it, it is 0.
func checksum(p []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(p); i += 2 {
		sum += uint32(p[i])<<8 | uint32(p[i+1])
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

func TestEcho(t *testing.T) {
	for _, c := range []struct{ id, seq uint16 }{{0, 0}, {1, 2}, {0xffff, 0xffff}, {0xf7ff, 0}, {0x1234, 0xfedc}} {
		p := echo(c.id, c.seq)
		if p[0] != 8 || p[1] != 0 || binary.BigEndian.Uint16(p[4:]) != c.id || binary.BigEndian.Uint16(p[6:]) != c.seq {
			t.Errorf("%v: % x", c, p)
		}
		if got := checksum(p); got != 0 {
			t.Errorf("%v: checksum is off by %#x", c, got)
		}
	}
}

// ipv4 puts a message behind an IPv4 header of some length, from 10.1.0.9 and with TTL 62.
func ipv4(head int, message []byte) []byte {
	p := make([]byte, head, head+len(message))
	p[0], p[8], p[9] = 4<<4|byte(head/4), 62, 1
	copy(p[12:], []byte{10, 1, 0, 9})
	return append(p, message...)
}

func TestReply(t *testing.T) {
	const id, seq = 700, 3
	answer := echo(id, seq)
	answer[0] = 0
	other := echo(id+1, seq)
	other[0] = 0
	for name, p := range map[string][]byte{"plain": ipv4(20, answer), "header with options": ipv4(24, answer), "no data": ipv4(20, answer[:8])} {
		gotSeq, ttl, from, ok := reply(p, id)
		if !ok || gotSeq != seq || ttl != 62 || from != netip.MustParseAddr("10.1.0.9") {
			t.Errorf("%s: %d, %d, %s, %t", name, gotSeq, ttl, from, ok)
		}
	}
	for name, p := range map[string][]byte{
		"another program's": ipv4(20, other), "a request": ipv4(20, echo(id, seq)), "cut off": ipv4(20, answer[:7]), "no message": ipv4(20, nil),
		"options that are cut off": ipv4(24, answer[:4]), "no header": answer, "nothing": nil,
	} {
		if gotSeq, ttl, from, ok := reply(p, id); ok {
			t.Errorf("%s: %d, %d, %s", name, gotSeq, ttl, from)
		}
	}
}

// TestProbe sends packets to this computer.
func TestProbe(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprintln(c, "here")
			c.Close()
		}
	}()
	at := netip.MustParseAddrPort(l.Addr().String())
	there, nobody := at.Addr(), netip.MustParseAddr("127.0.0.2") // 127.0.0.0/8 is this computer; nobody listens at .2
	got := probe(fact.ProbeRequest{To: []netip.Addr{there, nobody}, Port: at.Port(), Within: 3 * time.Second})
	if strings.HasPrefix(got[0].Ping, "a raw socket: ") {
		t.Skip(got[0].Ping)
	}
	want := []fact.Probe{{To: there, TTL: 64, Said: "here"}, {To: nobody, TTL: 64, TCP: "no connection: connect: connection refused"}}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}), cmpopts.IgnoreFields(fact.Probe{}, "RTT")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestAskSilent: a server that takes the connection and says nothing is no answer.
func TestAskSilent(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // the kernel has taken the connection
	said, err := ask(netip.MustParseAddrPort(l.Addr().String()), 500*time.Millisecond)
	if said != "" || err == nil || !strings.HasPrefix(err.Error(), "connected, but no answer: ") {
		t.Errorf("%q, %v", said, err)
	}
}

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		got := waitFor(3*time.Second, func() string { return "no BIRD" })
		if want := "not after 3s: no BIRD"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if took := time.Since(start); took < 3*time.Second || took > 3*time.Second+2*pause {
			t.Errorf("it took %s", took)
		}
		start = time.Now()
		after := func() string {
			if time.Since(start) < time.Second {
				return "not yet"
			}
			return ""
		}
		if got := waitFor(time.Hour, after); got != "" {
			t.Errorf("it is there: %q", got)
		}
		if took := time.Since(start); took < time.Second || took > time.Second+2*pause {
			t.Errorf("it took %s to see it", took)
		}
		if got := wait(fact.Request{Until: &fact.Until{}}); got != "" {
			t.Errorf("nothing to wait for: %q", got)
		}
	})
}

func TestNotRouted(t *testing.T) {
	prefix, addr := netip.MustParsePrefix, netip.MustParseAddr
	have := []fact.Route{
		{To: prefix("10.1.86.64/26"), Via: addr("192.168.4.6"), Protocol: "static"}, {To: prefix("10.1.1.0/26"), Via: addr("192.168.4.6"), Protocol: "bird"},
		{To: prefix("10.1.2.0/26"), Via: addr("10.1.2.1"), Dev: fact.VXLANLink, Protocol: "boot"}, {To: prefix("10.1.3.0/26"), Via: addr("10.1.3.1"), Dev: "host0"},
	}
	want := []fact.Via{
		{To: prefix("10.1.86.64/26"), Via: addr("192.168.4.6"), By: fact.BIRDProtocol}, {To: prefix("10.1.1.0/26"), Via: addr("192.168.4.6"), By: fact.BIRDProtocol},
		{To: prefix("10.1.1.0/26"), Via: addr("192.168.4.6")}, // by Felix
		{To: prefix("10.1.2.0/26"), Via: addr("10.1.2.1"), Dev: fact.VXLANLink}, {To: prefix("10.1.3.0/26"), Via: addr("10.1.3.1"), Dev: fact.VXLANLink},
	}
	missing := []string{"10.1.86.64/26 via 192.168.4.6", "10.1.1.0/26 via 192.168.4.6", "10.1.3.0/26 via 10.1.3.1 dev vxlan.calico"}
	if diff := cmp.Diff(missing, notRouted(have, want)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
