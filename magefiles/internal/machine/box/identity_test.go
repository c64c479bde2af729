package box

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
)

// TestIdentity: what is different on every machine, with the modes that sshd and sudo insist on.
func TestIdentity(t *testing.T) {
	l, err := lab.Load("../../../../lab.yaml")
	if err != nil {
		t.Fatal(err)
	}
	plan := machine.NewPlan("some", l)
	private, public, err := machine.NewKey("x")
	if err != nil {
		t.Fatal(err)
	}
	_, user, err := machine.NewKey("user")
	if err != nil {
		t.Fatal(err)
	}
	data, err := Identity{Plan: plan, Machine: plan.Machines[1], Interface: "eth7", User: user, HostKey: private, HostPub: public}.Tar()
	if err != nil {
		t.Fatal(err)
	}
	got := entries(t, bytes.NewReader(data))
	modes := map[string]string{}
	for name, e := range got {
		modes[name] = fmt.Sprintf("%s %d", e.mode, e.owner)
	}
	want := map[string]string{
		"etc/": "drwxr-xr-x 0", "etc/hostname": "-rw-r--r-- 0", "etc/hosts": "-rw-r--r-- 0", "etc/machine-id": "-r--r--r-- 0",
		"etc/systemd/": "drwxr-xr-x 0", "etc/systemd/network/": "drwxr-xr-x 0", "etc/systemd/network/10-underlay.network": "-rw-r--r-- 0",
		"etc/ssh/": "drwxr-xr-x 0", "etc/ssh/ssh_host_ed25519_key": "-rw------- 0", "etc/ssh/ssh_host_ed25519_key.pub": "-rw-r--r-- 0",
		"home/": "drwxr-xr-x 0", "home/vagrant/": "drwxr-xr-x 1000", "home/vagrant/.ssh/": "drwx------ 1000",
		"home/vagrant/.ssh/authorized_keys": "-rw------- 1000",
	}
	if diff := cmp.Diff(want, modes); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got["etc/hostname"].content != "calico1\n" || len(got["etc/machine-id"].content) != 33 {
		t.Errorf("host name %q, machine-id of %d bytes", got["etc/hostname"].content, len(got["etc/machine-id"].content))
	}
	for file, lines := range map[string][]string{
		"etc/hosts": {"127.0.0.1 localhost\n", "192.168.4.7 etcd-node\n", "192.168.4.5 calico1\n"},
		"etc/systemd/network/10-underlay.network": {"[Match]\nName=eth7\n", "Address=192.168.4.5/24\n", "[Route]\nGateway=192.168.4.1\nMetric=100\n"},
	} {
		for _, line := range lines {
			if !strings.Contains(got[file].content, line) {
				t.Errorf("no %q in %s:\n%s", line, file, got[file].content)
			}
		}
	}
}

// TestSubnets: a router has a foot in both of its subnets, the machines behind it have it as their gateway, the others a route by it.
func TestSubnets(t *testing.T) {
	l, err := lab.Load("../../../../labs/subnets.yaml")
	if err != nil {
		t.Fatal(err)
	}
	plan := machine.NewPlan("some", l)
	for _, m := range plan.Machines {
		i := Identity{Plan: plan, Machine: m, Interface: "eth7"}
		wants := map[string][]string{
			"etcd-node": {"Address=192.168.15.7/24\nLink", "Gateway=192.168.15.1\nMetric", "Destination=192.168.16.0/24\nGateway=192.168.15.8\n"},
			"tor":       {"Address=192.168.15.8/24\nAddress=192.168.16.1/24\nLink", "Gateway=192.168.15.1\nMetric"},
			"calico3":   {"Address=192.168.16.5/24\nLink", "Gateway=192.168.16.1\nMetric"},
		}
		for _, want := range wants[m.Name] {
			if !strings.Contains(i.network(), want) {
				t.Errorf("%s: no %q in\n%s", m.Name, want, i.network())
			}
		}
		if beside := strings.Contains(i.network(), "Destination="); beside == (m.Name == "tor" || m.Name == "calico3") {
			t.Errorf("%s has a route of its own: %t", m.Name, beside)
		}
		if routes := strings.Contains(i.sysctls(), "net.ipv4.ip_forward = 1"); routes != (m.Role == lab.RoleRouter) {
			t.Errorf("%s routes: %t", m.Name, routes)
		}
	}
	if err := machine.OneSubnet(plan.Underlay); err == nil {
		t.Error("a layer with one subnet has two")
	}
}
