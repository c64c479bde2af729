package stage

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/spec"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// session changes calico1's only BGP session.
func session(do func(*fact.Protocol)) func(*fact.Lab) {
	return at("calico1", func(m *fact.Machine) {
		all := m.BIRD.Value.Protocols
		do(&all[slices.IndexFunc(all, func(p fact.Protocol) bool { return p.Proto == "BGP" })])
	})
}

// registered changes calico1's node in the datastore.
func registered(do func(*fact.Node)) func(*fact.Lab) {
	return store(func(d *fact.Datastore) {
		do(&d.Nodes[slices.IndexFunc(d.Nodes, func(n fact.Node) bool { return n.Name == "calico1" })])
	})
}

var calicoMutations = []mutation{
	{
		"etcd-certificates/etcd-node", "another lab's", at("etcd-node", change("/etc/calico/pki/etcd/tls.crt", func(f *fact.File) { f.SHA256 = "other" })),
		"/etc/calico/pki/etcd/tls.crt has other contents", nil,
	},
	{
		"etcd-auth/etcd-node", "off", at("etcd-node", func(m *fact.Machine) { m.Auth.Value.Enabled = false }),
		"authentication is off: whoever has a certificate may do everything", nil,
	},
	{
		"etcd-auth/etcd-node", "the plugin's user is gone", at("etcd-node", func(m *fact.Machine) { delete(m.Auth.Value.Users, "calico-cni") }),
		"etcd doesn't know calico-cni", nil,
	},
	{
		"etcd-auth/etcd-node", "calico-node may do everything", at("etcd-node", func(m *fact.Machine) { m.Auth.Value.Users["calico-node"] = []string{"calico-node", "root"} }),
		"calico-node has the roles calico-node, root, not calico-node", nil,
	},
	{
		"etcd-auth/etcd-node", "the plugin may write nodes", at("etcd-node", func(m *fact.Machine) {
			m.Auth.Value.Roles["calico-cni"] = append(m.Auth.Value.Roles["calico-cni"], fact.Below("/calico/resources/v3/projectcalico.org/nodes/", true))
		}), "role calico-cni has other rights than it is to have", nil,
	},
	{
		"certificates/calico1", "a key that others may read", at("calico1", change("/etc/calico/pki/calico-cni/tls.key", func(f *fact.File) { f.Mode = "644" })),
		"/etc/calico/pki/calico-cni/tls.key has mode 644, not 600", nil,
	},
	{"certificates/calico2", "missing", at("calico2", file("/etc/calico/pki/calico-node/ca.crt", fact.File{})), "/etc/calico/pki/calico-node/ca.crt is missing", nil},
	{"calicoctl/etcd-node", "missing", at("etcd-node", file("/usr/local/bin/calicoctl", fact.File{})), "/usr/local/bin/calicoctl is missing", nil},
	{
		"calicoctl/calico1", "another etcd's configuration", at("calico1", change("/etc/calico/calicoctl.cfg", func(f *fact.File) { f.SHA256 = "other" })),
		"/etc/calico/calicoctl.cfg has other contents", nil,
	},
	{
		"calico-node/calico1", "stopped", at("calico1", container(fact.PartNode, func(c *fact.Container) { c.State.Status = "exited" })),
		"container calico-release-v3.31 is exited", nil,
	},
	{
		"calico-node/calico2", "another address", at("calico2", container(fact.PartNode, func(c *fact.Container) {
			c.Config.Env = slices.DeleteFunc(c.Config.Env, func(v string) bool { return strings.HasPrefix(v, "IP=") })
		})), "container calico-release-v3.31 has another environment", nil,
	},
	{
		"reflectors", "one is left", store(func(d *fact.Datastore) { d.Nodes[0].Reflector = true }),
		"calico1 still is a route reflector of the lab's", nil,
	},
	{
		"reflectors", "the peers are left", store(func(d *fact.Datastore) { d.Peers = []fact.PeerResource{{Name: spec.ReflectorPeer}} }),
		"BGPPeer calico-cni-lab.reflectors is still there", nil,
	},
	{"reflectors", "AS number is left", store(func(d *fact.Datastore) { d.BGP.AS, d.BGP.LabAS = "65000", "65000" }), "the AS number still is lab.yaml's former one, 65000", nil},
	{"mesh", "off", store(func(d *fact.Datastore) { d.BGP.MeshOff = true }), "bgpconfiguration default has nodeToNodeMeshEnabled: false", nil},
	{"node/calico1", "not registered", registered(func(n *fact.Node) { n.Name = "calico9" }), "the datastore doesn't know the node", nil},
	{
		"node/calico1", "the wrong address", registered(func(n *fact.Node) { n.Address = prefix("10.0.2.15/24") }),
		"calico1 is registered with 10.0.2.15/24, not with 192.168.4.5", nil,
	},
	{
		"node/calico1", "of an etcd that lost its data", func(l *fact.Lab) {
			l.DatastoreAt = l.At
			registered(func(n *fact.Node) { n.Created = l.DatastoreAt.Add(-10 * time.Second) })(l)
			at("calico1", container(fact.PartNode, func(c *fact.Container) {
				c.State.StartedAt = l.Machines["calico1"].At.Add(-5 * time.Minute).Format(time.RFC3339Nano)
			}))(l)
		}, "calico-node had run for 4m50s when calico1 was registered: it watches a datastore that is no longer there", nil,
	},
	{"node/calico1", "no address yet", registered(func(n *fact.Node) { n.Address = netip.Prefix{} }), "calico1 is registered without an address", nil},
	{"forwarding/calico1", "off", at("calico1", func(m *fact.Machine) { m.Forwarding.Value = false }), "net.ipv4.ip_forward is 0: no workload reaches another node", nil},
	{"datastore/calico1", "packets to etcd are dropped", at("calico1", func(m *fact.Machine) {
		m.Dialled = fact.Known([]fact.Dialled{{To: netip.MustParseAddrPort("192.168.4.7:2379"), Said: "dial tcp 192.168.4.7:2379: i/o timeout"}})
	}), "dial tcp 192.168.4.7:2379: i/o timeout", nil},
	{"felix/calico1", "stopped", at("calico1", func(m *fact.Machine) { m.Felix.Value = fact.Health{Said: "nothing answers"} }), "nothing answers", nil},
	{"bird/calico1", "stopped", at("calico1", func(m *fact.Machine) { m.BIRD = fact.Unknown[fact.BIRD]("BIRD doesn't run") }), "BIRD doesn't run", on1("bgp", "routes")},
	{
		"bgp/calico1", "no connection", session(func(p *fact.Protocol) { p.State, p.Info = "start", "Active Socket: Connection refused" }),
		"not Established with 192.168.4.6 (start Active Socket: Connection refused)", on1("routes"),
	},
	{"bgp/calico1", "switched off", session(func(p *fact.Protocol) { p.State, p.Info = "down", "" }), "not Established with 192.168.4.6 (down)", on1("routes")},
	{
		"bgp/calico1", "one too many", at("calico1", func(m *fact.Machine) {
			m.BIRD.Value.Protocols = append(m.BIRD.Value.Protocols, fact.Protocol{Name: "Mesh_192_168_4_9", Proto: "BGP", State: "start", Info: "Connect"})
		}), "there is also a session with 192.168.4.9", nil,
	},
	{"bgp/calico1", "no session", session(func(p *fact.Protocol) { p.Name = "Mesh_192_168_4_66" }), "not Established with 192.168.4.6 (BIRD has no session)", on1("routes")},
	{
		"routes/calico1", "missing", at("calico1", without(func(r fact.Route) bool { return r.To == prefix("10.1.86.64/26") })),
		"missing: 10.1.86.64/26 via 192.168.4.6", nil,
	},
	{
		"routes/calico1", "not BIRD's", at("calico1", func(m *fact.Machine) {
			for i, r := range m.Routes.Value {
				if r.To == prefix("10.1.86.64/26") {
					m.Routes.Value[i].Protocol = "static"
				}
			}
		}), "missing: 10.1.86.64/26 via 192.168.4.6", nil,
	},
	{
		"routes/calico2", "a block that is new", store(func(d *fact.Datastore) {
			d.Blocks = append(d.Blocks, fact.Block{CIDR: prefix("10.1.0.0/26"), Node: "calico1"})
		}), "missing: 10.1.0.0/26 via 192.168.4.5", nil,
	},
	{
		"calico-release", "another", store(func(d *fact.Datastore) { d.Cluster.Version = "v3.30.0" }),
		`the datastore says that Calico is "v3.30.0"; pinned is v3.31.0`, nil,
	},
}

