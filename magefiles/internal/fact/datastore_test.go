package fact

import (
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var byValue = cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})

func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// recorded are the entries of a lab's etcd.
func recorded(t testing.TB) []KeyValue {
	t.Helper()
	data, err := os.ReadFile("testdata/datastore.txt")
	if err != nil {
		t.Fatal(err)
	}
	var all []KeyValue
	for line := range strings.Lines(string(data)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && key != "#" {
			all = append(all, KeyValue{key, []byte(value)})
		}
	}
	return all
}

func TestParseDatastore(t *testing.T) {
	got, err := ParseDatastore(recorded(t))
	if err != nil {
		t.Fatal(err)
	}
	created := time.Date(2026, 11, 24, 16, 53, 30, 0, time.UTC)
	want := Datastore{
		Nodes: []Node{
			{Name: "calico1", Address: prefix("192.168.4.5/24"), Created: created},
			{Name: "calico2", Address: prefix("192.168.4.6/24"), Created: created},
		},
		Pools: []Pool{{Name: "my.ippool-1", CIDR: prefix("10.1.0.0/16"), BlockSize: 26, IPIPMode: "Never", VXLANMode: "Never", NATOutgoing: true, NodeSelector: "all()"}},
		Blocks: []Block{
			{CIDR: prefix("10.1.127.192/26"), Node: "calico1", Free: 63, Used: []netip.Addr{addr("10.1.127.192")}},
			{CIDR: prefix("10.1.86.64/26"), Node: "calico2", Free: 63, Used: []netip.Addr{addr("10.1.86.64")}},
		},
		Affinities: []Affinity{
			{Node: "calico1", Block: prefix("10.1.127.192/26"), State: "confirmed"},
			{Node: "calico2", Block: prefix("10.1.86.64/26"), State: "confirmed"},
		},
		Handles: []string{"test-calico.cnitool-5a2ea3dc8d8c6acac97b", "test-calico.cnitool-f844f0046797b9246e5c"},
		Endpoints: []Endpoint{
			{
				Name: "default/calico1-cni-cnitool--5a2ea3dc8d8c6acac97b-eth0", Node: "calico1", Interface: "calicnitool-5a2",
				Addresses: []netip.Prefix{prefix("10.1.127.192/32")}, Profiles: []string{"test-calico"}, Container: "cnitool-5a2ea3dc8d8c6acac97b", Labels: ofCNI,
			},
			{
				Name: "default/calico2-cni-cnitool--f844f0046797b9246e5c-eth0", Node: "calico2", Interface: "calicnitool-f84",
				Addresses: []netip.Prefix{prefix("10.1.86.64/32")}, Profiles: []string{"test-calico"}, Container: "cnitool-f844f0046797b9246e5c", Labels: ofCNI,
			},
		},
		Profiles: []string{"test-calico"},
		Cluster:  ClusterInfo{Version: "v3.31.0", Ready: true},
	}
	if diff := cmp.Diff(want, got, byValue); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// ofCNI are the labels that Calico's plugin gives every endpoint.
var ofCNI = Labels{"projectcalico.org/namespace": "default", "projectcalico.org/orchestrator": "cni"}

// TestEntries: what the recording has none of, one entry at a time.
func TestEntries(t *testing.T) {
	for _, c := range []struct {
		name, key, value string
		want             Datastore
	}{
		{
			"route reflector with an AS of its own", ResourcePrefix + "nodes/r",
			`{"metadata":{"creationTimestamp":null},"spec":{"bgp":{"ipv4Address":"192.168.4.9/24","asNumber":64513,"routeReflectorClusterID":"1.0.0.1"}}}`,
			Datastore{Nodes: []Node{{Name: "r", Address: prefix("192.168.4.9/24"), AS: "64513", ClusterID: "1.0.0.1"}}},
		},
		{"node without BGP", ResourcePrefix + "nodes/n", `{"spec":{}}`, Datastore{Nodes: []Node{{Name: "n"}}}},
		{"node with an address alone", ResourcePrefix + "nodes/n", `{"spec":{"bgp":{"ipv4Address":"192.168.4.9"}}}`, Datastore{Nodes: []Node{{Name: "n", Address: prefix("192.168.4.9/32")}}}},
		{
			"pool that is switched off", ResourcePrefix + "ippools/p",
			`{"spec":{"cidr":"10.2.0.0/16","blockSize":28,"ipipMode":"CrossSubnet","disabled":true,"disableBGPExport":true}}`,
			Datastore{Pools: []Pool{{Name: "p", CIDR: prefix("10.2.0.0/16"), BlockSize: 28, IPIPMode: "CrossSubnet", Disabled: true, NoBGPExport: true}}},
		},
		{"mesh off", ResourcePrefix + "bgpconfigurations/default", `{"spec":{"nodeToNodeMeshEnabled":false,"asNumber":64512}}`, Datastore{BGP: BGP{MeshOff: true, AS: "64512"}}},
		{"mesh on", ResourcePrefix + "bgpconfigurations/default", `{"spec":{"nodeToNodeMeshEnabled":true}}`, Datastore{}},
		{"mesh of one node", ResourcePrefix + "bgpconfigurations/node.calico1", `{"spec":{"nodeToNodeMeshEnabled":false}}`, Datastore{}},
		{"peer", ResourcePrefix + "bgppeers/up", `{}`, Datastore{Peers: []PeerResource{{Name: "up"}}}},
		{"policy of all", ResourcePrefix + "globalnetworkpolicies/default.deny", `{}`, Datastore{Policies: []Policy{{"globalnetworkpolicies", "default.deny"}}}},
		{"policy of a namespace", ResourcePrefix + "networkpolicies/default/deny", `{}`, Datastore{Policies: []Policy{{"networkpolicies", "default/deny"}}}},
		{"block of nobody", IPAMPrefix + "assignment/ipv4/block/10.1.0.0-26", `{"cidr":"10.1.0.0/26","allocations":[null,null],"unallocated":[0,1]}`, Datastore{Blocks: []Block{{CIDR: prefix("10.1.0.0/26"), Free: 2}}}},
		{
			"block with an address in the middle", IPAMPrefix + "assignment/ipv4/block/10.1.0.64-26", `{"cidr":"10.1.0.64/26","affinity":"host:calico1","allocations":[null,0,null,1],"unallocated":[0,2]}`,
			Datastore{Blocks: []Block{{CIDR: prefix("10.1.0.64/26"), Node: "calico1", Free: 2, Used: []netip.Addr{addr("10.1.0.65"), addr("10.1.0.67")}}}},
		},
		{"deleted block", IPAMPrefix + "assignment/ipv4/block/10.1.0.0-26", `{"cidr":"10.1.0.0/26","deleted":true}`, Datastore{}},
		{"deleted affinity", IPAMPrefix + "host/calico1/ipv4/block/10.1.0.0-26", `{"state":"confirmed","deleted":true}`, Datastore{}},
		{"pending affinity", IPAMPrefix + "host/calico1/ipv4/block/10.1.0.0-26", `{"state":"pending"}`, Datastore{Affinities: []Affinity{{"calico1", prefix("10.1.0.0/26"), "pending"}}}},
		{"what the lab doesn't read", "/calico/ipam/v2/config", `not JSON`, Datastore{}},
		{"a key that is cut off", IPAMPrefix + "handle", `{}`, Datastore{}},
	} {
		got, err := ParseDatastore([]KeyValue{{c.key, []byte(c.value)}})
		if diff := cmp.Diff(c.want, got, byValue); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", c.name, err, diff)
		}
	}
}

