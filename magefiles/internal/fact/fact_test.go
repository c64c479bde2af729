package fact

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestSee(t *testing.T) {
	if s := See(1, nil); s.Value != 1 || s.Unknown != "" {
		t.Errorf("seen: %+v", s)
	}
	// What came along with an error is nothing to rely on.
	if s := See(1, errors.New("no such file")); s.Value != 0 || s.Unknown != "no such file" {
		t.Errorf("not seen: %+v", s)
	}
}

func TestMerge(t *testing.T) {
	early, late := time.Unix(1, 0).UTC(), time.Unix(2, 0).UTC()
	read := Known(Datastore{Peers: []PeerResource{{Name: "a"}}})
	// As Read returns it: an empty map isn't written.
	old := func() Lab {
		return Lab{At: early, Machines: map[string]Machine{"etcd-node": {At: early}, "calico1": {At: early}}, Datastore: read}
	}
	for _, c := range []struct {
		name       string
		old, newer Lab
		want       Lab
	}{
		{
			"into nothing", Lab{},
			Lab{At: late, Machines: map[string]Machine{"calico1": {At: late}}, Unreached: map[string]string{"calico2": "no"}, Datastore: read},
			Lab{At: late, Machines: map[string]Machine{"calico1": {At: late}}, Unreached: map[string]string{"calico2": "no"}, Datastore: read},
		},
		{
			"a look at one machine leaves the others, and a datastore that nobody asked", old(),
			Lab{At: late, Machines: map[string]Machine{"calico1": {At: late}}, Datastore: Unknown[Datastore](NotAsked)},
			Lab{At: late, Machines: map[string]Machine{"etcd-node": {At: early}, "calico1": {At: late}}, Unreached: map[string]string{}, Datastore: read},
		},
		{
			"a machine that stops answering is not remembered as it was", old(),
			Lab{At: late, Unreached: map[string]string{"etcd-node": "gone"}, Datastore: Unknown[Datastore]("etcd-node doesn't answer")},
			Lab{At: late, Machines: map[string]Machine{"calico1": {At: early}}, Unreached: map[string]string{"etcd-node": "gone"}, Datastore: Unknown[Datastore]("etcd-node doesn't answer")},
		},
		{
			"an etcd machine whose clock is ahead stops answering", Lab{At: early, Datastore: read, DatastoreAt: late.AddDate(0, 0, 1)},
			Lab{At: late, Unreached: map[string]string{"etcd-node": "gone"}, Datastore: Unknown[Datastore]("etcd-node doesn't answer")},
			Lab{At: late, Unreached: map[string]string{"etcd-node": "gone"}, Datastore: Unknown[Datastore]("etcd-node doesn't answer")},
		},
		{
			"a machine answers again", Lab{At: early, Machines: map[string]Machine{}, Unreached: map[string]string{"calico1": "no", "calico2": "no"}, Datastore: read},
			Lab{At: late, Machines: map[string]Machine{"calico1": {At: late}}, Datastore: Known(Datastore{})},
			Lab{At: late, Machines: map[string]Machine{"calico1": {At: late}}, Unreached: map[string]string{"calico2": "no"}, Datastore: Known(Datastore{})},
		},
	} {
		c.old.Merge(c.newer)
		if diff := cmp.Diff(c.want, c.old, byValue, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestClone(t *testing.T) {
	l := Lab{Machines: map[string]Machine{"a": {}}, Unreached: map[string]string{"b": ""}, Probes: map[string]Seen[[]Probe]{"c": {}}}
	c := l.Clone()
	clear(c.Machines)
	clear(c.Unreached)
	clear(c.Probes)
	if len(l.Machines) != 1 || len(l.Unreached) != 1 || len(l.Probes) != 1 {
		t.Errorf("the original has changed: %+v", l)
	}
}

func TestWriteRead(t *testing.T) {
	d, err := ParseDatastore(recorded(t))
	if err != nil {
		t.Fatal(err)
	}
	var c Container
	c.ID, c.Name, c.State.Status, c.Config.Labels, c.NetworkSettings.SandboxKey = "1", "/workload", "running", map[string]string{LabelPart: PartWorkload}, "/n"
	want := Lab{
		At: time.Date(2026, 11, 24, 12, 0, 0, 5, time.UTC),
		Machines: map[string]Machine{"calico1": {
			Took: time.Millisecond, Login: Login{"vagrant", "vagrant", "/home/vagrant"},
			Links:  Known([]Link{{Name: "host0", Type: "veth", MTU: 1500, Up: true, Addresses: []netip.Prefix{prefix("192.168.4.5/24")}}}),
			Routes: Known([]Route{{To: prefix("0.0.0.0/0"), Via: addr("192.168.4.1")}, {Type: "blackhole", To: prefix("10.1.0.0/26")}}),
			BIRD:   Unknown[BIRD]("nothing answers"), Forwarding: Known(true), Docker: Known(Docker{Version: "20", Containers: []Container{c}}),
			Files:       Known(map[string]File{"/a": {SHA256: "aa", Mode: "644", Owner: "root:root"}}),
			Attachments: Known([]Attachment{{Network: "n", NetNS: "/n", Live: true, Result: json.RawMessage(`{"ips":[]}`)}}),
		}},
		Unreached: map[string]string{"calico2": "no answer"},
		Datastore: Known(d),
		Probes:    map[string]Seen[[]Probe]{"calico1": Known([]Probe{{To: addr("10.1.0.1"), TTL: 62}})},
	}
	data, err := want.Write()
	if err != nil {
		t.Fatal(err)
	}
	got, err := Read(data)
	compact := cmp.Transformer("compact", func(r json.RawMessage) string { return strings.Join(strings.Fields(string(r)), "") })
	if diff := cmp.Diff(want, got, byValue, compact); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if _, err := Read(data[:len(data)/2]); err == nil || !strings.HasPrefix(err.Error(), "recorded facts: ") {
		t.Errorf("half a recording: %v", err)
	}
}

// TestKinds: a new kind of fact without a command line would be an empty hint.
func TestKinds(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "fact.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	declared := map[Kind]string{}
	ast.Inspect(f, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok && len(v.Values) == 1 {
			if typ, ok := v.Type.(*ast.Ident); ok && typ.Name == "Kind" {
				text, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				if other, twice := declared[Kind(text)]; twice {
					t.Errorf("%s and %s are both %q", other, v.Names[0].Name, text)
				}
				declared[Kind(text)] = v.Names[0].Name
			}
		}
		return true
	})
	if diff := cmp.Diff(slices.Sorted(maps.Keys(declared)), Kinds()); diff != "" || len(declared) < 20 {
		t.Errorf("constants and commands (-constants +commands):\n%s", diff)
	}
	for _, k := range Kinds() {
		if k.Command() == "" || strings.TrimSpace(k.Command()) != k.Command() {
			t.Errorf("%s: command %q", declared[k], k.Command())
		}
	}
}
