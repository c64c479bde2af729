// Package calico asks a machine what Calico, BIRD, etcd and CNI have made of it, with the tools that a person
// would use there: calicoctl, birdcl, cnitool, ip.
package calico

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/hashicorp/go-version"
	v3 "github.com/projectcalico/api/pkg/apis/projectcalico/v3"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
)

// EtcdURL is the datastore's client URL on the underlay.
func EtcdURL(l *lab.Lab) string {
	return "http://" + netip.AddrPortFrom(l.Etcd().Address, 2379).String()
}

// EtcdHealth asks etcd's health endpoint, from a machine.
func EtcdHealth(ctx context.Context, h *remote.Host, l *lab.Lab) error {
	var health struct{ Health, Reason string }
	if err := getJSON(ctx, h, EtcdURL(l)+"/health", &health); err != nil {
		return err
	}
	if health.Health != "true" {
		return fmt.Errorf("etcd is not healthy: %s", health.Reason)
	}
	return nil
}

// EtcdVersion gives the release of the etcd that answers.
func EtcdVersion(ctx context.Context, h *remote.Host, l *lab.Lab) (string, error) {
	var v struct{ Etcdserver string }
	err := getJSON(ctx, h, EtcdURL(l)+"/version", &v)
	return v.Etcdserver, err
}

func getJSON(ctx context.Context, h *remote.Host, url string, into any) error {
	out, err := h.Run(ctx, "curl", "--silent", "--show-error", "--fail-with-body", "--max-time", "2", url)
	const httpError = 22 // curl's exit status; the body says more
	switch status := command.Status(err); {
	case err == nil, status == httpError:
	case status >= 0:
		return fmt.Errorf("nothing answers at %s", url)
	default:
		return err
	}
	return json.Unmarshal([]byte(out), into)
}

// NodeContainer names calico-node's container for its release, as the tutorial does: calico-release-v3.31
func NodeContainer(v *version.Version) string {
	s := v.Segments()
	return fmt.Sprintf("calico-release-v%d.%d", s[0], s[1])
}

// list is the shape of calicoctl's lists.
type list[T any] struct {
	Items []T `json:"items"`
}

// get runs calicoctl get and decodes its JSON.
func get(ctx context.Context, h *remote.Host, into any, args ...string) error {
	out, err := h.Sudo(ctx, append([]string{"calicoctl", "get", "--output=json"}, args...)...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(out), into); err != nil {
		return fmt.Errorf("calicoctl get %s on %s: %w", strings.Join(args, " "), h.Name, err)
	}
	return nil
}

// node is what is read of a Node resource. Its type is calicoctl's own, not projectcalico/api's.
type node struct {
	Metadata struct{ Name string }
	Spec     struct{ BGP struct{ IPv4Address string } }
}

// Nodes gives the registered nodes and the addresses they registered with.
func Nodes(ctx context.Context, h *remote.Host) (map[string]netip.Prefix, error) {
	var l list[node]
	if err := get(ctx, h, &l, "nodes"); err != nil {
		return nil, err
	}
	nodes := map[string]netip.Prefix{}
	for _, n := range l.Items {
		// A node that hasn't got as far as its address has none.
		nodes[n.Metadata.Name], _ = netip.ParsePrefix(n.Spec.BGP.IPv4Address)
	}
	return nodes, nil
}

// ClusterVersion gives the release that calico-node wrote into the datastore when it started.
func ClusterVersion(ctx context.Context, h *remote.Host) (string, error) {
	var info v3.ClusterInformation
	err := get(ctx, h, &info, "clusterinformation", "default")
	return strings.TrimPrefix(info.Spec.CalicoVersion, "v"), err
}

// Pools gives all IP pools.
func Pools(ctx context.Context, h *remote.Host) ([]v3.IPPool, error) {
	var l list[v3.IPPool]
	err := get(ctx, h, &l, "ippools")
	return l.Items, err
}

// Pool gives an IP pool, nil where there is none of that name.
func Pool(ctx context.Context, h *remote.Host, name string) (*v3.IPPool, error) {
	pools, err := Pools(ctx, h)
	if i := slices.IndexFunc(pools, func(p v3.IPPool) bool { return p.Name == name }); i >= 0 {
		return &pools[i], nil
	}
	return nil, err
}

