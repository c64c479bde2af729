//go:build linux

package main

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

func links() fact.Seen[[]fact.Link]           { return within(nil, linksOf) }
func routes() fact.Seen[[]fact.Route]         { return within(nil, routesOf) }
func neighbours() fact.Seen[[]fact.Neighbour] { return within(nil, neighboursOf) }

// within asks the kernel over a netlink socket in a network namespace, nil is the program's own.
func within[T any](ns *netns.NsHandle, ask func(*netlink.Handle) (T, error)) fact.Seen[T] {
	h, err := handle(ns)
	if err != nil {
		return fact.Unknown[T](err.Error())
	}
	defer h.Close()
	return fact.See(ask(h))
}

func handle(ns *netns.NsHandle) (*netlink.Handle, error) {
	if ns == nil {
		return netlink.NewHandle(unix.NETLINK_ROUTE)
	}
	return netlink.NewHandleAt(*ns, unix.NETLINK_ROUTE)
}

// retry asks again where the kernel says that what it listed changed meanwhile (NLM_F_DUMP_INTR).
func retry[T any](ask func() ([]T, error)) (all []T, err error) {
	for range 5 {
		if all, err = ask(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return all, err
}

func linksOf(h *netlink.Handle) ([]fact.Link, error) {
	all, err := retry(h.LinkList)
	if err != nil {
		return nil, err
	}
	addresses, err := retry(func() ([]netlink.Addr, error) { return h.AddrList(nil, unix.AF_INET) })
	if err != nil {
		return nil, err
	}
	var out []fact.Link
	for _, l := range all {
		a := l.Attrs()
		link := fact.Link{Name: a.Name, Type: l.Type(), MAC: a.HardwareAddr.String(), MTU: a.MTU, Up: a.Flags&net.FlagUp != 0}
		for _, addr := range addresses {
			if addr.LinkIndex == a.Index {
				link.Addresses = append(link.Addresses, prefixOf(addr.IPNet))
			}
		}
		out = append(out, link)
	}
	return out, nil
}

// types are the route types that ip(8) names, but for unicast (rtnetlink(7)).
var types = map[int]string{
	unix.RTN_BLACKHOLE: "blackhole", unix.RTN_UNREACHABLE: "unreachable", unix.RTN_PROHIBIT: "prohibit", unix.RTN_THROW: "throw",
}

// protocols are the names in iproute2's rt_protos; netlink's own are others.
var protocols = map[int]string{
	unix.RTPROT_KERNEL: "kernel", unix.RTPROT_BOOT: "boot", unix.RTPROT_STATIC: "static", unix.RTPROT_RA: "ra",
	unix.RTPROT_BIRD: "bird", unix.RTPROT_DHCP: "dhcp", unix.RTPROT_ZEBRA: "zebra", unix.RTPROT_BGP: "bgp",
}

// linkNames are the interfaces' names by their index, which is what the kernel calls them in routes and neighbours.
func linkNames(h *netlink.Handle) (map[int]string, error) {
	list, err := retry(h.LinkList)
	names := map[int]string{}
	for _, l := range list {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	return names, err
}

func routesOf(h *netlink.Handle) ([]fact.Route, error) {
	all, err := retry(func() ([]netlink.Route, error) { return h.RouteList(nil, unix.AF_INET) })
	if err != nil {
		return nil, err
	}
	names, err := linkNames(h)
	if err != nil {
		return nil, err
	}
	var out []fact.Route
	for _, r := range all {
		out = append(out, routeOf(r, names))
	}
	return out, nil
}

func routeOf(r netlink.Route, names map[int]string) fact.Route {
	to := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	if r.Dst != nil {
		to = prefixOf(r.Dst)
	}
	name, known := protocols[int(r.Protocol)]
	if !known {
		name = itoa(int(r.Protocol))
	}
	route := fact.Route{Type: types[r.Type], To: to, Dev: names[r.LinkIndex], Protocol: name, Metric: r.Priority}
	if via, ok := netip.AddrFromSlice(r.Gw); ok {
		route.Via = via.Unmap()
	}
	if src, ok := netip.AddrFromSlice(r.Src); ok {
		route.Src = src.Unmap()
	}
	if r.Scope != unix.RT_SCOPE_UNIVERSE {
		route.Scope = r.Scope.String()
	}
	return route
}

// states are the neighbour states that ip(8) names.
var states = map[int]string{
	netlink.NUD_REACHABLE: "reachable", netlink.NUD_STALE: "stale", netlink.NUD_DELAY: "delay", netlink.NUD_PROBE: "probe",
	netlink.NUD_FAILED: "failed", netlink.NUD_INCOMPLETE: "incomplete", netlink.NUD_PERMANENT: "permanent",
}

func neighboursOf(h *netlink.Handle) ([]fact.Neighbour, error) {
	all, err := retry(func() ([]netlink.Neigh, error) { return h.NeighList(0, unix.AF_INET) })
	if err != nil {
		return nil, err
	}
	names, err := linkNames(h)
	if err != nil {
		return nil, err
	}
	var out []fact.Neighbour
	for _, n := range all {
		state, ok := states[n.State]
		addr, valid := netip.AddrFromSlice(n.IP)
		if !ok || !valid {
			continue // multicast and the like
		}
		out = append(out, fact.Neighbour{Address: addr.Unmap(), MAC: n.HardwareAddr.String(), Dev: names[n.LinkIndex], State: state})
	}
	return out, nil
}

func prefixOf(n *net.IPNet) netip.Prefix {
	addr, _ := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(addr.Unmap(), ones)
}

// mounted says whether a network namespace is at a path. Docker leaves the file that one was mounted on behind for up to a minute.
func mounted(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Type == unix.NSFS_MAGIC
}

// sandboxes looks into the network namespaces of the running containers that have one of their own.
func sandboxes(d fact.Seen[fact.Docker]) fact.Seen[[]fact.Sandbox] {
	if d.Unknown != "" {
		return fact.Unknown[[]fact.Sandbox](d.Unknown)
	}
	var all []fact.Sandbox
	for _, c := range d.Value.Containers {
		key := c.NetworkSettings.SandboxKey
		if c.State.Status != "running" || key == "" || c.HostConfig.NetworkMode == "host" {
			continue
		}
		if !mounted(key) {
			continue // it has just ended
		}
		ns, err := netns.GetFromPath(key)
		if err != nil {
			return fact.Unknown[[]fact.Sandbox](err.Error())
		}
		links, routes := within(&ns, linksOf), within(&ns, routesOf)
		ns.Close() //nolint:errcheck // it was read
		if why := cmp.Or(links.Unknown, routes.Unknown); why != "" {
			return fact.Unknown[[]fact.Sandbox](fmt.Sprintf("in %s: %s", key, why))
		}
		all = append(all, fact.Sandbox{Key: key, Container: c.ID, Links: links.Value, Routes: routes.Value})
	}
	return fact.Known(all)
}
