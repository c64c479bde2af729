package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
)

// change is one of a key's, as etcd has it.
type change struct {
	key, value string
	gone       bool
	lease      uint64
}

func field(m []byte, number int, value string) []byte {
	m = binary.AppendUvarint(m, uint64(number)<<3|2)
	return append(binary.AppendUvarint(m, uint64(len(value))), value...)
}

// snapshot makes one as etcd does.
func snapshot(t testing.TB, bucket string, all ...change) []byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), "db")
	db, err := bbolt.Open(file, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucket([]byte(bucket))
		for i, c := range all {
			revision := append(binary.BigEndian.AppendUint64(nil, uint64(i+2)), '_', 0, 0, 0, 0, 0, 0, 0, 0)
			kv := binary.AppendUvarint(field(nil, 1, c.key), 2<<3) // create_revision
			kv = binary.AppendUvarint(kv, 300)
			kv = field(kv, 5, c.value)
			if c.lease > 0 {
				kv = binary.AppendUvarint(binary.AppendUvarint(kv, 6<<3), c.lease)
			}
			if c.gone {
				revision, kv = append(revision, 't'), field(nil, 1, c.key)
			}
			if err == nil {
				err = b.Put(revision, kv)
			}
		}
		return err
	})
	if err != nil || db.Close() != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	return append(data, sum[:]...)
}

func TestWriteAndRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "backups", "one.db")
	good := snapshot(t, "key", change{key: "/b", value: "old"}, change{key: "/a", value: "1"}, change{key: "/b", value: "new"}, change{key: "/c", value: "2"},
		change{key: "/c", gone: true}, change{key: "/leased", value: "3", lease: 7}, change{key: "/empty"})
	if err := Write(file, good); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	got, err := Read(file)
	want := []fact.KeyValue{{Key: "/a", Value: []byte("1")}, {Key: "/b", Value: []byte("new")}, {Key: "/empty", Value: []byte{}}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v, -want +got:\n%s", err, diff)
	}
	if err := Write(file, good); err == nil || !strings.Contains(err.Error(), "no backup is overwritten") {
		t.Errorf("a second time: %v", err)
	}
	if err := Write(file+".other", good[:len(good)-1]); err == nil {
		t.Error("half a snapshot was written")
	}
	if _, err := os.Stat(file + ".other"); err == nil {
		t.Error("half a snapshot is there")
	}
}

// TestNoBackup: what can't be restored is refused, whatever it is.
func TestNoBackup(t *testing.T) {
	good := snapshot(t, "key", change{key: "/a", value: "1"})
	flipped := bytes.Clone(good)
	flipped[len(flipped)/2] ^= 1
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"empty": {nil, "0 bytes are no database"}, "truncated": {good[:len(good)/2], "no database with its hash"}, "text": {[]byte("name: calico-cni-lab\n"), "no database with its hash"},
		"flipped": {flipped, "don't belong together"}, "another program's": {snapshot(t, "users", change{key: "/a"}), "not etcd's"},
		"without its hash": {good[:len(good)-sha256.Size], "no database with its hash"},
	} {
		file := filepath.Join(t.TempDir(), "x.db")
		if err := os.WriteFile(file, c.data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(file); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "nothing was changed") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Read("/nowhere/x.db"); err == nil {
		t.Error("a file that isn't there can be read")
	}
}

