package check

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"sync"

	"github.com/hashicorp/go-version"

	"github.com/calico-cni-lab/lab/magefiles/internal/calico"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
)

// Conditions are all conditions for a lab, from the machines up to the workloads.
func Conditions(s Subject) []Condition {
	var all []Condition
	for _, m := range s.Lab.Machines {
		all = append(all, s.machine(m))
	}
	all = append(all, s.etcd())
	for _, m := range s.Lab.Machines {
		all = append(all, s.calicoctl(m))
	}
	nodes := s.Lab.ByRole(lab.RoleCalico)
	all = append(all, s.registered(nodes), s.nodeRelease())
	for _, m := range nodes {
		all = append(all, s.felix(m), s.golang(m), s.plugins(m))
	}
	pairs(nodes, func(a, b lab.Machine) { all = append(all, s.bgp(a, b)) })
	all = append(all, s.pool())
	w := s.workloads(nodes)
	for _, m := range nodes {
		all = append(all, s.plumbed(m, w))
	}
	pairs(nodes, func(a, b lab.Machine) { all = append(all, s.route(a, b, w)) })
	pairs(nodes, func(a, b lab.Machine) { all = append(all, s.ping(a, b, w), s.tcp(a, b, w)) })
	return all
}

// pairs calls f for every two different nodes, in both directions.
func pairs(nodes []lab.Machine, f func(a, b lab.Machine)) {
	for _, a := range nodes {
		for _, b := range nodes {
			if a.Name != b.Name {
				f(a, b)
			}
		}
	}
}

// ssh is the command line to look at a machine with.
func ssh(m lab.Machine, line string) string { return "go tool mage ssh " + m.Name + " " + line }

// isRelease compares what runs with what is pinned.
func isRelease(what, have string, want *version.Version) (string, error) {
	v, err := version.NewVersion(strings.TrimSpace(have))
	if err != nil {
		return "", fmt.Errorf("%s says its release is %q; pinned is %s", what, have, want)
	}
	if !v.Equal(want) {
		return "", fmt.Errorf("%s is %s; pinned is %s", what, v, want)
	}
	return what + " " + v.String(), nil
}

func (s Subject) machine(m lab.Machine) Condition {
	return Condition{
		Name: m.Name + " answers SSH, has its address and runs Docker Engine",
		Hint: ssh(m, "systemctl --failed"),
		Test: func(ctx context.Context) (string, error) {
			h := s.Hosts[m.Name]
			out, err := h.Sudo(ctx, "docker", "version", "--format", "{{.Server.Version}}")
			if err != nil {
				return "", err
			}
			addresses, err := h.Run(ctx, "ip", "-4", "-oneline", "address", "show")
			if err != nil {
				return "", err
			}
			if !strings.Contains(addresses, " "+m.Address.String()+"/") {
				return "", fmt.Errorf("no interface has %s", m.Address)
			}
			return fmt.Sprintf("%s, Docker Engine %s", m.Address, out), nil
		},
	}
}

func (s Subject) etcd() Condition {
	m := s.Lab.Etcd()
	return Condition{
		Name: "etcd is healthy and of the pinned release",
		Hint: ssh(m, "sudo docker logs --tail 20 etcd"),
		Test: func(ctx context.Context) (string, error) {
			h := s.Hosts[m.Name]
			if err := calico.EtcdHealth(ctx, h, s.Lab); err != nil {
				return "", err
			}
			have, err := calico.EtcdVersion(ctx, h, s.Lab)
			if err != nil {
				return "", err
			}
			return isRelease("etcd", have, s.Pins.Etcd)
		},
	}
}

func (s Subject) calicoctl(m lab.Machine) Condition {
	return Condition{
		Name: "calicoctl on " + m.Name + " is of the pinned release and reads the datastore",
		Hint: ssh(m, "sudo calicoctl version"),
		Test: func(ctx context.Context) (string, error) {
			out, err := s.Hosts[m.Name].Sudo(ctx, "calicoctl", "version")
			if err != nil {
				return "", err
			}
			return isRelease("calicoctl", strings.TrimPrefix(field(out, "Client Version:"), "v"), s.Pins.Calico)
		},
	}
}