// ApplyPool makes or updates an IP pool.
func ApplyPool(ctx context.Context, h *remote.Host, pool *v3.IPPool) error {
	data, err := json.Marshal(pool)
	if err != nil {
		return err
	}
	_, err = h.Feed(ctx, strings.NewReader(string(data)), "calicoctl", "apply", "--filename=-")
	return err
}

// Peer is one BGP session as BIRD sees it.
type Peer struct {
	State string // of the protocol: up, start, down
	Info  string // of the session: Established, Active, Connect, ...
}

// Established says whether routes are exchanged.
func (p Peer) Established() bool { return p.State == "up" && p.Info == "Established" }

func (p Peer) String() string {
	if p == (Peer{}) {
		return "not configured"
	}
	return strings.TrimSpace(p.State + " " + p.Info)
}

// Peers asks the BIRD in a node's container for its mesh sessions, by the peer's address.
func Peers(ctx context.Context, h *remote.Host, container string) (map[netip.Addr]Peer, error) {
	out, err := h.Sudo(ctx, "docker", "exec", container, "birdcl", "-s", "/var/run/calico/bird.ctl", "show", "protocols")
	if err != nil {
		return nil, err
	}
	return parsePeers(out), nil
}

// parsePeers reads `birdcl show protocols`. confd names a session of the mesh for the peer: Mesh_192_168_4_6
func parsePeers(out string) map[netip.Addr]Peer {
	peers := map[netip.Addr]Peer{}
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) < 5 || f[1] != "BGP" {
			continue
		}
		name, ok := strings.CutPrefix(f[0], "Mesh_")
		if !ok {
			continue
		}
		addr, err := netip.ParseAddr(strings.ReplaceAll(name, "_", "."))
		if err == nil {
			peers[addr] = Peer{State: f[3], Info: strings.Join(f[5:], " ")}
		}
	}
	return peers
}

// Route is one entry of a machine's main routing table.
type Route struct {
	Type     string `json:"type"` // blackhole, or "" for unicast
	Dst      string `json:"dst"`
	Gateway  string `json:"gateway"`
	Dev      string `json:"dev"`
	Protocol string `json:"protocol"`
}

func (r Route) String() string {
	if r.Gateway == "" {
		return strings.TrimSpace(fmt.Sprintf("%s %s proto %s", r.Type, r.Dst, r.Protocol))
	}
	return fmt.Sprintf("%s via %s dev %s proto %s", r.Dst, r.Gateway, r.Dev, r.Protocol)
}

// Routes gives a machine's IPv4 routes.
func Routes(ctx context.Context, h *remote.Host) ([]Route, error) {
	out, err := h.Run(ctx, "ip", "-4", "-json", "route", "show")
	if err != nil {
		return nil, err
	}
	var routes []Route
	return routes, json.Unmarshal([]byte(out), &routes)
}

// Blocks gives the blocks that a node has, from the blackhole routes that BIRD keeps for them: what is in
// a block and nowhere else is dropped, not sent in circles.
func Blocks(routes []Route) []netip.Prefix {
	var blocks []netip.Prefix
	for _, r := range routes {
		p, err := netip.ParsePrefix(r.Dst)
		if r.Type == "blackhole" && r.Protocol == "bird" && err == nil {
			blocks = append(blocks, p)
		}
	}
	return blocks
}

// QuietGo begins a command line that calls the go command to look, so that it doesn't write its counters to the login
// user's directory.
const QuietGo = "env GOENV=off XDG_CONFIG_HOME=/dev/null"

// ReleaseInGo gives the release of a module that a Go program on a machine was built with.
func ReleaseInGo(ctx context.Context, h *remote.Host, program, module string) (string, error) {
	out, err := h.Run(ctx, append(strings.Fields(QuietGo), "/usr/local/go/bin/go", "version", "-m", program)...)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) >= 3 && (f[0] == "dep" || f[0] == "mod") && f[1] == module {
			return strings.TrimPrefix(f[2], "v"), nil
		}
	}
	return "", fmt.Errorf("%s on %s was not built from %s", program, h.Name, module)
}
