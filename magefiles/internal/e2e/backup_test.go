//go:build linux

package e2e

import (
	"os"
	"path/filepath"

	"github.com/calico-cni-lab/lab/magefiles/internal/fault"
)

const (
	mySet   = "198.51.100.0/24"
	mySetIs = "sudo calicoctl get globalnetworkset mine --output=json 2>&1 | jq -r .spec.nets[0]"
)

// backUp puts a resource of the user's into the datastore, and that into a file. It returns the file, and the addresses of the workloads.
func backUp(l *lab, etcd string) (file, addresses string) {
	l.t.Helper()
	l.ssh(etcd, fault.Apply("GlobalNetworkSet", "mine", "{nets: ["+mySet+"]}"))
	file = filepath.Join(l.t.TempDir(), "lab.db")
	l.has(l.ok("backup", "-o="+file), file, "go tool mage restore "+file)
	if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 {
		l.t.Errorf("%v, %v", info.Mode(), err)
	}
	return file, l.ssh(etcd, addressesNow)
}

const addressesNow = "sudo calicoctl get workloadendpoints --all-namespaces --output=json | jq -r '.items[].spec.ipNetworks[0]' | sort"

// restored wants what backUp put there, and the workloads' addresses.
func restored(l *lab, etcd, addresses string) {
	l.t.Helper()
	l.holds()
	if got := l.ssh(etcd, mySetIs); got != mySet {
		l.t.Errorf("the set is %s", got)
	}
	if got := l.ssh(etcd, addressesNow); got != addresses {
		l.t.Errorf("workloads have %s, not %s", got, addresses)
	}
}

// backedUp: what was changed since a backup is as it was; what isn't a backup of this lab's changes nothing.
func backedUp(l *lab) {
	file, addresses := backUp(l, "etcd-node")
	l.has(l.fails("backup", "-o="+file), "is there already")
	data, err := os.ReadFile(file)
	if err != nil {
		l.t.Fatal(err)
	}
	short := filepath.Join(l.t.TempDir(), "short.db")
	if err := os.WriteFile(short, data[:len(data)/2], 0o600); err != nil {
		l.t.Fatal(err)
	}
	l.has(l.fails("restore", short), short, "nothing was changed")

	l.ssh("etcd-node", "sudo calicoctl delete globalnetworkset mine")
	l.ok("unplumb")
	l.has(l.ok("restore", file), "the datastore is as in "+file)
	restored(l, "etcd-node", addresses)
	l.did(l.ok("verify"), true)
	l.ssh("etcd-node", "sudo calicoctl delete globalnetworkset mine")
	l.has(l.ok("reset"), "put back globalnetworksets/mine") // a restored lab is the baseline
	l.ssh("etcd-node", "sudo calicoctl delete globalnetworkset mine")
}
