package stage

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/spec"
)

// withRouter is the recorded lab with a router that all is well with.
func withRouter(t *testing.T) (*Env, *fact.Lab) {
	t.Helper()
	f := recording(t, healthyFile)
	e := envOf(t, f, "")
	tor := lab.Machine{Name: "tor", Role: lab.RoleRouter, Address: netip.MustParseAddr("192.168.4.8"), AS: 64513}
	e.Lab.Machines = append(e.Lab.Machines, tor)
	s, err := spec.New(e.Lab, e.Pins, e.Artifacts)
	if err != nil {
		t.Fatal(err)
	}
	s.Certificates, e.Spec = e.Certificates, s

	seen := f.Machines["etcd-node"]
	seen.Links.Value = slices.Clone(seen.Links.Value)
	link(seen.Links.Value, "host0", func(l *fact.Link) { l.Addresses = []netip.Prefix{prefix("192.168.4.8/24")} })
	seen.Forwarding = fact.Known(true)
	seen.BIRD = speaking("Node_192.168.4.5", "Node_192.168.4.6").BIRD
	seen.Docker.Value.Containers = []fact.Container{made(e.Router())}
	conf := e.RouterFiles(tor)[0]
	seen.Files = fact.Known(map[string]fact.File{conf.Path: {SHA256: conf.Sum(), Mode: "644", Owner: "root:root"}})
	f.Machines["tor"] = seen
	for _, name := range []string{"calico1", "calico2"} {
		at(name, func(m *fact.Machine) {
			m.BIRD.Value.Protocols = append(m.BIRD.Value.Protocols, speaking("Global_192.168.4.8").BIRD.Value.Protocols...)
		})(f)
	}
	f.Datastore.Value.Peers = []fact.PeerResource{{Name: "calico-cni-lab.router.tor", PeerIP: "192.168.4.8", AS: json.Number("64513"), KeepNextHop: true}}
	return e, f
}

// made is a container that runs as it is to.
func made(c spec.Container) (is fact.Container) {
	is.Name, is.State.Status = "/"+c.Name, "running"
	is.Config.Image, is.Config.Cmd, is.Config.Labels = c.Image.Ref, c.Cmd, map[string]string{fact.LabelPart: c.Part, fact.LabelImage: c.Image.ID}
	is.HostConfig.NetworkMode, is.HostConfig.RestartPolicy.Name = c.Network, "unless-stopped"
	is.HostConfig.Binds, is.HostConfig.CapAdd, is.HostConfig.MaskedPaths = c.Volumes, c.Caps, []string{"/proc/kcore"}
	return is
}

// TestRouter: what is wrong with a router is said of it first; the nodes' routes to one another need none.
func TestRouter(t *testing.T) {
	peers := func(do func(*fact.PeerResource)) func(*fact.Lab) {
		return store(func(d *fact.Datastore) { do(&d.Peers[0]) })
	}
	for _, c := range []struct {
		name string
		do   func(*fact.Lab)
		want []string
	}{
		{"all is well", func(*fact.Lab) {}, nil},
		{
			"another configuration", at("tor", change("/etc/bird/bird.conf", func(f *fact.File) { f.SHA256 = "other" })),
			[]string{"router-conf/tor broken: /etc/bird/bird.conf has other contents"},
		},
		{
			"stopped", both(
				at("tor", func(m *fact.Machine) {
					container(fact.PartRouter, func(c *fact.Container) { c.State.Status = "exited" })(m)
					m.BIRD = fact.Unknown[fact.BIRD]("BIRD doesn't run")
				}),
				at("calico1", func(m *fact.Machine) { unspoken(m, "Global_192_168_4_8") }), at("calico2", func(m *fact.Machine) { unspoken(m, "Global_192_168_4_8") }),
			),
			[]string{
				"router/tor broken: container bird is exited", "bird/tor broken: BIRD doesn't run",
				"bgp/calico1 broken: not Established with 192.168.4.8 (start Connect)", "bgp/calico2 broken: not Established with 192.168.4.8 (start Connect)",
				"bgp/tor unknown: BIRD doesn't run",
			},
		},
		{
			"no BGPPeer", store(func(d *fact.Datastore) { d.Peers = nil }),
			[]string{"routers broken: there is no BGPPeer calico-cni-lab.router.tor"},
		},
		{
			"another AS", peers(func(p *fact.PeerResource) { p.AS = "64514" }),
			[]string{"routers broken: BGPPeer calico-cni-lab.router.tor has been changed"},
		},
		{
			"next hops of the teller's own", peers(func(p *fact.PeerResource) { p.KeepNextHop = false }),
			[]string{"routers broken: BGPPeer calico-cni-lab.router.tor has been changed"},
		},
		{
			"a session is down", at("tor", func(m *fact.Machine) { unspoken(m, "Node_192_168_4_5") }),
			[]string{"bgp/tor broken: not Established with 192.168.4.5 (start Connect)"},
		},
		{
			"it forwards nothing", at("tor", func(m *fact.Machine) { m.Forwarding = fact.Known(false) }),
			[]string{"forwarding/tor broken: net.ipv4.ip_forward is 0: it routes nothing"},
		},
	} {
		e, f := withRouter(t)
		c.do(f)
		var got []string
		r := results(e, f)
		for _, res := range r.Unmet() {
			got = append(got, fmt.Sprintf("%s %s: %s", res.ID, res.State, res.Found))
			if !res.Mendable() {
				t.Errorf("%s: %s can't be mended", c.name, res.ID)
			}
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

// unspoken ends a session.
func unspoken(m *fact.Machine, session string) {
	m.BIRD.Value.Protocols = slices.Clone(m.BIRD.Value.Protocols)
	for i, p := range m.BIRD.Value.Protocols {
		if p.Name == session {
			m.BIRD.Value.Protocols[i].State, m.BIRD.Value.Protocols[i].Info = "start", "Connect"
		}
	}
}

// TestRouterConditions: each kind that a router brings is one that TestRouter breaks, or that other machines have, too.
func TestRouterConditions(t *testing.T) {
	e, f := withRouter(t)
	var got []string
	for _, c := range Conditions(e, All()) {
		if kind, machine, _ := strings.Cut(c.ID, "/"); machine == "tor" || kind == "routers" {
			got = append(got, c.ID)
			if c.Test(f).State != check.Holds {
				t.Errorf("%s: %+v", c.ID, c.Test(f))
			}
		}
	}
	want := []string{"machine/tor", "link/tor", "packages/tor", "docker/tor", "router-conf/tor", "router/tor", "routers", "forwarding/tor", "bird/tor", "bgp/tor"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
