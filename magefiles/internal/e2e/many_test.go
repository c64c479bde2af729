//go:build linux

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/calico-cni-lab/lab/magefiles/internal/fault"
)

// TestTenNodes: everything is linear in the nodes, and a lab of ten with two route reflectors and three workloads a node works as one
// of two nodes does. Machines and workloads come and go.
func TestTenNodes(t *testing.T) {
	long(t)
	t.Parallel()
	l := newLab(t, "nspawn")
	const nodes = "{name: calico, role: calico, count: 10, address: 192.168.4.11, workloads: {count: 3, labels: {app: web}}}"
	l.write(withMachines(l, nodes))
	l.change("network: ", "bgp: {reflectors: [calico1, calico2]}\nnetwork: ")
	out := l.ok("verify")
	l.has(out, "up          11 machines answer SSH", "the lab works: all ")
	if n := strings.Count(out, "\n"); n > 50 {
		t.Errorf("a healthy lab takes %d lines:\n%s", n, out)
	}
	l.holds()
	all := len(l.report().Results)
	l.did(l.ok("verify"), true)

	l.sub("who speaks with whom, and who reaches whom", func(l *lab) {
		for node, sessions := range map[string]string{"calico1": "9", "calico2": "9", "calico3": "2", "calico10": "2"} {
			if got := l.ssh(node, fault.InNode("birdcl -s /var/run/calico/bird.ctl show protocols | grep -c 'BGP .* up .* Established'")); got != sessions {
				l.t.Errorf("%s has %s sessions, not %s", node, got, sessions)
			}
		}
		for _, res := range l.report().Results {
			if strings.HasPrefix(res.ID, "reach/") && res.Found != "answers from 29 workloads" {
				l.t.Errorf("%s: %s", res.ID, res.Found)
			}
		}
		if got := l.ssh("etcd-node", "sudo calicoctl get workloadendpoints --all-namespaces --output=json | jq '[.items[] | select(.metadata.labels.app == \"web\")] | length'"); got != "30" {
			l.t.Errorf("%s endpoints have the label", got)
		}
	})
	l.sub("a reflector dies", func(l *lab) {
		l.ssh("calico1", "sudo docker kill "+node(l)+" >/dev/null; sudo docker update --restart=no "+node(l)+" >/dev/null")
		to := l.ssh("calico4", "sudo docker exec workload-3 ip -4 -brief address show dev eth0 | awk '{print $3}'")
		l.has(l.ssh("calico3", "sudo docker exec workload-2 ping -c 5 -i 0.2 "+strings.TrimSuffix(to, "/32")), " 0% packet loss", "ttl=62")
		out := l.fails("check")
		l.has(out, "calico-node/calico1", "felix/calico1", "not Established with 192.168.4.11")
		l.ok("verify")
		l.holds()
	})
	l.sub("Felix and etcd", func(l *lab) {
		for _, m := range []string{"calico3", "calico7"} {
			l.ssh(m, fault.InNode("sv stop felix"))
		}
		l.appears("felix/calico7")
		out := l.fails("check")
		l.has(out, "felix on calico3, calico7", fmt.Sprintf("2 of %d conditions don't hold", all), "go tool mage ssh calico3")
		l.ok("verify")
		l.ssh("etcd-node", "sudo docker rm -f etcd")
		out = l.fails("check")
		l.has(out, "etcd-container/etcd-node", "calico1 ... calico10 (10)")
		if n := strings.Count(out, "\n"); n > 40 {
			l.t.Errorf("a broken lab takes %d lines:\n%s", n, out)
		}
		l.ok("verify")
		l.holds()
	})
	l.sub("machines and workloads go and come", resized)
	l.ok("destroy")
	l.nothingLeft()
}

