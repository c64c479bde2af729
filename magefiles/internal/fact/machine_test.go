package fact

import (
	"encoding/json"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRouteString(t *testing.T) {
	for want, r := range map[string]Route{
		"default via 192.168.4.1 dev host0 proto static":     {To: prefix("0.0.0.0/0"), Via: addr("192.168.4.1"), Dev: "host0", Protocol: "static", Metric: 100},
		"10.1.86.64/26 via 192.168.4.6 dev host0 proto bird": {To: prefix("10.1.86.64/26"), Via: addr("192.168.4.6"), Dev: "host0", Protocol: "bird"},
		"10.1.127.192 dev calicnitool-5a2":                   {To: prefix("10.1.127.192/32"), Dev: "calicnitool-5a2", Protocol: "boot"},
		"blackhole 10.1.127.192/26 proto bird":               {Type: "blackhole", To: prefix("10.1.127.192/26"), Protocol: "bird"},
		"unreachable default":                                {Type: "unreachable", To: prefix("0.0.0.0/0")},
		"192.168.4.0/24 dev host0 proto kernel":              {To: prefix("192.168.4.0/24"), Dev: "host0", Protocol: "kernel"},
	} {
		if got := r.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestProtocol(t *testing.T) {
	for _, c := range []struct {
		p    Protocol
		peer string // "": none
		up   bool
	}{
		{Protocol{Name: "Mesh_192_168_4_6", Proto: "BGP", State: "up", Info: "Established"}, "192.168.4.6", true},
		{Protocol{Name: "Mesh_192_168_4_6", Proto: "BGP", State: "start", Info: "Active        Socket: Connection refused"}, "192.168.4.6", false},
		{Protocol{Name: "Mesh_192_168_4_6", Proto: "BGP", State: "start", Info: "Established"}, "192.168.4.6", false},
		{Protocol{Name: "Mesh_192_168_4_6", Proto: "BGP", State: "down"}, "192.168.4.6", false},
		{Protocol{Name: "Global_10_0_0_1_port_1179", Proto: "BGP", State: "up", Info: "Established"}, "10.0.0.1", true},
		{Protocol{Name: "Node_10_0_0_2", Proto: "BGP", State: "start", Info: "Connect"}, "10.0.0.2", false},
		{Protocol{Name: "Node_10_0_0_2_port_179", Proto: "BGP", State: "up", Info: "Established  "}, "10.0.0.2", true},
		{Protocol{Name: "kernel1", Proto: "Kernel", State: "up"}, "", false},
		{Protocol{Name: "Mesh_192_168_4_6", Proto: "Static", State: "up"}, "", false},
		{Protocol{Name: "Mesh_router", Proto: "BGP", State: "up", Info: "Established"}, "", true},
	} {
		got := ""
		if a := c.p.Peer(); a.IsValid() {
			got = a.String()
		}
		if got != c.peer || c.p.Established() != c.up {
			t.Errorf("%+v: peer %q, established %t", c.p, got, c.p.Established())
		}
	}
}

func TestAttachment(t *testing.T) {
	for _, c := range []struct {
		name, result, address, host string
	}{
		{"Calico's", `{"cniVersion":"1.0.0","interfaces":[{"name":"cali1"},{"name":"eth0","sandbox":"/n"}],"ips":[{"address":"10.1.0.1/32","interface":1}]}`, "10.1.0.1", "cali1"},
		{"no addresses", `{"cniVersion":"1.0.0","interfaces":[{"name":"cali1"}],"ips":[]}`, "", "cali1"},
		{"no interfaces", `{"cniVersion":"1.0.0","ips":[{"address":"10.1.0.1/32"}]}`, "10.1.0.1", ""},
		{"an address without its prefix", `{"cniVersion":"1.0.0","ips":[{"address":"10.1.0.1"}]}`, "", ""},
		{"half a file", `{"ips":[{"addr`, "", ""},
		{"null", `null`, "", ""},
		{"none", ``, "", ""},
	} {
		a := Attachment{Result: json.RawMessage(c.result)}
		address := ""
		if got := a.Address(); got.IsValid() {
			address = got.String()
		}
		if address != c.address || a.HostInterface() != c.host {
			t.Errorf("%s: %q, %q", c.name, address, a.HostInterface())
		}
	}
}

func labelled(id, part, key string) (c Container) {
	c.ID, c.NetworkSettings.SandboxKey = id, key
	if part != "" {
		c.Config.Labels = map[string]string{LabelPart: part}
	}
	return c
}

func TestWorkload(t *testing.T) {
	m := Machine{
		Docker: Known(Docker{Containers: []Container{labelled("1", "", "/a"), labelled("2", PartNode, "/default"), labelled("3", PartWorkload, "/b")}}),
		Attachments: Known([]Attachment{
			{Network: "lab", NetNS: "/a", ContainerID: "other container's"}, {Network: "other", NetNS: "/b", ContainerID: "other network's"},
			{Network: "lab", NetNS: "/b", ContainerID: "ours"}, {Network: "lab", NetNS: "/gone", ContainerID: "old sandbox's"},
		}),
		Sandboxes: Known([]Sandbox{{Key: "/a", Container: "1"}, {Key: "/b", Container: "3"}}),
	}
	w, ok := m.Workload("lab")
	if !ok || w.Container.ID != "3" || w.Attachment.ContainerID != "ours" || w.Sandbox.Container != "3" {
		t.Errorf("workload: %t %+v", ok, w)
	}
	if w, ok := m.Workload("none"); !ok || w.Attachment.NetNS != "" || w.Sandbox.Key != "/b" {
		t.Errorf("workload without the network: %t %+v", ok, w)
	}
	// A stopped container has no sandbox; an attachment without a network namespace is not its.
	m.Docker.Value.Containers[2].NetworkSettings.SandboxKey = ""
	m.Attachments.Value[2].NetNS = ""
	if w, ok := m.Workload("lab"); !ok || w.Attachment.Network != "" || w.Sandbox.Container != "" {
		t.Errorf("stopped workload: %t %+v", ok, w)
	}
	m.Docker.Value.Containers = m.Docker.Value.Containers[:2]
	if w, ok := m.Workload("lab"); ok {
		t.Errorf("no workload: %+v", w)
	}
	if _, ok := (Machine{}).Workload("lab"); ok {
		t.Error("a workload where nothing was seen")
	}
}

func TestPart(t *testing.T) {
	d := Docker{Containers: []Container{labelled("1", PartNode, ""), labelled("2", "", ""), labelled("3", PartNode, "")}}
	var ids []string
	for _, c := range d.Part(PartNode) {
		ids = append(ids, c.ID)
	}
	if diff := cmp.Diff([]string{"1", "3"}, ids); diff != "" || len(d.Containers) != 3 || d.Containers[1].ID != "2" {
		t.Errorf("%+v (-want +got):\n%s", d.Containers, diff)
	}
}

func TestLinks(t *testing.T) {
	m := Machine{Links: Known([]Link{
		{Name: "lo", Addresses: []netip.Prefix{prefix("127.0.0.1/8")}}, {Name: "host0", Addresses: []netip.Prefix{prefix("10.0.2.15/24"), prefix("192.168.4.5/24")}},
	})}
	if l, ok := m.Link("host0"); !ok || l.Name != "host0" {
		t.Errorf("host0: %+v", l)
	}
	if l, ok := m.Link("eth0"); ok {
		t.Errorf("eth0: %+v", l)
	}
	if l, ok := m.LinkWith(addr("192.168.4.5")); !ok || l.Name != "host0" {
		t.Errorf("with 192.168.4.5: %+v", l)
	}
	if l, ok := m.LinkWith(addr("192.168.4.0")); ok {
		t.Errorf("a network's address is no interface's: %+v", l)
	}
	if got := (Login{Home: "/home/me"}).Cnitool(); got != "/home/me/go/bin/cnitool" {
		t.Errorf("cnitool: %s", got)
	}
}