// TestMalformed: an entry that can't be read is an error that names its key, not a fact that is left out.
func TestMalformed(t *testing.T) {
	for key, value := range map[string]string{
		ResourcePrefix + "nodes/calico1":                          `{"spec":{"bgp":{"ipv4Address":"192.168.4.5/99"}}}`,
		ResourcePrefix + "nodes/calico2":                          `{"spec":`,
		ResourcePrefix + "ippools/p":                              `{"spec":{"cidr":"10.1.0.0"` + "\x00}}",
		ResourcePrefix + "ippools/q":                              `{"spec":{"cidr":"ten"}}`,
		ResourcePrefix + "ippools/r":                              `{"spec":{"blockSize":"26"}}`,
		ResourcePrefix + "workloadendpoints/default/a":            `{"spec":{"ipNetworks":["10.1.0.300/32"]}}`,
		ResourcePrefix + "bgpconfigurations/default":              `{"spec":{"nodeToNodeMeshEnabled":"no"}}`,
		ResourcePrefix + "clusterinformations/default":            `[]`,
		IPAMPrefix + "assignment/ipv4/block/10.1.0.0-26":          `{"cidr":"10.1.0.0/26","unallocated":{}}`,
		IPAMPrefix + "host/calico1/ipv4/block/10.1.0.0-26":        ``,
		IPAMPrefix + "host/calico1/ipv4/block/somewhere-or-other": `{"state":"confirmed"}`,
	} {
		all := append(recorded(t), KeyValue{key, []byte(value)})
		if _, err := ParseDatastore(all); err == nil || !strings.HasPrefix(err.Error(), key+": ") {
			t.Errorf("%s = %s: error %v", key, value, err)
		}
	}
}

func TestDatastoreLookups(t *testing.T) {
	d, err := ParseDatastore(recorded(t))
	if err != nil {
		t.Fatal(err)
	}
	if n, ok := d.Node("calico2"); !ok || n.Address != prefix("192.168.4.6/24") {
		t.Errorf("calico2: %v, %t", n, ok)
	}
	if n, ok := d.Node("etcd-node"); ok {
		t.Errorf("etcd-node is no Calico node: %v", n)
	}
	if diff := cmp.Diff([]netip.Prefix{prefix("10.1.127.192/26")}, d.BlocksOf("calico1"), byValue); diff != "" {
		t.Errorf("blocks of calico1 (-want +got):\n%s", diff)
	}
	if b := d.Blocks[0]; !b.Assigned(addr("10.1.127.192")) || b.Assigned(addr("10.1.127.193")) {
		t.Errorf("assigned of %+v", b)
	}
	if got := d.BlocksOf("calico3"); got != nil {
		t.Errorf("blocks of calico3: %v", got)
	}
}
