//go:build linux

package main

import (
	"net"
	"net/netip"
	"testing"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

// TestDial: who listens is reached, who doesn't refuses, and nobody is asked for nothing.
func TestDial(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	go func() {
		for conn, err := l.Accept(); err == nil; conn, err = l.Accept() {
			conn.Close()
		}
	}()
	all := dial(&fact.Dial{Certificate: t.TempDir(), To: []netip.AddrPort{netip.MustParseAddrPort(l.Addr().String()), netip.MustParseAddrPort(gone.Addr().String())}}, 1)
	if all.Unknown != "" || len(all.Value) != 2 || all.Value[0].Said != "" || !all.Value[1].Refused {
		t.Errorf("%+v", all)
	}
	if none := dial(nil, 1); none.Unknown != fact.NotAsked {
		t.Errorf("%+v", none)
	}
}
