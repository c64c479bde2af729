//go:build linux

package e2e

import (
	_ "embed"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
)

//go:embed testdata/escapes.py
var escapes []byte

// privileges: root on a machine is nobody on this computer. Before machines had user namespaces all of this was done, but for the
// directory opened by its number, which nspawn's filter of system calls refuses as well (and the disk, where even root can open
// none).
func privileges(l *lab) {
	h, _, err := unix.NameToHandleAt(unix.AT_FDCWD, l.home(), 0)
	if err != nil {
		l.t.Fatal(err)
	}
	out := l.ssh("calico1", fmt.Sprintf("echo %s | base64 -d | sudo python3 - %d %d %s",
		base64.StdEncoding.EncodeToString(escapes), unix.SYS_BPF, h.Type(), hex.EncodeToString(h.Bytes())))
	tried := 0
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		tried++
		if want := map[bool]string{true: "DONE", false: "refused"}[f[0] == "control"]; f[1] != want {
			l.t.Errorf("not %s: %s", want, line)
		}
	}
	if tried != 9 {
		l.t.Errorf("%d were tried:\n%s", tried, out)
	}
	ranges := map[string]bool{}
	for _, m := range []string{"etcd-node", "calico1", "calico2"} {
		// A machine's root is another user on this computer, on each machine another one, and can't get what it doesn't have.
		f := strings.Fields(l.ssh(m, "cat /proc/self/uid_map"))
		if len(f) != 3 || f[1] == "0" || f[2] != "65536" || ranges[f[1]] {
			l.t.Errorf("the users of %s: %v, those before it %v", m, f, ranges)
		}
		ranges[f[1]] = true
		l.bounded(m)
		for _, pid := range l.processes(m) {
			var st unix.Stat_t
			line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
			if unix.Stat(fmt.Sprintf("/proc/%d", pid), &st) != nil || err != nil {
				continue // gone
			}
			// Outside of the machine are nspawn itself, and the shell that waits for it.
			if launcher := strings.Contains(string(line), "systemd-nspawn") || strings.Contains(string(line), "boot.sh"); st.Uid < 524288 && len(line) > 0 && !launcher {
				l.t.Errorf("on %s user %d of this computer runs %q", m, st.Uid, strings.ReplaceAll(string(line), "\x00", " "))
			}
		}
	}
	// A program with a setuid bit, made on a machine, is out of everybody's reach here.
	info, err := os.Stat(l.home() + "/calico1/own")
	if err != nil || info.Mode().Perm() != 0o700 {
		l.t.Errorf("the machine's files: %v, %v", info, err)
	}
}

// bounded wants a machine without what the lab doesn't need, for its root and for every container.
func (l *lab) bounded(machine string) {
	l.t.Helper()
	var set uint64
	if _, err := fmt.Sscanf(l.ssh(machine, "sudo grep CapBnd /proc/1/status"), "CapBnd: %x", &set); err != nil {
		l.t.Fatal(err)
	}
	for name, bit := range map[string]int{
		"DAC_READ_SEARCH": unix.CAP_DAC_READ_SEARCH, "SYS_RAWIO": unix.CAP_SYS_RAWIO, "SYS_TIME": unix.CAP_SYS_TIME, "SYSLOG": unix.CAP_SYSLOG,
		"LINUX_IMMUTABLE": unix.CAP_LINUX_IMMUTABLE, "MAC_ADMIN": unix.CAP_MAC_ADMIN, "MAC_OVERRIDE": unix.CAP_MAC_OVERRIDE,
		"WAKE_ALARM": unix.CAP_WAKE_ALARM, "BLOCK_SUSPEND": unix.CAP_BLOCK_SUSPEND, "AUDIT_CONTROL": unix.CAP_AUDIT_CONTROL,
		"AUDIT_READ": unix.CAP_AUDIT_READ, "BPF": unix.CAP_BPF, "PERFMON": unix.CAP_PERFMON, "CHECKPOINT_RESTORE": unix.CAP_CHECKPOINT_RESTORE,
	} {
		if set&(1<<bit) != 0 {
			l.t.Errorf("%s may have CAP_%s", machine, name)
		}
	}
}

