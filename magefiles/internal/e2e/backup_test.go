//go:build linux

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"time"

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

// backedUp: what was lost since a backup, all that etcd had, is as it was, and Calico follows it; what isn't a backup of this lab's changes nothing.
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

	l.ok("unplumb")
	loseData(l)
	l.has(l.ok("restore", file), "the datastore is as in "+file)
	restored(l, "etcd-node", addresses)
	hears(l, "deny-three")
	l.ssh("etcd-node", "sudo calicoctl delete globalnetworkpolicy deny-three")
	l.did(l.ok("verify"), true)
	l.ssh("etcd-node", "sudo calicoctl delete globalnetworkset mine")
	l.has(l.ok("reset"), "put back globalnetworksets/mine") // a restored lab is the baseline
	l.long("killed", func(l *lab) { restoreKilled(l, file, addresses) })
	l.ssh("etcd-node", "sudo calicoctl delete globalnetworkset mine")
}

// restoreKilled: a restore that is killed at any of its steps is finished by the next one, and until then verify says so.
func restoreKilled(l *lab, file, addresses string) {
	const says = "restoring a backup was interrupted; finish it with: "
	state := func(name string) bool { _, err := os.Stat(filepath.Join(l.dir, ".lab", name)); return err == nil }
	for _, c := range []struct {
		step string
		come func(out string) bool
	}{
		{"what is to be restored is noted", func(string) bool { return state("restoring") }},
		{"the datastore is as in the backup", func(string) bool { return state("restoring") && !state("baseline.json") }},
		{"workloads are being plumbed", func(out string) bool { return strings.Contains(out, "plumb ") }},
	} {
		l.part(c.step, func(l *lab) {
			l.ssh("etcd-node", "sudo calicoctl delete globalnetworkset mine")
			l.ok("unplumb")
			l.killed(c.come, "restore", file)
			l.has(l.ok("verify"), says, "go tool mage restore "+file)
			l.ok("restore", file)
			restored(l, "etcd-node", addresses)
			if out := l.ok("verify"); strings.Contains(out, says) {
				l.t.Errorf("it is finished, and yet:\n%s", out)
			}
			l.has(l.ok("reset"), "nothing differed from the baseline")
		})
	}
	l.part("what was begun is undone", func(l *lab) {
		l.ssh("etcd-node", "sudo calicoctl delete globalnetworkset mine")
		l.killed(func(string) bool { return state("restoring") }, "restore", file)
		out := l.ok("reset")
		l.has(out, "the lab is as it was at ")
		// It was killed before it did anything, or it had put the set back and was at the rest: beside another lab it comes further.
		if before := strings.Contains(out, "put back globalnetworksets/mine"); before && !strings.Contains(out, ": 1 thing undone") {
			l.t.Errorf("the set alone was lost, and yet:\n%s", out)
		}
		l.has(l.ok("reset"), "nothing differed from the baseline")
		if out := l.ok("verify"); strings.Contains(out, says) {
			l.t.Errorf("nothing is left to finish, and yet:\n%s", out)
		}
		restored(l, "etcd-node", addresses)
	})
}

// killed kills targets once something has come, which it is asked with what they wrote until then.
func (l *lab) killed(come func(out string) bool, targets ...string) {
	l.t.Helper()
	cmd := l.start(l.t.Context(), append([]string{l.mage}, targets...)...)
	var out watched
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	for !come(out.String()) {
		select {
		case err := <-done:
			l.t.Fatalf("%v ended before (%v):\n%s", targets, err, out.String())
		case <-time.After(2 * time.Millisecond):
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		l.t.Fatal(err)
	}
	if err := <-done; err == nil {
		l.t.Fatalf("%v ended as if nothing had been:\n%s", targets, out.String())
	}
}
