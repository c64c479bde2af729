//go:build linux

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

// send sends what is asked for, and returns when it is answered or time is over.
func send(s fact.Send) fact.Sent {
	var sent fact.Sent
	machine, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fact.Sent{Error: err.Error()}
	}
	defer machine.Close()
	err = inside(s.Sandbox, func() (err error) {
		if s.Port != 0 {
			start := time.Now()
			sent.Said, err = ask(netip.AddrPortFrom(s.To, s.Port), s.Within)
			if err == nil {
				sent.Replies, sent.RTT = 1, time.Since(start)
			}
			return err
		}
		own, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer own.Close()
		return echoes(s, &sent, func() bool { return incomplete(own) || incomplete(machine) })
	})
	if err != nil {
		sent.Error = err.Error()
	}
	return sent
}

// incomplete says whether a neighbour is still being asked for by ARP.
func incomplete(h *netlink.Handle) bool {
	all, err := neighboursOf(h)
	return err == nil && slices.ContainsFunc(all, func(n fact.Neighbour) bool { return n.State == "incomplete" })
}

// echoes sends echo requests, one flow each, so that each goes through all of the packet filter's rules, not only through those
// for packets of known flows. The time for an answer that never comes is the kernel's for an ARP request, and some more; where
// nobody is asked for by ARP, a part of it is enough.
func echoes(s fact.Send, sent *fact.Sent, asking func() bool) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP)
	if err != nil {
		return fmt.Errorf("a raw socket: %w", err)
	}
	defer unix.Close(fd)
	part := s.Within / time.Duration(3*s.Tries)
	for i := range s.Tries {
		id := uint16(os.Getpid() + i) // and the sequence number: a NAT changes the ID
		sent.Echoes = append(sent.Echoes, id)
		start := time.Now()
		if err := unix.Sendto(fd, echo(id, id), 0, &unix.SockaddrInet4{Addr: s.To.As4()}); err != nil {
			return err
		}
		done, err := answer(fd, s, id, start, start.Add(part), sent)
		if err != nil {
			return err
		}
		if !done && i == s.Tries-1 && sent.Error == "" && asking() {
			if _, err := answer(fd, s, id, start, start.Add(s.Within-part*time.Duration(i)), sent); err != nil {
				return err
			}
		}
	}
	return nil
}

// answer waits for what comes of an echo request: a reply, or an error about one of the requests.
func answer(fd int, s fact.Send, id uint16, start, until time.Time, sent *fact.Sent) (done bool, err error) {
	for {
		p, err := receive(fd, until)
		if err != nil || p == nil {
			return false, err
		}
		if _, _, from, ok := reply(p, id); ok && from == s.To {
			sent.Replies, sent.RTT = sent.Replies+1, time.Since(start)
			return true, nil
		}
		if why, ok := unreachable(p, sent.Echoes); ok {
			sent.Error = why
			return true, nil
		}
	}
}

// receive waits for a packet; nil is none by then.
func receive(fd int, until time.Time) ([]byte, error) {
	buf := make([]byte, 1500)
	for {
		left := unix.NsecToTimeval(time.Until(until).Nanoseconds())
		if left.Sec < 0 || left.Sec == 0 && left.Usec <= 0 {
			return nil, nil
		}
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &left); err != nil {
			return nil, err
		}
		n, _, err := unix.Recvfrom(fd, buf, 0)
		switch {
		case err == nil:
			return buf[:n], nil
		case errors.Is(err, unix.EAGAIN):
			return nil, nil
		case !errors.Is(err, unix.EINTR):
			return nil, err
		}
	}
}

// unreachable reads an ICMP error about one of the echo requests (RFC 792): who sent it, and what it says.
func unreachable(p []byte, ids []uint16) (string, bool) {
	const inner = 20 + 8 // of the packet that it is about: its header, and 8 bytes
	head := 0
	if len(p) > 0 {
		head = int(p[0]&0xf) * 4
	}
	if len(p) < head+8+inner || head < 20 || p[head] != 3 && p[head] != 11 {
		return "", false
	}
	about := p[head+8:]
	ahead := int(about[0]&0xf) * 4
	if len(about) < ahead+8 || about[ahead] != 8 || !slices.Contains(ids, binary.BigEndian.Uint16(about[ahead+4:])) {
		return "", false
	}
	what := map[[2]byte]string{
		{3, 0}: "network unreachable", {3, 1}: "host unreachable", {3, 2}: "protocol unreachable", {3, 3}: "port unreachable",
		{3, 4}: "fragmentation needed", {3, 9}: "network prohibited", {3, 10}: "host prohibited", {3, 13}: "prohibited by a filter", {11, 0}: "TTL exceeded",
	}[[2]byte{p[head], p[head+1]}]
	if what == "" {
		what = fmt.Sprintf("ICMP type %d code %d", p[head], p[head+1])
	}
	return fmt.Sprintf("%s says: %s", netip.AddrFrom4([4]byte(p[12:16])), what), true
}