// field gives what stands behind a label in "Label: value" lines.
func field(text, label string) string {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), label); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func (s Subject) registered(nodes []lab.Machine) Condition {
	var names []string
	for _, m := range nodes {
		names = append(names, m.Name)
	}
	return Condition{
		Name: strings.Join(names, " and ") + " are registered with their addresses",
		Hint: ssh(s.Lab.Etcd(), "sudo calicoctl get nodes -o wide"),
		Test: func(ctx context.Context) (string, error) {
			have, err := calico.Nodes(ctx, s.Hosts[s.Lab.Etcd().Name])
			if err != nil {
				return "", err
			}
			var seen []string
			for _, m := range nodes {
				address, ok := have[m.Name]
				if !ok {
					return "", fmt.Errorf("the datastore does not know %s", m.Name)
				}
				if address.Addr() != m.Address {
					return "", fmt.Errorf("%s is registered with %s, not with %s", m.Name, address, m.Address)
				}
				seen = append(seen, m.Name+" "+address.String())
			}
			return strings.Join(seen, ", "), nil
		},
	}
}

func (s Subject) nodeRelease() Condition {
	m := s.Lab.Etcd()
	return Condition{
		Name: "calico-node is of the pinned release",
		Hint: ssh(m, "sudo calicoctl get clusterinformation default -o yaml"),
		Test: func(ctx context.Context) (string, error) {
			have, err := calico.ClusterVersion(ctx, s.Hosts[m.Name])
			if err != nil {
				return "", err
			}
			return isRelease("calico-node", have, s.Pins.Calico)
		},
	}
}

// felixHealth is where Felix tells of itself (FelixConfiguration: healthHost, healthPort).
const felixHealth = "http://localhost:9099/readiness"

func (s Subject) felix(m lab.Machine) Condition {
	return Condition{
		Name: "Felix on " + m.Name + " is ready",
		Hint: ssh(m, "sudo docker logs --tail 20 "+calico.NodeContainer(s.Pins.Calico)),
		Test: func(ctx context.Context) (string, error) {
			out, err := s.Hosts[m.Name].Run(ctx, "curl", "--silent", "--output", "/dev/null", "--max-time", "2",
				"--write-out", "%{http_code}", felixHealth)
			if err != nil {
				return "", fmt.Errorf("nothing answers at %s", felixHealth)
			}
			// 200 comes with a report, 204 without one.
			if out != "200" && out != "204" {
				return "", fmt.Errorf("%s answers %s", felixHealth, out)
			}
			return felixHealth + " answers " + out, nil
		},
	}
}

func (s Subject) golang(m lab.Machine) Condition {
	return Condition{
		Name: "Go on " + m.Name + " is of the pinned release, in a login shell",
		Hint: ssh(m, "'bash -lc \"go version\"'"),
		Test: func(ctx context.Context) (string, error) {
			out, err := s.Hosts[m.Name].Run(ctx, "bash", "-lc", calico.QuietGo+" go env GOVERSION")
			if err != nil {
				return "", err
			}
			return isRelease("Go", strings.TrimPrefix(out, "go"), s.Lab.Versions.Go)
		},
	}
}

func (s Subject) plugins(m lab.Machine) Condition {
	return Condition{
		Name: "cnitool and the CNI plugins on " + m.Name + " are of the pinned releases",
		Hint: ssh(m, "ls -l "+calico.PluginDir+" "+calico.ConfDir+" go/bin"),
		Test: func(ctx context.Context) (string, error) {
			h := s.Hosts[m.Name]
			cnitool, err := calico.Cnitool(ctx, h)
			if err != nil {
				return "", err
			}
			var seen []string
			for _, p := range []struct {
				what, program, module string
				want                  *version.Version
			}{
				{"cnitool", cnitool, "github.com/containernetworking/cni", s.Pins.Cnitool},
				{"loopback", calico.PluginDir + "/loopback", "github.com/containernetworking/plugins", s.Pins.Plugins},
			} {
				have, err := calico.ReleaseInGo(ctx, h, p.program, p.module)
				if err != nil {
					return "", err
				}
				text, err := isRelease(p.what, have, p.want)
				if err != nil {
					return "", err
				}
				seen = append(seen, text)
			}
			for _, name := range []string{"calico", "calico-ipam"} {
				have, err := h.Run(ctx, calico.PluginDir+"/"+name, "-v")
				if err != nil {
					return "", err
				}
				text, err := isRelease(name, strings.TrimPrefix(have, "v"), s.Pins.Calico)
				if err != nil {
					return "", err
				}
				seen = append(seen, text)
			}
			return strings.Join(seen, ", "), nil
		},
	}
}