// listening: etcd answers those that are to reach it, and nobody on another interface that the machine may have.
func listening(l *lab) {
	sockets := strings.Fields(l.ssh("etcd-node", `sudo ss -Hltnp | awk '/"etcd"/ {print $4}' | sort`))
	want := []string{"127.0.0.1:2379", "192.168.4.7:2379", "192.168.4.7:2380"}
	if !slices.Equal(sockets, want) {
		l.t.Errorf("etcd listens on %v, not on %v", sockets, want)
	}
	for _, address := range []string{"localhost", "etcd-node", "192.168.4.7"} {
		const as = "cd /etc/calico/pki/health && curl -s --cacert ca.crt --cert tls.crt --key tls.key "
		l.has(l.ssh("etcd-node", fmt.Sprintf("sudo bash -c '%s https://%s:2379/health'", as, address)), `"health":"true"`)
		for _, stranger := range []string{"curl -s ", "curl -sk https://", "sudo curl -sk --cert /etc/calico/pki/health/ca.crt --key /etc/calico/pki/health/tls.key https://"} {
			if out := l.ssh("etcd-node", stranger+address+":2379/health || echo refused"); out != "refused" {
				l.t.Errorf("%s%s is answered: %s", stranger, address, out)
			}
		}
	}
}

// asCalicoctl is calicoctl with another client's certificate.
const asCalicoctl = `as() { sed s,pki/calicoctl,pki/$1, /etc/calico/calicoctl.cfg >/run/as.cfg; ` +
	`timeout 30 calicoctl "${@:2}" --config=/run/as.cfg 2>&1 || true; rm /run/as.cfg; }; `

// asEtcdctl is etcdctl with another client's certificate; the last line says what came of it.
const asEtcdctl = `as() { timeout 30 docker run --rm --network host --volume /etc/calico/pki/$1:/pki:ro "$(docker inspect --format '{{.Config.Image}}' etcd)" ` +
	`etcdctl --cacert=/pki/ca.crt --cert=/pki/tls.crt --key=/pki/tls.key "${@:2}" 2>&1 | tail -n 1; }; `

