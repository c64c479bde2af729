//go:build linux

package main

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

// trace captures packets while one of the lab's machines sends some (fact.TraceRequest has the protocol). Nothing reads the
// captures meanwhile: the kernel keeps the few frames that pass the filter.
func trace(in io.Reader, out io.Writer) error {
	lines := bufio.NewReader(in)
	line, err := lines.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("the request: %w", err)
	}
	var r fact.TraceRequest
	if err := json.Unmarshal(line, &r); err != nil {
		return fmt.Errorf("the request: %w", err)
	}
	all, err := captures(r)
	if err != nil {
		return err
	}
	defer func() {
		for _, c := range all {
			c.close()
		}
	}()
	t := fact.Trace{}
	for _, d := range r.Ask {
		t.Decisions = append(t.Decisions, decide(d))
	}
	before, counted := rules(), counts()
	if _, err := fmt.Fprintln(out, fact.Ready); err != nil {
		return err
	}
	if _, err := lines.ReadBytes('\n'); r.Send != nil {
		if err != nil {
			return errors.New("nobody said when to send")
		}
		sent := send(*r.Send)
		t.Sent = &sent
	}
	after := rules()
	t.Hits = hits(before, after)
	t.Counts = counts()
	for name, n := range counted {
		if t.Counts[name] -= n; t.Counts[name] == 0 {
			delete(t.Counts, name)
		}
	}
	for _, c := range all {
		frames, lost, err := c.drain()
		if err != nil {
			return err
		}
		t.Frames, t.Lost = append(t.Frames, frames...), t.Lost+lost
	}
	slices.SortStableFunc(t.Frames, func(a, b fact.Frame) int { return a.At.Compare(b.At) })
	t.Neighbours = neighbours()
	return json.NewEncoder(out).Encode(t)
}

func hits(before, after fact.Seen[[]fact.Rule]) fact.Seen[[]fact.Rule] {
	if why := cmp.Or(before.Unknown, after.Unknown); why != "" {
		return fact.Unknown[[]fact.Rule](why)
	}
	grown, ok := fact.Grown(before.Value, after.Value)
	if !ok {
		return fact.Unknown[[]fact.Rule]("the rules were changed meanwhile, their counters began anew")
	}
	return fact.Known(grown)
}

// inside calls do in a network namespace: "" is the program's own. The thread that was in another one is given up.
func inside(sandbox string, do func() error) error {
	if sandbox == "" {
		return do()
	}
	ns, err := netns.GetFromPath(sandbox)
	if err != nil {
		return fmt.Errorf("%s: %w", sandbox, err)
	}
	defer ns.Close()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if err := netns.Set(ns); err != nil {
			done <- fmt.Errorf("%s: %w", sandbox, err)
			return
		}
		done <- do()
	}()
	return <-done
}

// capture is a socket that gets every frame of all interfaces of a network namespace (packet(7)).
type capture struct {
	sandbox string
	fd      int
	names   map[int]string
}

func captures(r fact.TraceRequest) (all []*capture, err error) {
	filter, err := program(r.Of)
	if err != nil {
		return nil, err
	}
	for _, sandbox := range append([]string{""}, r.Sandboxes...) {
		err = inside(sandbox, func() error {
			c, err := open(sandbox, filter)
			if err == nil {
				all = append(all, c)
			}
			return err
		})
		if err != nil {
			break
		}
	}
	if err != nil {
		for _, c := range all {
			c.close()
		}
		return nil, fmt.Errorf("a capture: %w", err)
	}
	return all, nil
}

const (
	keep   = 256     // bytes of a frame that are kept
	buffer = 4 << 20 // bytes that the kernel keeps for a capture; only root may ask for more than rmem_max
)

func open(sandbox string, filter []unix.SockFilter) (*capture, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	names, err := linkNames(h)
	if err != nil {
		return nil, err
	}
	// No protocol yet: it gets nothing before its filter is there.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	c := &capture{sandbox, fd, names}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, buffer); err != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, buffer) // as much as it may be
	}
	err = errors.Join(
		unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: swap(unix.ETH_P_ALL)}),
	)
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func swap(n uint16) uint16 { return n<<8 | n>>8 }

func (c *capture) close() { _ = unix.Close(c.fd) }

// drain reads what was captured.
func (c *capture) drain() (all []fact.Frame, lost uint32, err error) {
	data, control := make([]byte, keep), make([]byte, 128)
	for {
		n, nc, _, from, err := unix.Recvmsg(c.fd, data, control, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		if errors.Is(err, unix.ENETDOWN) {
			continue // an interface went away; the others are still there
		}
		if err != nil {
			return nil, 0, fmt.Errorf("a capture: %w", err)
		}
		link, ok := from.(*unix.SockaddrLinklayer)
		if !ok {
			continue
		}
		name := c.names[link.Ifindex]
		if name == "" {
			name = "interface " + itoa(link.Ifindex) // made meanwhile
		}
		all = append(all, fact.Frame{
			At: stamp(control[:nc]), Sandbox: c.sandbox, Link: name, Out: link.Pkttype == unix.PACKET_OUTGOING, Data: slices.Clone(data[:n]),
		})
	}
	if stats, err := unix.GetsockoptTpacketStats(c.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
		lost = stats.Drops
	}
	return all, lost, nil
}

// stamp is the kernel's time of a frame.
func stamp(control []byte) time.Time {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return time.Time{}
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) >= 16 {
			return time.Unix(int64(binary.NativeEndian.Uint64(m.Data)), int64(binary.NativeEndian.Uint64(m.Data[8:])))
		}
	}
	return time.Time{}
}

// decide asks the kernel where it would send a packet: the entry of the routing table that it would take.
func decide(d fact.Decision) fact.Decision {
	seen := within(nil, func(h *netlink.Handle) (fact.Route, error) {
		o := &netlink.RouteGetOptions{Iif: d.In, FIBMatch: true}
		if d.From.IsValid() && d.In != "" {
			o.SrcAddr = d.From.AsSlice()
		}
		found, err := h.RouteGetWithOptions(d.To.AsSlice(), o)
		if err != nil || len(found) == 0 {
			return fact.Route{}, cmp.Or(err, errors.New("no route"))
		}
		names, err := linkNames(h)
		if err != nil {
			return fact.Route{}, err
		}
		return routeOf(found[0], names), nil
	})
	d.Route, d.Why = seen.Value, seen.Unknown
	return d
}

// counts are the kernel's counters for what becomes of packets, IPv4's and TCP's. They are the calling thread's namespace's:
// /proc/net would be the main thread's, which may be one that has been in a sandbox.
func counts() map[string]uint64 {
	all := map[string]uint64{}
	for _, file := range []string{"/proc/thread-self/net/snmp", "/proc/thread-self/net/netstat"} {
		data, err := os.ReadFile(file)
		if err != nil {
			continue // then it is unknown what they counted
		}
		parseCounts(string(data), all)
	}
	return all
}

// parseCounts reads pairs of lines: names, then numbers, behind the same word.
func parseCounts(text string, into map[string]uint64) {
	var names []string
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if len(names) != len(f) || names[0] != f[0] {
			names = f
			continue
		}
		kind := strings.TrimSuffix(f[0], ":")
		for i, n := range f[1:] {
			if v, err := strconv.ParseUint(n, 10, 64); err == nil && (kind == "Ip" || kind == "IpExt" || kind == "TcpExt") {
				into[kind+names[i+1]] = v
			}
		}
		names = nil
	}
}
