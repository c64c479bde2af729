//go:build linux

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

// probe sends from all senders at once.
func probe(r fact.ProbeRequest) []fact.Probe {
	if len(r.From) == 0 {
		return probeFrom(r, netip.Addr{})
	}
	parts := make([][]fact.Probe, len(r.From))
	var all sync.WaitGroup
	for i, from := range r.From {
		all.Go(func() {
			if err := inside(from.Sandbox, func() error { parts[i] = probeFrom(r, from.Address); return nil }); err != nil {
				parts[i] = []fact.Probe{{From: from.Address, To: from.Address, Ping: "nothing was sent: " + err.Error(), Echo: true}}
			}
		})
	}
	all.Wait()
	return slices.Concat(parts...)
}

// probeFrom tries all targets at once, by ping and by TCP. A socket belongs to the network namespace of the thread that made it,
// so all are made here, and waited for elsewhere.
func probeFrom(r fact.ProbeRequest, from netip.Addr) []fact.Probe {
	targets, tcp := r.Targets(from)
	all := make([]fact.Probe, len(targets))
	var asked sync.WaitGroup
	for i, to := range targets {
		all[i] = fact.Probe{From: from, To: to, Ping: "no reply", Echo: i >= tcp}
		if i >= tcp {
			continue
		}
		conn, err := connect(netip.AddrPortFrom(to, r.Port))
		asked.Go(func() {
			said, err := hear(conn, err, r.Within)
			all[i].Said = said // another field than ping's
			if err != nil {
				all[i].TCP = err.Error()
			}
		})
	}
	if err := ping(r, all); err != nil {
		for i := range all {
			all[i].Ping = err.Error()
		}
	}
	asked.Wait()
	return all
}

// ask connects and reads to the end what the server there says.
func ask(to netip.AddrPort, within time.Duration) (string, error) {
	conn, err := connect(to)
	return hear(conn, err, within)
}

// connect begins to connect, from the network namespace of the thread that calls it.
func connect(to netip.AddrPort) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	err = unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()})
	if err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return nil, errors.Join(os.NewSyscallError("connect", err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), to.String()), nil
}

// hear reads to the end what the server says at a connection that was begun.
func hear(conn *os.File, err error, within time.Duration) (string, error) {
	if err == nil {
		defer conn.Close()
		err = connected(conn, within)
	}
	if err != nil {
		return "", fmt.Errorf("no connection: %w", err)
	}
	data, err := io.ReadAll(io.LimitReader(conn, 1000))
	if err != nil {
		return "", fmt.Errorf("connected, but no answer: %w", unwrapped(err))
	}
	return strings.TrimSpace(string(data)), nil
}

// connected waits until a socket is connected (connect(2), EINPROGRESS).
func connected(conn *os.File, within time.Duration) error {
	if err := conn.SetDeadline(time.Now().Add(within)); err != nil {
		return err
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Write(func(fd uintptr) bool {
		errno, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		if err == nil && errno != 0 {
			err = os.NewSyscallError("connect", unix.Errno(errno))
		}
		failed = err
		_, pending := unix.Getpeername(int(fd))
		return err != nil || pending == nil
	})
	if err != nil {
		return unwrapped(err)
	}
	return failed
}

func unwrapped(err error) error {
	if file := (*fs.PathError)(nil); errors.As(err, &file) { // the addresses in it are known
		return file.Err
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