var fileMutations = []mutation{
	{"go/calico1", "none", at("calico1", func(m *fact.Machine) { m.Go.Value = fact.Tree{} }), "there is no Go in /usr/local/go", nil},
	{"go/calico1", "another", at("calico1", func(m *fact.Machine) { m.Go.Value.Version = "go1.25.0" }), "go1.25.0 is in /usr/local/go", nil},
	{"go/calico1", "not whole", at("calico1", func(m *fact.Machine) { m.Go.Value.Files = 7 }), "go1.26.11 has 7 files in /usr/local/go, it should have 11524", nil},
	{"go-path/calico1", "missing", at("calico1", file("/etc/profile.d/golang.sh", fact.File{})), "/etc/profile.d/golang.sh is missing", nil},
	{"plugins/calico1", "other contents", at("calico1", change("/opt/cni/bin/portmap", func(f *fact.File) { f.SHA256 = "other" })), "/opt/cni/bin/portmap has other contents", nil},
	{"plugins/calico1", "not executable", at("calico1", change("/opt/cni/bin/calico", func(f *fact.File) { f.Mode = "644" })), "/opt/cni/bin/calico has mode 644, not 755", nil},
	{"plugins/calico1", "a user's", at("calico1", change("/opt/cni/bin/ptp", func(f *fact.File) { f.Owner = "vagrant:vagrant" })), "/opt/cni/bin/ptp belongs to vagrant:vagrant", nil},
	{"plugins/calico1", "no link", at("calico1", file("/opt/cni/bin/calico-ipam", fact.File{SHA256: "x", Mode: "755", Owner: "root:root"})), "/opt/cni/bin/calico-ipam is not a link to calico", nil},
	{
		"plugins/calico2", "several", both(at("calico2", file("/opt/cni/bin/calico", fact.File{})), at("calico2", file("/opt/cni/bin/ptp", fact.File{})), at("calico2", file("/opt/cni/bin/tuning", fact.File{}))),
		"/opt/cni/bin/calico is missing, and something is wrong with 2 more", nil,
	},
	{
		"conflist/calico1", "other contents", at("calico1", change("/etc/cni/net.d/10-test-calico.conflist", func(f *fact.File) { f.SHA256 = "other" })),
		"/etc/cni/net.d/10-test-calico.conflist has other contents", nil,
	},
	{"cnitool/calico1", "root's", at("calico1", change("~/go/bin/cnitool", func(f *fact.File) { f.Owner = "root:root" })), "~/go/bin/cnitool belongs to root:root", nil},
	{"cnitool/calico2", "no plugins beside it", at("calico2", file("~/go/bin/calico", fact.File{})), "~/go/bin/calico is missing", nil},
}