func (s Subject) bgp(a, b lab.Machine) Condition {
	return Condition{
		Name: fmt.Sprintf("BGP %s -> %s is Established", a.Address, b.Address),
		Hint: ssh(a, "sudo calicoctl node status"),
		Test: func(ctx context.Context) (string, error) {
			peers, err := calico.Peers(ctx, s.Hosts[a.Name], calico.NodeContainer(s.Pins.Calico))
			if err != nil {
				return "", err
			}
			if p := peers[b.Address]; !p.Established() {
				return "", fmt.Errorf("BIRD on %s says of %s: %s", a.Name, b.Address, p)
			}
			return "node-to-node mesh, up, Established", nil
		},
	}
}

func (s Subject) pool() Condition {
	want := s.Lab.Pool
	return Condition{
		Name: "IP pool " + want.Name + " is as in lab.yaml",
		Hint: ssh(s.Lab.Etcd(), "sudo calicoctl get ippool -o yaml"),
		Test: func(ctx context.Context) (string, error) {
			have, err := calico.Pool(ctx, s.Hosts[s.Lab.Etcd().Name], want.Name)
			if err != nil {
				return "", err
			}
			if have == nil {
				return "", fmt.Errorf("there is no pool %s", want.Name)
			}
			if d, _ := calico.PoolDifferences(have, want); len(d) > 0 {
				return "", errors.New(strings.Join(d, ", "))
			}
			return fmt.Sprintf("%s, blocks of /%d, ipipMode %s, natOutgoing %t", have.Spec.CIDR, have.Spec.BlockSize, have.Spec.IPIPMode, have.Spec.NATOutgoing), nil
		},
	}
}

// workload finds a node's workload; several conditions ask for the same.
type workload func(ctx context.Context, m lab.Machine) (calico.Plumbed, error)

// workloads finds each workload once; one that isn't there is looked for again by the next who asks.
func (s Subject) workloads(nodes []lab.Machine) workload {
	type found struct {
		sync.Mutex
		calico.Plumbed
		ok bool
	}
	all := map[string]*found{}
	for _, m := range nodes {
		all[m.Name] = &found{}
	}
	return func(ctx context.Context, m lab.Machine) (calico.Plumbed, error) {
		f := all[m.Name]
		f.Lock()
		defer f.Unlock()
		if f.ok {
			return f.Plumbed, nil
		}
		w, lack, err := calico.Workload(ctx, s.Hosts[m.Name], s.Lab, m)
		if err != nil {
			return w, err
		}
		if lack != "" {
			return w, fmt.Errorf("%s: %w: %s", m.Name, errNoWorkload, lack)
		}
		f.Plumbed, f.ok = w, true
		return w, nil
	}
}

func (s Subject) plumbed(m lab.Machine, find workload) Condition {
	return Condition{
		Name: "workload on " + m.Name + " has an address of the pool, from a block of its node",
		Hint: "go tool mage plumb, then " + ssh(m, "sudo docker exec "+calico.WorkloadContainer+" ip address"),
		Test: func(ctx context.Context) (string, error) {
			w, err := find(ctx, m)
			if err != nil {
				return "", err
			}
			if !s.Lab.Pool.CIDR.Contains(w.Address) {
				return "", fmt.Errorf("%s is not in %s", w.Address, s.Lab.Pool.CIDR)
			}
			routes, err := calico.Routes(ctx, s.Hosts[m.Name])
			if err != nil {
				return "", err
			}
			for _, b := range calico.Blocks(routes) {
				if b.Contains(w.Address) {
					return fmt.Sprintf("%s on %s, from block %s", w.Address, w.IfName, b), nil
				}
			}
			return "", fmt.Errorf("%s has no block with %s: no route `blackhole ... proto bird` holds it", m.Name, w.Address)
		},
	}
}

