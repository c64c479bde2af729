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

func parsed(t *testing.T, data []byte) *lab.Lab {
	t.Helper()
	l, err := lab.Parse("made", data)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestWithNodes(t *testing.T) {
	data, l := project(t)
	for _, c := range []struct {
		n, reflectors int
		first, last   string
	}{{2, 0, "192.168.4.5", "192.168.4.6"}, {5, 2, "192.168.4.8", "192.168.4.12"}} { // etcd has .7
		out, err := withNodes(data, l, c.n, c.reflectors)
		if err != nil {
			t.Fatal(err)
		}
		got := parsed(t, out)
		nodes := got.ByRole(lab.RoleCalico)
		if len(nodes) != c.n || nodes[0].Name != "calico1" || nodes[0].Address.String() != c.first || nodes[c.n-1].Address.String() != c.last || got.Etcd().Address != l.Etcd().Address {
			t.Errorf("%d nodes: %+v", c.n, got.Machines)
		}
		if len(got.BGP.Reflectors) != c.reflectors || got.BGP.Mesh != (c.reflectors == 0) {
			t.Errorf("%d reflectors: %+v", c.reflectors, got.BGP)
		}
		if got.Name != l.Name+"-nodes" || got.Pool != l.Pool || got.Network != l.Network || got.Subnet != l.Subnet || got.Versions.Debian != l.Versions.Debian {
			t.Errorf("something else changed:\n%s", out)
		}
		if m := nodes[c.n-1]; m.Memory != l.Machines[1].Memory || m.CPUs != l.Machines[1].CPUs {
			t.Errorf("the last is not like calico1: %+v", m)
		}
	}
}

// TestNodesRefused: what is no lab is refused before anything is made.
func TestNodesRefused(t *testing.T) {
	data, l := project(t)
	for n, want := range map[int]string{1: "needs two", 300: "address"} {
		if _, err := withNodes(data, l, n, 0); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%d nodes in %s: %v", n, l.Subnet, err)
		}
	}
}
