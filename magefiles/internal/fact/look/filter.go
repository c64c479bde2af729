//go:build linux

package main

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// program is a filter for ARP, and IPv4 packets from or to some addresses, of which it keeps the beginning.
func program(of []netip.Addr) ([]unix.SockFilter, error) {
	if len(of) == 0 || len(of) > 50 { // a jump is at most 255 instructions long
		return nil, errors.New("a filter for no address, or for too many")
	}
	// Where to: the end of the program keeps, the one before it drops.
	code := []bpf.Instruction{
		bpf.LoadAbsolute{Off: 12, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_ARP, SkipTrue: uint8(4 + 2*len(of))},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.ETH_P_IP, SkipTrue: uint8(2 + 2*len(of))},
	}
	for end, offset := range []uint32{14 + 12, 14 + 16} { // source, destination
		code = append(code, bpf.LoadAbsolute{Off: offset, Size: 4})
		for i, a := range of {
			left := len(of) - i - 1 + 1 // comparisons of this end, and the drop
			if end == 0 {
				left += 1 + len(of) // those of the other end
			}
			b := a.As4()
			code = append(code, bpf.JumpIf{Cond: bpf.JumpEqual, Val: binary.BigEndian.Uint32(b[:]), SkipTrue: uint8(left)})
		}
	}
	raw, err := bpf.Assemble(append(code, bpf.RetConstant{Val: 0}, bpf.RetConstant{Val: keep}))
	if err != nil {
		return nil, err
	}
	out := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		out[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	return out, nil
}
