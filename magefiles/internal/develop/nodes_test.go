package develop

import (
	"os"
	"strings"
	"testing"

	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
)

// project reads the project's lab.yaml.
func project(t *testing.T) ([]byte, *lab.Lab) {
	t.Helper()
	data, err := os.ReadFile("../../../lab.yaml")
	if err != nil {
		t.Fatal(err)
	}
	l, err := lab.Parse("lab.yaml", data)
	if err != nil {
		t.Fatal(err)
	}
	return data, l
}

func TestWithNodes(t *testing.T) {
	data, l := project(t)
	out, err := withNodes(data, l, 5)
	if err != nil {
		t.Fatal(err)
	}
	got, err := lab.Parse("made", out)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, m := range got.Machines {
		all = append(all, m.Name+" "+m.Address.String())
	}
	// etcd has .7, so no node has.
	want := "etcd-node 192.168.4.7, calico1 192.168.4.5, calico2 192.168.4.6, calico3 192.168.4.8, calico4 192.168.4.9, calico5 192.168.4.10"
	if s := strings.Join(all, ", "); s != want {
		t.Errorf("got  %s\nwant %s", s, want)
	}
	if got.Name != l.Name+"-nodes" || got.Pool != l.Pool || got.Network != l.Network || got.Subnet != l.Subnet || got.Versions.Debian != l.Versions.Debian {
		t.Errorf("something else changed:\n%s", out)
	}
	if m := got.Machines[5]; m.Memory != l.Machines[1].Memory || m.CPUs != l.Machines[1].CPUs {
		t.Errorf("calico5 is not like calico1: %+v", m)
	}
}

// TestNodesRefused: what is no lab is refused before anything is made.
func TestNodesRefused(t *testing.T) {
	data, l := project(t)
	for n, want := range map[int]string{1: "needs two", 300: "address"} {
		if _, err := withNodes(data, l, n); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%d nodes in %s: %v", n, l.Subnet, err)
		}
	}
}