// rights: each client of etcd may do what it is there for. Who has the CNI plugin's certificate, or calico-node's, can't make himself
// the network's administrator with it; who has calicoctl's, not etcd's.
func rights(l *lab) {
	const (
		policy    = `apply --filename=- <<<'{"apiVersion":"projectcalico.org/v3","kind":"GlobalNetworkPolicy","metadata":{"name":"open"},"spec":{"selector":"all()"}}'`
		pool      = `patch ippool my.ippool-1 --patch='{"spec":{"natOutgoing":false}}'`
		bgp       = `apply --filename=- <<<'{"apiVersion":"projectcalico.org/v3","kind":"BGPConfiguration","metadata":{"name":"default"},"spec":{"nodeToNodeMeshEnabled":false}}'`
		label     = `patch node calico2 --patch='{"metadata":{"labels":{"x":"y"}}}'`
		endpoint  = "$(as calicoctl get workloadendpoints --output=json | jq --raw-output '.items[0].metadata.name')"
		resources = "/calico/resources/v3/projectcalico.org/"
	)
	for _, c := range []struct {
		machine, as, who, what string
		may                    bool
	}{
		{"calico1", asCalicoctl, "calico-cni", label, false},
		{"calico1", asCalicoctl, "calico-cni", "delete ippool my.ippool-1", false},
		{"calico1", asCalicoctl, "calico-cni", policy, false},
		{"calico1", asCalicoctl, "calico-cni", bgp, false},
		{"calico1", asCalicoctl, "calico-cni", "get globalnetworkpolicies", false},
		{"calico1", asCalicoctl, "calico-cni", "get nodes", true},
		{"calico1", asCalicoctl, "calico-node", policy, false},
		{"calico1", asCalicoctl, "calico-node", pool, false},
		{"calico1", asCalicoctl, "calico-node", bgp, false},
		{"calico1", asCalicoctl, "calico-node", "delete workloadendpoint " + endpoint, false},
		{"calico1", asCalicoctl, "calico-node", "get globalnetworkpolicies", true},
		{"calico1", asCalicoctl, "calicoctl", policy, true},
		{"calico1", asCalicoctl, "calicoctl", "delete globalnetworkpolicy open", true},
		{"etcd-node", asEtcdctl, "health", "get --prefix --keys-only " + resources + "nodes/", false},
		{"etcd-node", asEtcdctl, "health", "put /calico/x y", false},
		{"etcd-node", asEtcdctl, "health", "snapshot save /all.db", false},
		{"etcd-node", asEtcdctl, "health", "endpoint health", true},
		{"etcd-node", asEtcdctl, "calicoctl", "get --prefix --keys-only " + resources + "nodes/", true},
		{"etcd-node", asEtcdctl, "calicoctl", "get --prefix --keys-only /", false},
		{"etcd-node", asEtcdctl, "calicoctl", "put /mine x", false},
		{"etcd-node", asEtcdctl, "calicoctl", "user list", false},
		{"etcd-node", asEtcdctl, "calicoctl", "role grant-permission calicoctl readwrite --prefix /", false},
		{"etcd-node", asEtcdctl, "calicoctl", "auth disable", false},
		{"etcd-node", asEtcdctl, "calicoctl", "member add x --peer-urls=https://192.168.4.99:2380", false},
		{"etcd-node", asEtcdctl, "calicoctl", "snapshot save /all.db", false},
	} {
		out := l.ssh(c.machine, "sudo bash -c "+command.Quote(c.as+"as "+c.who+" "+c.what))
		if refused := strings.Contains(out, "permission denied") || strings.Contains(out, "user name not found"); refused == c.may || c.may && strings.Contains(out, "ailed") {
			l.t.Errorf("%s: %s: %s", c.who, c.what, out)
		}
	}
	l.holds()
}

// reissued: what is lost on this computer is said, and made anew, all of it where it was the authority's key; the lab goes on.
func reissued(l *lab) {
	serials := func() string { return l.ssh("calico1", "sudo sha256sum /etc/calico/pki/*/*.crt") }
	for _, lost := range []string{"calico-node.crt", "ca.key"} {
		before := serials()
		if err := os.Remove(filepath.Join(l.dir, ".lab", "pki", lost)); err != nil {
			l.t.Fatal(err)
		}
		l.has(l.fails("check"), "certificates on calico1, calico2", "there is no certificate of "+strings.TrimSuffix(lost, filepath.Ext(lost)))
		l.has(l.plans(), "issues what has to be")
		l.ok("verify")
		l.holds()
		if serials() == before {
			l.t.Errorf("%s: nothing was issued anew", lost)
		}
		l.has(l.ok("reset"), "nothing differed from the baseline")
	}
}

// unified boots the machines once as on a computer that has cgroup v2 and nothing else: a computer with both shows the targets
// one hierarchy, which has no controllers then.
func unified(l *lab) {
	if _, err := os.Stat("/sys/fs/cgroup/unified/cgroup.procs"); err != nil || os.Geteuid() != 0 {
		l.t.Skip("needs root, and a computer with cgroup v1 and v2: ", err)
	}
	l.ok("stop")
	v2 := *l
	v2.prefix = []string{"unshare", "--mount", "--propagation=unchanged", "bash", "-c",
		`mount --make-rprivate /sys/fs/cgroup && umount -R /sys/fs/cgroup && mount -t cgroup2 lab /sys/fs/cgroup && exec "$@"`, "bash"}
	v2.ok("start")
	v2.holds()
	if out := v2.ssh("calico1", "stat -fc %T /sys/fs/cgroup"); out != "cgroup2fs" {
		l.t.Errorf("the machine has %s", out)
	}
	v2.ok("stop")
	l.ok("start")
	l.holds()
}
