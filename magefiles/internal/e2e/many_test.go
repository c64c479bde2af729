package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestTenNodes: everything is linear in the nodes, and a lab of ten works as one of two does.
func TestTenNodes(t *testing.T) {
	if testing.Short() {
		t.Skip("needs real machines")
	}
	l := newLab(t, "nspawn")
	l.name += "-ten"
	l.write(manyNodes(l, 10))
	out := l.ok("verify")
	l.has(out, "up          11 machines answer SSH", "the lab works: all ")
	if n := strings.Count(out, "\n"); n > 40 {
		t.Errorf("a healthy lab takes %d lines:\n%s", n, out)
	}
	l.holds()
	all := len(l.report().Results)
	l.did(l.ok("verify"), true)

	for _, m := range []string{"calico3", "calico7"} {
		l.ssh(m, inNode("sv stop felix"))
	}
	l.appears("felix/calico7")
	out = l.fails("check")
	l.has(out, "felix on calico3, calico7", fmt.Sprintf("2 of %d conditions don't hold", all), "go tool mage ssh calico3")
	l.ok("verify")
	l.ssh("etcd-node", "sudo docker rm -f etcd")
	out = l.fails("check")
	l.has(out, "etcd-container/etcd-node", "calico1 ... calico10 (10)")
	if n := strings.Count(out, "\n"); n > 40 {
		t.Errorf("a broken lab takes %d lines:\n%s", n, out)
	}
	l.ok("verify")
	l.holds()
	l.ok("destroy")
	l.nothingLeft()
}

// manyNodes is the project's lab.yaml with n Calico nodes.
func manyNodes(l *lab, n int) string {
	l.t.Helper()
	data, err := os.ReadFile(filepath.Join(l.root, "lab.yaml"))
	if err != nil {
		l.t.Fatal(err)
	}
	machines := "machines:\n  - {name: etcd-node, role: etcd, address: 192.168.4.7}\n"
	for i := range n {
		machines += fmt.Sprintf("  - {name: calico%d, role: calico, address: 192.168.4.%d}\n", i+1, 11+i)
	}
	yaml := regexp.MustCompile(`(?s)machines:\n.*?\nnetwork:`).ReplaceAllString(string(data), machines+"\nnetwork:")
	return strings.Replace(yaml, "name: calico-cni-lab", "name: "+l.name, 1)
}