// resized takes machines and workloads away, adds others, and puts everything back.
func resized(l *lab) {
	back := l.change("count: 10, address: 192.168.4.11, workloads: {count: 3, labels: {app: web}}", "count: 8, address: 192.168.4.11, workloads: {count: 1}")
	l.has(l.plans(), "calico9, calico10: takes away the machine", "lab.yaml has 1 workload, and there is workload-2, workload-3")
	l.ok("verify")
	l.holds()
	const names = "sudo calicoctl get nodes --output=json | jq -r '.items[].metadata.name' | sort -V | tr '\\n' ' '"
	if got := l.ssh("etcd-node", names); got != "calico1 calico2 calico3 calico4 calico5 calico6 calico7 calico8" {
		l.t.Errorf("nodes %s", got)
	}
	l.has(l.ssh("etcd-node", "sudo calicoctl ipam show"), "| 8 (0%)") // addresses
	if left, _ := filepath.Glob(l.home() + "/calico9*"); len(left) > 0 || len(l.processes("calico10")) > 0 {
		l.t.Errorf("left: %v", left)
	}
	l.has(l.ok("reset"), "nothing differed")
	back()
	l.ok("verify")
	l.holds()
	l.has(l.ok("reset"), "nothing differed")
	l.ssh("calico2", "getent hosts calico10")

	back = l.change("reflectors: [calico1, calico2]", "reflectors: [calico3]")
	l.ok("verify")
	l.has(l.ok("reset"), "nothing differed")
	l.holds()
	back()

	// cnitool tells workloads apart by three hexadecimal digits, and a block has 64 addresses.
	back = l.change("count: 10, address", "count: 9, address")
	defer back()
	l.change("\nbgp:", "\n  - {name: large, role: calico, count: 1, address: 192.168.4.30, workloads: {count: 70}}\nbgp:")
	l.ok("verify")
	l.holds()
	if got := l.ssh("calico3", "ip route show proto bird | grep -c 'via 192.168.4.30 '"); got != "2" {
		l.t.Errorf("%s routes to 70 workloads, not one for each of 2 blocks", got)
	}
	l.has(l.ok("unplumb"), "released")
	l.has(l.ssh("etcd-node", "sudo calicoctl ipam show"), "| 0 (0%)")
}

// TestVXLAN: the pool's vxlanMode can be switched to and fro, and packets arrive.
func TestVXLAN(t *testing.T) {
	long(t)
	t.Parallel()
	l := newLab(t, "nspawn")
	for _, step := range []struct{ mode, route, mtu string }{
		{"Always", " dev vxlan.calico onlink", "1450"}, {"CrossSubnet", "via 192.168.4.6 dev host0 proto 80 onlink", "1450"}, {"Never", "via 192.168.4.6 dev host0 proto bird", "1500"},
	} {
		l.sub(step.mode, func(l *lab) {
			defer l.change("ipipMode: Never", "ipipMode: Never\n  vxlanMode: "+step.mode)()
			l.ok("verify")
			l.holds()
			l.has(l.ssh("calico1", "ip route show 10.1.86.64/26"), step.route)
			l.has(l.ssh("calico1", "sudo docker exec workload ip link show eth0"), "mtu "+step.mtu+" ")
		})
	}
	l.ok("destroy")
	l.nothingLeft()
}

// node is calico-node's container.
func node(l *lab) string {
	return fmt.Sprintf("calico-release-v%d.%d", l.pins.Calico.Segments()[0], l.pins.Calico.Segments()[1])
}

// withMachines is the project's lab.yaml with other Calico nodes.
func withMachines(l *lab, nodes string) string {
	l.t.Helper()
	data, err := os.ReadFile(filepath.Join(l.root, "lab.yaml"))
	if err != nil {
		l.t.Fatal(err)
	}
	machines := "machines:\n  - {name: etcd-node, role: etcd, address: 192.168.4.7}\n  - " + nodes + "\n"
	yaml := regexp.MustCompile(`(?s)machines:\n.*?\nnetwork:`).ReplaceAllString(string(data), machines+"\nnetwork:")
	return strings.Replace(yaml, "name: calico-cni-lab", "name: "+l.name, 1)
}
