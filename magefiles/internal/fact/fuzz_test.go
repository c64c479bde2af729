package fact

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzDatastore: an entry of etcd's, whatever is in it, is read or an error that names its key; what was read can be recorded.
func FuzzDatastore(f *testing.F) {
	for _, kv := range recorded(f) {
		f.Add(kv.Key, kv.Value)
	}
	for _, kv := range [][2]string{
		{IPAMPrefix + "assignment/ipv4/block/x", `{"cidr":"255.255.255.255/32","allocations":[0,0,0],"unallocated":[-1]}`},
		{IPAMPrefix + "assignment", `{"allocations":[1]}`}, {IPAMPrefix + "host/a/ipv4/block/10.0.0.0-24-8", `null`},
		{ResourcePrefix + "nodes/" + "\x1b[2J", `{"spec":{"bgp":{"ipv4Address":"::ffff:1.2.3.4/96","asNumber":1e999}}}`},
		{ResourcePrefix + "workloadendpoints/a", `{"spec":{"ipNetworks":[null,"1.2.3.4"]}}`}, {ResourcePrefix + "ippools", `{"spec":null}`},
	} {
		f.Add(kv[0], []byte(kv[1]))
	}
	f.Fuzz(func(t *testing.T, key string, value []byte) {
		key = strings.ToValidUTF8(key, "?") // it comes in JSON
		d, err := ParseDatastore([]KeyValue{{key, value}})
		if err != nil {
			return
		}
		d.Node(key)
		for _, b := range d.Blocks {
			if b.Assigned(b.CIDR.Addr()) && len(b.Used) == 0 || !b.CIDR.IsValid() && len(b.Used) > 0 {
				t.Errorf("%+v", b)
			}
			d.BlocksOf(b.Node)
		}
		again(t, Lab{Datastore: Known(d)})
	})
}

// again: recorded facts are read as they were written.
func again(t *testing.T, l Lab) {
	t.Helper()
	data, err := l.Write()
	if err != nil {
		t.Fatal(err)
	}
	read, err := Read(data)
	if err != nil {
		t.Fatalf("%v:\n%s", err, data)
	}
	twice, err := read.Write()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(data), string(twice)); diff != "" {
		t.Errorf("(-written +read and written):\n%s", diff)
	}
}

// FuzzMachine: what the look program prints, or something else in its place, is facts or an error. Every question about such a
// machine has an answer.
func FuzzMachine(f *testing.F) {
	for _, s := range []string{
		`{"login":{"user":"vagrant","home":"/home/vagrant"},"links":{"value":[{"name":"host0","up":true,"addresses":["192.168.4.5/24"]}]},"routes":{"value":[{"to":"0.0.0.0/0","via":"192.168.4.1","dev":"host0"},{"to":""}]}}`,
		`{"docker":{"value":{"containers":[{"Id":"1","Config":{"Labels":{"calico-cni-lab.part":"workload"}},"NetworkSettings":{"SandboxKey":"/n"}}]}},"attachments":{"value":[{"networkName":"net","netns":"/n","ifName":"eth0",` +
			`"result":{"cniVersion":"1.0.0","interfaces":[{"name":"cali1"}],"ips":[{"address":"10.1.0.1/32"}]}}]},"sandboxes":{"value":[{"key":"/n","links":[{"name":"eth0"}]}]}}`,
		`{"bird":{"value":{"protocols":[{"name":"Mesh_192_168_4_6","proto":"BGP","state":"up","info":"Established"},{"name":"_","proto":"BGP"}]}}}`,
		`{"docker":{"value":{"containers":[null]}},"attachments":{"value":[{"result":null}]},"files":{"value":null}}`, `null`, `[]`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var m Machine
		if json.Unmarshal(data, &m) != nil {
			return
		}
		m.Workload("net")
		m.Link("host0")
		for _, l := range m.Links.Value {
			for _, p := range l.Addresses {
				if _, ok := m.LinkWith(p.Addr()); !ok {
					t.Errorf("no interface has %s", p)
				}
			}
		}
		for _, r := range m.Routes.Value {
			_ = r.String()
		}
		for _, p := range m.BIRD.Value.Protocols {
			_, _ = p.Peer(), p.Established()
		}
		for _, a := range m.Attachments.Value {
			_, _ = a.Address(), a.HostInterface()
		}
		m.Docker.Value.Part(PartNode)
	})
}

// FuzzAttachment: what libcni remembers of a CNI result, in whatever version of the specification.
func FuzzAttachment(f *testing.F) {
	for _, s := range []string{
		`{"cniVersion":"1.0.0","interfaces":[{"name":"cali1"},{"name":"eth0","sandbox":"/n"}],"ips":[{"address":"10.1.0.1/32","interface":1}]}`,
		`{"cniVersion":"0.2.0","ip4":{"ip":"10.1.0.1/32"}}`, `{"cniVersion":"0.4.0","ips":[{"version":"4","address":"10.1.0.1/32"}]}`, `{"cniVersion":"1.1.0","ips":[{}]}`,
		`{"cniVersion":"1.0.0","interfaces":[null],"ips":[null]}`, `{"cniVersion":"0.4.0","ips":[null]}`, `{"cniVersion":"0.2.0","ip4":{"routes":[null]}}`, `{"cniVersion":"1.0.0","routes":[null],"ips":[null]}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, result []byte) {
		a := Attachment{Result: result}
		if addr := a.Address(); addr.Is4In6() {
			t.Errorf("%s is an IPv4 address written as an IPv6 one", addr)
		}
		a.HostInterface()
	})
}