func (s Subject) route(a, b lab.Machine, find workload) Condition {
	return Condition{
		Name: fmt.Sprintf("%s has %s's block via %s, proto bird", a.Name, b.Name, b.Address),
		Hint: ssh(a, "ip route"),
		Test: func(ctx context.Context) (string, error) {
			w, err := find(ctx, b)
			if err != nil {
				return "", err
			}
			routes, err := calico.Routes(ctx, s.Hosts[a.Name])
			if err != nil {
				return "", err
			}
			for _, r := range routes {
				p, err := netip.ParsePrefix(r.Dst)
				if err == nil && p.Contains(w.Address) && r.Gateway == b.Address.String() && r.Protocol == "bird" {
					return r.String(), nil
				}
			}
			return "", fmt.Errorf("no such route to %s", w.Address)
		},
	}
}

var ttl = regexp.MustCompile(`ttl=(\d+) time=(\S+ \S+)`)

// hops is what is left of Linux' 64 after the two machines in between.
const hops = "62"

func (s Subject) ping(a, b lab.Machine, find workload) Condition {
	return Condition{
		Name: fmt.Sprintf("workload on %s reaches workload on %s by ping, TTL %s", a.Name, b.Name, hops),
		Hint: ssh(a, "sudo docker exec "+calico.WorkloadContainer+" ping -c 3 ADDRESS"),
		Test: func(ctx context.Context) (string, error) {
			w, err := both(ctx, a, b, find)
			if err != nil {
				return "", err
			}
			out, err := inWorkload(ctx, s.Hosts[a.Name], "ping", "-c", "1", "-W", "1", w.Address.String())
			if err != nil {
				return "", fmt.Errorf("no answer from %s", w.Address)
			}
			m := ttl.FindStringSubmatch(out)
			if m == nil || m[1] != hops {
				return "", fmt.Errorf("the answer from %s came another way: %s", w.Address, strings.Join(m, " "))
			}
			return fmt.Sprintf("%s answers, ttl %s, %s", w.Address, m[1], m[2]), nil
		},
	}
}

func (s Subject) tcp(a, b lab.Machine, find workload) Condition {
	return Condition{
		Name: fmt.Sprintf("workload on %s reaches workload on %s by TCP, with its own address", a.Name, b.Name),
		Hint: ssh(a, fmt.Sprintf("sudo docker exec %s socat - TCP:ADDRESS:%d", calico.WorkloadContainer, calico.WorkloadPort)),
		Test: func(ctx context.Context) (string, error) {
			from, err := find(ctx, a)
			if err != nil {
				return "", err
			}
			to, err := find(ctx, b)
			if err != nil {
				return "", err
			}
			target := netip.AddrPortFrom(to.Address, calico.WorkloadPort)
			out, err := inWorkload(ctx, s.Hosts[a.Name], "socat", "-T2", "-u", fmt.Sprintf("TCP:%s,connect-timeout=2", target), "-")
			if err != nil {
				return "", fmt.Errorf("no connection to %s", target)
			}
			if want := fmt.Sprintf("workload on %s sees you as %s", b.Name, from.Address); out != want {
				return "", fmt.Errorf("%s says %q, not %q", target, out, want)
			}
			return fmt.Sprintf("%s says: %s", target, out), nil
		},
	}
}

// both sees that there are workloads on both nodes and gives the second.
func both(ctx context.Context, a, b lab.Machine, find workload) (calico.Plumbed, error) {
	if w, err := find(ctx, a); err != nil {
		return w, err
	}
	return find(ctx, b)
}

func inWorkload(ctx context.Context, h *remote.Host, args ...string) (string, error) {
	return h.Sudo(ctx, append([]string{"docker", "exec", calico.WorkloadContainer}, args...)...)
}