// attachment changes calico1's.
func attachment(do func(*fact.Attachment)) func(*fact.Lab) {
	return at("calico1", func(m *fact.Machine) { do(&m.Attachments.Value[0]) })
}

// inside changes the workload's network namespace on calico1.
func inside(do func(*fact.Sandbox)) func(*fact.Lab) {
	return at("calico1", func(m *fact.Machine) { do(&m.Sandboxes.Value[0]) })
}

// answered changes what the probe from calico1 came to.
func answered(do func(*fact.Probe)) func(*fact.Lab) {
	return func(f *fact.Lab) { do(&f.Probes["calico1"].Value[0]) }
}

var plumbMutations = []mutation{
	{
		"workload/calico1", "stopped", both(at("calico1", container(fact.PartWorkload, func(c *fact.Container) { c.State.Status, c.NetworkSettings.SandboxKey = "exited", "" })), notSent("calico1")),
		"container workload is exited", on1("attachment", "address", "endpoint", "reach"),
	},
	{
		"old-network/calico1", "left", at("calico1", func(m *fact.Machine) {
			m.Owned.Value = append(m.Owned.Value, "/etc/cni/net.d/10-old.conflist", "/etc/cni/net.d/10-gone.conflist")
			m.Files.Value["/etc/cni/net.d/10-old.conflist"] = fact.File{SHA256: "x"}
			m.Files.Value["/etc/cni/net.d/99-yours.conflist"] = fact.File{SHA256: "x"}
		}), "/etc/cni/net.d/10-old.conflist describes a network that lab.yaml doesn't name any more", nil,
	},
	{
		"attachment/calico1", "none", both(at("calico1", func(m *fact.Machine) { m.Attachments.Value = nil }), notSent("calico1")),
		"the workload has no interface of network test-calico", on1("address", "endpoint", "reach"),
	},
	{
		"attachment/calico1", "an old sandbox's", both(attachment(func(a *fact.Attachment) { a.NetNS = "/var/run/docker/netns/old" }), notSent("calico1")),
		"the workload has no interface of network test-calico", on1("address", "endpoint", "reach"),
	},
	{"attachment/calico1", "no interface inside", inside(func(s *fact.Sandbox) { s.Links = s.Links[:1] }), "there is no interface eth0 in the workload", nil},
	{"attachment/calico1", "down inside", inside(func(s *fact.Sandbox) { link(s.Links, "eth0", func(l *fact.Link) { l.Up = false }) }), "eth0 in the workload is down", nil},
	{"attachment/calico1", "no address inside", inside(func(s *fact.Sandbox) { link(s.Links, "eth0", func(l *fact.Link) { l.Addresses = nil }) }), "eth0 in the workload doesn't have 10.1.127.192", nil},
	{"attachment/calico1", "no route inside", inside(func(s *fact.Sandbox) { s.Routes = s.Routes[1:] }), "the workload has no default route", nil},
	{
		"attachment/calico1", "no interface outside", at("calico1", func(m *fact.Machine) { link(m.Links.Value, "calicnitool-5a2", func(l *fact.Link) { l.Name = "other" }) }),
		"there is no interface calicnitool-5a2 on the machine", nil,
	},
	{
		"attachment/calico1", "down outside", at("calico1", func(m *fact.Machine) { link(m.Links.Value, "calicnitool-5a2", func(l *fact.Link) { l.Up = false }) }),
		"calicnitool-5a2 on the machine is down", nil,
	},
	{
		"address/calico1", "another node's block", store(func(d *fact.Datastore) { d.Blocks[0].Node = "calico9" }),
		"10.1.127.192 is from block 10.1.127.192/26 of calico9", nil,
	},
	{
		"address/calico1", "nobody's block", both(store(func(d *fact.Datastore) { d.Blocks[0].Node = "" }), at("calico2", without(func(r fact.Route) bool { return r.To == prefix("10.1.127.192/26") }))),
		"10.1.127.192 is from block 10.1.127.192/26 of no node", nil,
	},
	{
		"address/calico1", "not the pool's", both(
			attachment(func(a *fact.Attachment) { a.Result = result("10.9.0.1/32") }),
			inside(func(s *fact.Sandbox) {
				link(s.Links, "eth0", func(l *fact.Link) { l.Addresses = []netip.Prefix{prefix("10.9.0.1/32")} })
			}),
			at("calico1", func(m *fact.Machine) {
				m.Routes.Value = append(m.Routes.Value, fact.Route{To: prefix("10.9.0.1/32"), Dev: "calicnitool-5a2"})
			}),
			answered(func(p *fact.Probe) { p.Said = "workload on calico2 sees you as 10.9.0.1" })),
		"10.9.0.1 is not in 10.1.0.0/16", nil,
	},
	{"address/calico1", "no block", store(func(d *fact.Datastore) { d.Blocks = d.Blocks[1:] }), "no block has 10.1.127.192", nil},
	{"address/calico1", "given back", store(func(d *fact.Datastore) { d.Blocks[0].Used = nil }), "10.1.127.192 is not assigned in block 10.1.127.192/26", nil},
	{"address/calico1", "no endpoint", store(func(d *fact.Datastore) { d.Endpoints = d.Endpoints[1:] }), "no workload endpoint of calico1 has 10.1.127.192", nil},
	{"endpoint/calico1", "no route", at("calico1", without(func(r fact.Route) bool { return r.Dev == "calicnitool-5a2" })), "there is no route to 10.1.127.192 via calicnitool-5a2", nil},
	{"reach/calico1", "ping", answered(func(p *fact.Probe) { *p = fact.Probe{To: p.To, Ping: "no reply", TCP: "no connection"} }), "10.1.86.64: ping: no reply", nil},
	{"reach/calico1", "another way", answered(func(p *fact.Probe) { p.TTL = 63 }), "10.1.86.64: ping: TTL 63, not 62: it came another way", nil},
	{"reach/calico1", "TCP", answered(func(p *fact.Probe) { p.TCP = "no connection: refused" }), "10.1.86.64: TCP: no connection: refused", nil},
	{
		"reach/calico1", "behind NAT", answered(func(p *fact.Probe) { p.Said = "workload on calico2 sees you as 192.168.4.5" }),
		`10.1.86.64: TCP: it says "workload on calico2 sees you as 192.168.4.5", not that it sees 10.1.127.192`, nil,
	},
}

// result writes a CNI result with one address.
func result(address string) json.RawMessage {
	return json.RawMessage(`{"cniVersion":"1.0.0","interfaces":[{"name":"calicnitool-5a2"}],"ips":[{"address":"` + address + `"}]}`)
}
