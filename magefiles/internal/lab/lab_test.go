package lab

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestLoadProject(t *testing.T) {
	l, err := Load("../../../lab.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var machines []string
	for _, m := range l.Machines {
		machines = append(machines, m.Name+" "+string(m.Role)+" "+m.Address.String())
	}
	want := []string{"etcd-node etcd 192.168.4.7", "calico1 calico 192.168.4.5", "calico2 calico 192.168.4.6"}
	if diff := cmp.Diff(want, machines); diff != "" {
		t.Errorf("machines (-want +got):\n%s", diff)
	}
	if got := l.Subnet.String() + " " + l.Gateway().String(); got != "192.168.4.0/24 192.168.4.1" {
		t.Errorf("underlay: %s", got)
	}
	p := l.Pool
	if p.Name != "my.ippool-1" || p.CIDR.String() != "10.1.0.0/16" || p.BlockSize != 26 || p.IPIPMode != "Never" || !p.NATOutgoing || p.Disabled {
		t.Errorf("pool: %+v", p)
	}
	if l.Network != "test-calico" || l.Versions.Go.String() == "" || l.Etcd().Name != "etcd-node" || len(l.ByRole(RoleCalico)) != 2 {
		t.Errorf("lab: %+v", l)
	}
	if _, ok := l.Machine("calico3"); ok {
		t.Error("found a machine that is not there")
	}
}

func TestLoadMissing(t *testing.T) {
	_, err := Load(filepath.Join(t.TempDir(), "lab.yaml"))
	if !errors.Is(err, os.ErrNotExist) && (err == nil || !strings.Contains(err.Error(), "LAB_FILE")) {
		t.Errorf("error %v does not say how to name the file", err)
	}
}

// TestFaults: everything that is wrong is reported at once, in the order of the lines.
func TestFaults(t *testing.T) {
	inputs, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(inputs) == 0 {
		t.Fatal(inputs, err)
	}
	for _, in := range inputs {
		t.Run(filepath.Base(in), func(t *testing.T) {
			data, err := os.ReadFile(in)
			if err != nil {
				t.Fatal(err)
			}
			l, err := Parse("lab.yaml", data)
			var faults *Errors
			if !errors.As(err, &faults) || l != nil {
				t.Fatalf("Parse: %v, %v", l, err)
			}
			golden := strings.TrimSuffix(in, ".yaml") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(err.Error()+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), faults.Error()+"\n"); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestBlocks: a pool with just enough blocks is accepted.
func TestBlocks(t *testing.T) {
	data, err := os.ReadFile("testdata/pool-three.yaml")
	if err != nil {
		t.Fatal(err)
	}
	l, err := Parse("lab.yaml", []byte(strings.Replace(string(data), "blockSize: 25", "blockSize: 26", 1)))
	if err != nil || l.Pool.BlockSize != 26 {
		t.Errorf("four blocks for three nodes: %v", err)
	}
}

// TestCount: an entry with a count is as many machines, like it but for name and address.
func TestCount(t *testing.T) {
	l, err := Parse("lab.yaml", []byte(`name: lab
underlay: {subnet: 192.168.4.0/24}
machines:
  - {name: etcd1, role: etcd, address: 192.168.4.7}
  - {name: calico, role: calico, count: 3, address: 192.168.4.254, memory: 384, ssh: {user: me}}
  - {name: edge, role: calico, count: 1, address: 192.168.4.9}
network: net
pool: {name: p, cidr: 10.1.0.0/16, blockSize: 26, ipipMode: Never, natOutgoing: true, disabled: false}
versions: {debian: bookworm, go: 1.26.11}
`))
	if l != nil || err == nil || !strings.Contains(err.Error(), "lab.yaml:5: address 192.168.4.255 of calico2") {
		t.Fatalf("the broadcast address: %v", err)
	}
	data, err := os.ReadFile("testdata/counted-valid.yml")
	if err != nil {
		t.Fatal(err)
	}
	if l, err = Parse("lab.yaml", data); err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, m := range l.ByRole(RoleCalico) {
		all = append(all, fmt.Sprintf("%s %s %d %s", m.Name, m.Address, m.Memory, m.SSH.User))
	}
	want := []string{"calico1 192.168.4.254 384 me", "calico2 192.168.4.255 384 me", "calico3 192.168.5.0 384 me", "edge1 192.168.4.9 512 "}
	if diff := cmp.Diff(want, all); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