func theLab(t *testing.T) *lab.Lab {
	t.Helper()
	l, err := lab.Load("../stage/testdata/lab.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func kv(key, format string, args ...any) fact.KeyValue {
	return fact.KeyValue{Key: key, Value: []byte(fmt.Sprintf(format, args...))}
}

func node(name, address string) fact.KeyValue {
	return kv(fact.ResourcePrefix+"nodes/"+name, `{"metadata":{"name":%q},"spec":{"bgp":{"ipv4Address":"%s/24"}}}`, name, address)
}

func pool(cidr string, size int) fact.KeyValue {
	return kv(fact.ResourcePrefix+"ippools/my.ippool-1", `{"metadata":{"name":"my.ippool-1"},"spec":{"cidr":%q,"blockSize":%d}}`, cidr, size)
}

func TestFits(t *testing.T) {
	l := theLab(t)
	for name, c := range map[string]struct {
		all  []fact.KeyValue
		want string
	}{
		"this lab's":      {[]fact.KeyValue{node("calico1", "192.168.4.5"), pool("10.1.0.0/16", 26)}, ""},
		"nothing":         {nil, "it has no Calico node"},
		"another node":    {[]fact.KeyValue{node("node7", "192.168.4.5")}, "its node node7 is none of lab.yaml's"},
		"etcd's machine":  {[]fact.KeyValue{node("etcd-node", "192.168.4.7")}, "its node etcd-node is none of lab.yaml's"},
		"another address": {[]fact.KeyValue{node("calico1", "192.168.9.5")}, "its node calico1 has 192.168.9.5, not 192.168.4.5"},
		"another pool":    {[]fact.KeyValue{node("calico1", "192.168.4.5"), pool("10.2.0.0/16", 26)}, "its pool my.ippool-1 is 10.2.0.0/16 in blocks of /26, lab.yaml's my.ippool-1 10.1.0.0/16"},
	} {
		err := Fits(c.all, l)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "nothing was changed")) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPlan(t *testing.T) {
	workload := func(node, id, address string) fact.KeyValue {
		return kv(endpoints+"default/"+node+"-cni-"+id+"-eth0", `{"spec":{"node":%q,"containerID":%q,"ipNetworks":["%s/32"]}}`, node, id, address)
	}
	same, gone, lives := kv("/calico/same", "1"), workload("calico2", "cnitool-old", "10.1.86.64"), workload("calico1", "cnitool-1", "10.1.127.192")
	f := &fact.Lab{Machines: map[string]fact.Machine{
		"etcd-node": {Datastore: fact.Known([]fact.KeyValue{same, kv("/calico/changed", "new"), kv("/calico/extra", "1"), kv("/mine", "1"), kv(fact.FelixPrefix+"v2/status", "x"), gone})},
		"calico1":   {Attachments: fact.Known([]fact.Attachment{{ContainerID: "cnitool-1", Live: true}})},
		"calico2":   {Attachments: fact.Known([]fact.Attachment{{ContainerID: "cnitool-old"}, {ContainerID: "cnitool-2", Live: true}})},
	}}
	got := Plan(theLab(t), []fact.KeyValue{same, kv("/calico/changed", "old"), kv(fact.FelixPrefix+"v2/status", "y"), gone, lives, kv("/theirs", "2")}, f)
	remove := func(key string) fact.Op { return fact.Op{KeyValue: fact.KeyValue{Key: key}, Delete: true} }
	address := netip.MustParseAddr("10.1.86.64")
	want := Restoration{
		Ops:  []fact.Op{{KeyValue: kv("/theirs", "2")}, remove(gone.Key), {KeyValue: lives}, remove("/calico/extra"), {KeyValue: kv("/calico/changed", "old")}},
		Lost: []netip.Addr{address}, Addresses: map[string]netip.Addr{fact.WorkloadKey("calico2", "workload"): address},
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestPlanKeeps: of two workloads of which one was made anew, that one gets the address that was lost, and the other keeps its own.
func TestPlanKeeps(t *testing.T) {
	l := theLab(t)
	for i := range l.Machines {
		l.Machines[i].Workloads.Count *= 2
	}
	container := func(name, sandbox string) fact.Container {
		c := fact.Container{Name: "/" + name}
		c.Config.Labels = map[string]string{fact.LabelPart: fact.PartWorkload}
		c.NetworkSettings.SandboxKey = sandbox
		return c
	}
	was := []fact.KeyValue{
		kv(endpoints+"default/calico2-1", `{"spec":{"node":"calico2","containerID":"cnitool-1","ipNetworks":["10.1.86.64/32"]}}`),
		kv(endpoints+"default/calico2-old", `{"spec":{"node":"calico2","containerID":"cnitool-old","ipNetworks":["10.1.86.65/32"]}}`),
	}
	f := &fact.Lab{Machines: map[string]fact.Machine{"calico2": {
		Docker: fact.Known(fact.Docker{Containers: []fact.Container{container("workload", "/1"), container("workload-2", "/2")}}),
		Attachments: fact.Known([]fact.Attachment{
			{Network: l.Network, ContainerID: "cnitool-1", NetNS: "/1", Live: true}, {Network: l.Network, ContainerID: "cnitool-new", NetNS: "/2", Live: true},
		}),
	}}}
	want := map[string]netip.Addr{fact.WorkloadKey("calico2", "workload-2"): netip.MustParseAddr("10.1.86.65")}
	if diff := cmp.Diff(want, Plan(l, was, f).Addresses, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestPlanReplaced: a datastore that was made since is told from the backup's own by its GUID, whatever else differs.
func TestPlanReplaced(t *testing.T) {
	cluster := func(guid, version string) fact.KeyValue {
		return kv(fact.ClusterKey, `{"spec":{"clusterGUID":%q,"calicoVersion":%q}}`, guid, version)
	}
	was := cluster("one", "v3.31.0")
	for name, c := range map[string]struct {
		is   []fact.KeyValue
		want bool
	}{
		"the same":           {[]fact.KeyValue{was}, false},
		"of another release": {[]fact.KeyValue{cluster("one", "v3.14.0")}, false},
		"empty":              {nil, true},
		"named since":        {[]fact.KeyValue{cluster("two", "v3.31.0")}, true},
	} {
		f := &fact.Lab{Machines: map[string]fact.Machine{"etcd-node": {Datastore: fact.Known(c.is)}}}
		if got := Plan(theLab(t), []fact.KeyValue{was}, f).Replaced; got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(field(field(nil, 1, "/a"), 5, "1"))
	f.Add([]byte{1<<3 | 2, 200})
	f.Fuzz(func(_ *testing.T, m []byte) { _, _ = parse(m) })
}
