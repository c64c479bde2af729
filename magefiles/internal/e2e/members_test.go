//go:build linux

package e2e

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMembers: etcd on three machines. One of them is killed, and the lab goes on; in the long round one loses its data, and members come and go.
func TestMembers(t *testing.T) {
	if testing.Short() {
		t.Skip("needs real machines")
	}
	t.Parallel()
	l := newLab(t, "nspawn")
	one := withMachines(l, "{name: calico, role: calico, count: 2, address: 192.168.4.21}")
	three := strings.Replace(one, "{name: etcd-node, role: etcd, address: 192.168.4.7}", "{name: etcd, role: etcd, count: 3, address: 192.168.4.7}", 1)
	one = strings.Replace(one, "name: etcd-node", "name: etcd1", 1)
	l.write(three)
	l.has(l.ok("verify"), "is healthy on etcd1, etcd2, etcd3", "the lab works: all ")
	l.sub("every client knows all members", func(l *lab) {
		for _, file := range []string{"/etc/calico/calicoctl.cfg", "/etc/cni/net.d/10-test-calico.conflist"} {
			l.has(l.ssh("calico1", "sudo cat "+file), "https://192.168.4.7:2379,https://192.168.4.8:2379,https://192.168.4.9:2379")
		}
		l.has(l.ssh("calico1", "sudo docker inspect "+node(l)), "ETCD_ENDPOINTS=https://192.168.4.7:2379,https://192.168.4.8:2379,https://192.168.4.9:2379")
		if got := l.ssh("etcd2", "sudo docker exec etcd etcdctl endpoint health 2>&1 | grep -c 'is healthy'"); got != "3" {
			l.t.Errorf("etcdctl asks %s members", got)
		}
	})
	l.sub("one is killed, and workloads are plumbed all the same", func(l *lab) {
		l.kill("etcd1") // where calicoctl is asked otherwise
		l.has(l.fails("check"), "machine/etcd1", "the machine is stopped")
		l.has(l.ok("backup", "-o="+filepath.Join(l.dir, "of-two.db")), "put them back with: ")
		l.ok("unplumb")
		l.ssh("calico1", "sudo docker run -d --name mine --net none calico-cni-lab/workload:bookworm >/dev/null")
		cnitool := func(command string) string {
			return l.ssh("calico1", "sudo timeout 60 env CNI_PATH=/opt/cni/bin NETCONFPATH=/etc/cni/net.d ~/go/bin/cnitool "+command+
				" test-calico $(sudo docker inspect mine | jq -r .[0].NetworkSettings.SandboxKey)")
		}
		l.has(cnitool("add"), `"address": "10.1.`)
		cnitool("del")
		l.ssh("calico1", "sudo docker rm -f mine >/dev/null")
		l.mended()
	})
	l.long("one loses its data", func(l *lab) {
		l.ssh("etcd2", "sudo sh -c 'rm -rf /var/lib/docker/volumes/calico-cni-lab-etcd/_data/*; docker kill etcd' >/dev/null")
		l.first("etcd-container/etcd2")
		l.mended()
		l.ssh("etcd3", "sudo docker rm -f etcd >/dev/null; sudo docker volume rm calico-cni-lab-etcd >/dev/null")
		l.mended()
		l.has(l.ssh("etcd3", "sudo docker exec etcd etcdctl member list"), "etcd1", "etcd2", "etcd3")
	})
	l.long("from three to one, and back", func(l *lab) {
		l.ssh("etcd1", "sudo docker stop etcd >/dev/null")
		l.write(one)
		l.has(l.fails("verify"), "without etcd2, etcd3 its data may be lost", "put lab.yaml back")
		l.write(three)
		l.mended()
		l.write(one)
		l.ok("verify")
		l.holds()
		if got := l.ssh("etcd1", "sudo docker exec etcd etcdctl member list | wc -l"); got != "1" {
			l.t.Errorf("%s members", got)
		}
		l.write(three)
		l.mended()
		l.did(l.ok("verify"), true)
	})
	l.long("a backup, restored in a lab that was made anew", func(l *lab) {
		file, addresses := backUp(l, "etcd2")
		l.ok("destroy")
		l.ok("verify")
		l.ok("restore", file)
		restored(l, "etcd2", addresses)
	})
	l.ok("destroy")
	l.nothingLeft()
}

// kill ends all processes of a machine.
func (l *lab) kill(machine string) {
	l.t.Helper()
	for _, pid := range l.processes(machine) {
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended with another
	}
	for range 100 {
		if len(l.processes(machine)) == 0 {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	l.t.Errorf("%s still runs", machine)
}

// mended wants one verify to mend everything within a minute; a computer at work on other things has longer.
func (l *lab) mended() {
	l.t.Helper()
	start := time.Now()
	l.ok("verify")
	took := time.Since(start)
	l.t.Logf("mended in %s", took.Round(time.Second))
	if took > 3*time.Minute {
		l.t.Errorf("mended after %s", took)
	}
	l.holds()
}
