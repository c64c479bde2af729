//go:build linux

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

// probe tries all targets at once, by ping and by TCP.
func probe(r fact.ProbeRequest) []fact.Probe {
	all := make([]fact.Probe, len(r.To))
	for i, to := range r.To {
		all[i] = fact.Probe{To: to, Ping: "no reply"}
	}
	var both sync.WaitGroup
	both.Go(func() {
		if err := ping(r, all); err != nil {
			for i := range all {
				all[i].Ping = err.Error()
			}
		}
	})
	for i, to := range r.To {
		both.Go(func() {
			said, err := ask(netip.AddrPortFrom(to, r.Port), r.Within)
			all[i].Said = said // another field than ping's
			if err != nil {
				all[i].TCP = err.Error()
			}
		})
	}
	both.Wait()
	return all
}

// ask connects and reads to the end what the server there says.
func ask(to netip.AddrPort, within time.Duration) (string, error) {
	conn, err := net.DialTimeout("tcp4", to.String(), within)
	if err != nil {
		return "", fmt.Errorf("no connection: %w", unwrapped(err))
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(within)); err != nil {
		return "", err
	}
	data, err := io.ReadAll(io.LimitReader(conn, 1000))
	if err != nil {
		return "", fmt.Errorf("connected, but no answer: %w", unwrapped(err))
	}
	return strings.TrimSpace(string(data)), nil
}

func unwrapped(err error) error {
	if op, ok := err.(*net.OpError); ok { //nolint:errorlint // the addresses in it are known
		return op.Err
	}
	return err
}

// tries is how often an echo request is sent to one that hasn't answered yet; the time is shared among them.
const tries = 3

// ping sends echo requests to all targets and waits for the replies (RFC 792).
func ping(r fact.ProbeRequest, all []fact.Probe) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP)
	if err != nil {
		return fmt.Errorf("a raw socket: %w", err)
	}
	defer unix.Close(fd)
	id := uint16(os.Getpid())
	sent := make([]time.Time, len(all))
	open := len(all)
	for try := range tries {
		for i := range all {
			if all[i].Ping != "" {
				sent[i] = time.Now()
				if err := unix.Sendto(fd, echo(id, uint16(i)), 0, &unix.SockaddrInet4{Addr: all[i].To.As4()}); err != nil {
					all[i].Ping = err.Error()
				}
			}
		}
		deadline := time.Now().Add(r.Within / time.Duration(tries))
		for open > 0 && time.Now().Before(deadline) {
			left := unix.NsecToTimeval(time.Until(deadline).Nanoseconds())
			if left.Sec == 0 && left.Usec == 0 {
				break
			}
			if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &left); err != nil {
				return err
			}
			buf := make([]byte, 1500)
			n, _, err := unix.Recvfrom(fd, buf, 0)
			if errors.Is(err, unix.EINTR) {
				continue // by a signal of Go's scheduler
			}
			if err != nil {
				break
			}
			seq, ttl, from, ok := reply(buf[:n], id)
			if i := int(seq); ok && i < len(all) && all[i].To == from && all[i].Ping != "" {
				all[i].Ping, all[i].TTL, all[i].RTT = "", ttl, time.Since(sent[i])
				open--
			}
		}
		if open == 0 || try == tries-1 {
			break
		}
	}
	return nil
}

// echo makes an echo request.
func echo(id, seq uint16) []byte {
	p := make([]byte, 16)
	p[0] = 8
	binary.BigEndian.PutUint16(p[4:], id)
	binary.BigEndian.PutUint16(p[6:], seq)
	var sum uint32
	for i := 0; i < len(p); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(p[i:]))
	}
	for sum>>16 != 0 {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(p[2:], ^uint16(sum))
	return p
}

// reply reads an echo reply with its IPv4 header (RFC 791).
func reply(p []byte, id uint16) (seq uint16, ttl int, from netip.Addr, ok bool) {
	if len(p) < 20 {
		return 0, 0, from, false
	}
	head := int(p[0]&0xf) * 4
	if p[0]>>4 != 4 || head < 20 || len(p) < head+8 || p[head] != 0 || binary.BigEndian.Uint16(p[head+4:]) != id {
		return 0, 0, from, false
	}
	return binary.BigEndian.Uint16(p[head+6:]), int(p[8]), netip.AddrFrom4([4]byte(p[12:16])), true
}
