package baseline

import (
	"errors"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

func TestFollow(t *testing.T) {
	b := made(t, false)
	policy := different[0].do
	var before, after = healthy(t), healthy(t)
	policy(before) // by hand, before the run
	delete(before.Machines["calico1"].Files.Value, "/opt/cni/bin/portmap")
	policy(after)
	delete(after.Machines["calico1"].Files.Value, "/opt/cni/bin/portmap")
	entry("ippools/", `"natOutgoing":true`, `"natOutgoing":false`)(after) // what the run did
	change("calico2", func(m *fact.Machine) { delete(m.Files.Value, "/opt/cni/bin/ptp") })(after)
	followed, err := b.Follow(before, after, "another", "test-calico")
	if err != nil {
		t.Fatal(err)
	}
	if followed.Definition != "another" {
		t.Errorf("definition %q", followed.Definition)
	}
	want := " extra globalnetworkpolicies/deny-all\ncalico1 missing /opt/cni/bin/portmap"
	all := Differences(followed, after)
	slices.SortFunc(all, func(a, b Difference) int { return strings.Compare(a.Machine, b.Machine) })
	if diff := cmp.Diff(want, listed(all)); diff != "" {
		t.Errorf("after the run, against the baseline that followed it (-want +got):\n%s", diff)
	}
	if got := followed.Beyond(b, "ippools/my.ippool-1"); len(got) > 0 {
		t.Errorf("beyond: %v", got)
	}
	fresh, err := New(after, "", "test-calico", false)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"globalnetworkpolicies/deny-all"}, fresh.Beyond(nil, "ippools/my.ippool-1")); diff != "" {
		t.Errorf("beyond (-want +got):\n%s", diff)
	}
}

func TestWriteAndRead(t *testing.T) {
	dir := t.TempDir()
	if _, err := Read(dir); !errors.Is(err, ErrNone) {
		t.Errorf("%v, not ErrNone", err)
	}
	b := made(t, false)
	if err := b.Write(dir); err != nil {
		t.Fatal(err)
	}
	got, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(b.Items, got.Items); diff != "" {
		t.Errorf("(-written +read):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]netip.Addr{"calico1": netip.MustParseAddr("10.1.127.192"), "calico2": netip.MustParseAddr("10.1.86.64")}, got.Addresses(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
	if err := os.Truncate(filepath.Join(dir, File), 100); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(dir); err == nil || !strings.Contains(err.Error(), "go tool mage verify") {
		t.Errorf("a damaged one: %v", err)
	}
}

func TestUnseenIsNoBaseline(t *testing.T) {
	f := healthy(t)
	f.Datastore = fact.Unknown[fact.Datastore]("etcd doesn't answer")
	if b, err := New(f, "", "test-calico", false); err == nil {
		t.Errorf("a baseline of %d things without the datastore", len(b.Items))
	}
	f = healthy(t)
	for name, m := range f.Machines {
		m.Deep = fact.Unknown[fact.Deep](fact.NotAsked)
		f.Machines[name] = m
	}
	if _, err := New(f, "", "test-calico", false); err == nil {
		t.Error("a baseline of a look that wasn't deep")
	}
}

func TestCondition(t *testing.T) {
	b := made(t, false)
	for _, c := range []struct {
		do   func(*fact.Lab)
		want check.State
	}{
		{func(*fact.Lab) {}, check.Holds}, {different[0].do, check.Broken},
		{func(f *fact.Lab) { f.Datastore = fact.Unknown[fact.Datastore]("no answer") }, check.Unknown},
	} {
		f := healthy(t)
		c.do(f)
		if got := Condition(b).Test(f); got.State != c.want {
			t.Errorf("%s: %s, not %s", got.State, got.Found, c.want)
		}
	}
}

func TestLesson(t *testing.T) {
	dir := t.TempDir()
	if _, ok, err := ReadLesson(dir); ok || err != nil {
		t.Errorf("%t %v where there is none", ok, err)
	}
	l := Lesson{"routes", 2, map[string]string{"key": "/var/run/docker/netns/1"}, map[string]string{"calico1": "KEY=1"}, time.Date(2026, 11, 24, 20, 0, 0, 0, time.UTC)}
	if err := l.Write(dir); err != nil {
		t.Fatal(err)
	}
	got, ok, err := ReadLesson(dir)
	if diff := cmp.Diff(l, got); diff != "" || !ok || err != nil {
		t.Errorf("%t %v (-want +got):\n%s", ok, err, diff)
	}
	for range 2 {
		if err := EndLesson(dir); err != nil {
			t.Error(err)
		}
	}
	if _, ok, _ := ReadLesson(dir); ok {
		t.Error("it goes on")
	}
}

func TestLines(t *testing.T) {
	b := made(t, false)
	f := healthy(t)
	different[0].do(f)
	change("calico1", func(m *fact.Machine) {
		m.Links.Value = append(m.Links.Value, fact.Link{Name: "hand0"})
		m.Routes.Value = append(m.Routes.Value, fact.Route{To: netip.MustParsePrefix("10.78.0.0/16"), Dev: "hand0"})
		m.Deep.Value.Namespaces.Value = append(m.Deep.Value.Namespaces.Value, strings.Fields("a b c d e f g h i")...)
		for k := range maps.Clone(m.Deep.Value.Sysctls.Value) {
			if strings.HasSuffix(k, "forward") || strings.HasSuffix(k, "/forwarding") && strings.Contains(k, "ipv4") {
				m.Deep.Value.Sysctls.Value[k] = "0"
			}
		}
		m.Files.Value["/etc/cni/net.d/99-mine.conf"] = fact.File{Mode: "644"}
	})(f)
	change("calico2", func(m *fact.Machine) {
		for _, n := range strings.Fields("a b c d e f") {
			m.Files.Value["/opt/cni/bin/"+n] = fact.File{Mode: "755"}
		}
	})(f)
	want := []string{
		"calico1   put back net.ipv4.ip_forward",
		"datastore took away globalnetworkpolicies/deny-all",
		"calico1   took away /etc/cni/net.d/99-mine.conf; it is kept as " + kept + "/99-mine.conf",
		"calico1   took away interface hand0",
		"calico1   took away 9 network namespaces: a ... i",
		"calico2   took away 6 files: /opt/cni/bin/a ... /opt/cni/bin/f; they are in " + kept,
	}
	if diff := cmp.Diff(want, Lines(Differences(b, f))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
