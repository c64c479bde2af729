//go:build linux

package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

// tree makes files below a directory; what begins with -> is a symbolic link.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, link := strings.CutPrefix(content, "->"); link {
			err = os.Symlink(target, p)
		} else {
			err = os.WriteFile(p, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

const tcpHeader = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"

// tcp is a line of /proc/net/tcp.
func tcp(address, state, inode string) string {
	return fmt.Sprintf("   0: %s 00000000:0000 %s 00000000:00000000 00:00000000 00000000     0        0 %s 1 0 100 0 0 10 0\n", address, state, inode)
}

// proc are the files of a process.
func proc(files map[string]string, pid, comm, ns, group string, sockets ...string) {
	dir := "proc/" + pid + "/"
	files[dir+"comm"], files[dir+"ns/net"], files[dir+"cgroup"] = comm+"\n", "->net:["+ns+"]", "0::"+group+"\n"
	for i, s := range sockets {
		files[fmt.Sprintf("%sfd/%d", dir, i)] = "->socket:[" + s + "]"
	}
}

func TestPrograms(t *testing.T) {
	id := strings.Repeat("0123abcd", 8)
	files := map[string]string{
		"proc/self/ns/net": "->net:[1]",
		"proc/net/tcp":     tcpHeader + tcp("0100007F:094B", "0A", "11") + tcp("00000000:00B3", "0A", "12") + tcp("0504A8C0:00B3", "01", "13") + tcp("00000000:1F90", "0A", "19"),
		"proc/net/tcp6":    tcpHeader + tcp("00000000000000000000000001000000:0016", "0A", "14") + tcp("0000000000000000FFFF00000504A8C0:0050", "0A", "15"),
		"etc/systemd/system/multi-user.target.wants/frr.service":   "->../../../../unit",
		"etc/systemd/system/multi-user.target.wants/bird.service":  "->/nowhere/of/a/removed/package",
		"etc/systemd/system/multi-user.target.wants/ssh.service":   "->../../../../unit",
		"etc/systemd/system/other.target.wants/kubelet.service":    "->../../../../unit",
		"etc/systemd/system/multi-user.target.wants/cron.d/nosuch": "",
		"unit":             "",
		"etc/ufw/ufw.conf": "# a comment\nENABLED=yes\nLOGLEVEL=low\n",
	}
	proc(files, "1", "systemd", "1", "/init.scope", "14")
	proc(files, "20", "etcd", "1", "/system.slice/etcd.service", "10", "11")
	proc(files, "21", "bird", "1", "/docker/"+id, "12", "15")
	proc(files, "22", "bird", "2", "/docker/"+strings.Repeat("f", 64)) // in a network namespace of its own
	proc(files, "23", "bird6", "1", "/docker/"+id)
	proc(files, "24", "NetworkManager", "1", "/system.slice/NetworkManager.service")
	root := tree(t, files)
	rivals, listeners := rivals(root), listeners(root, []uint16{80, 179, 443, 2379, 8080})
	bird := fact.Process{PID: 21, Name: "bird", Container: id}
	if diff := cmp.Diff(fact.Known([]fact.Rival{
		{Product: fact.BIRDDaemon, Process: bird}, {Product: fact.NetworkManager, Process: fact.Process{PID: 24, Name: "NetworkManager"}},
		{Product: fact.FRR, Unit: "frr.service"}, {Product: fact.Kubernetes, Unit: "kubelet.service"}, {Product: fact.UFW},
	}), rivals); diff != "" {
		t.Errorf("rivals (-want +got):\n%s", diff)
	}
	at := netip.MustParseAddrPort
	if diff := cmp.Diff(fact.Known([]fact.Listener{
		{Address: at("0.0.0.0:179"), Process: bird}, {Address: at("0.0.0.0:8080")}, {Address: at("127.0.0.1:2379"), Process: fact.Process{PID: 20, Name: "etcd"}},
		{Address: at("192.168.4.5:80"), Process: bird},
	}), listeners, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Errorf("listeners (-want +got):\n%s", diff)
	}
}

// TestOwnListener: on this computer the port that this test listens on is this test's.
func TestOwnListener(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	all := listeners("/", []uint16{uint16(l.Addr().(*net.TCPAddr).Port)})
	i := slices.IndexFunc(all.Value, func(f fact.Listener) bool { return f.Address.String() == l.Addr().String() })
	if i < 0 || all.Value[i].Process.PID != os.Getpid() {
		t.Errorf("%s is not among %+v", l.Addr(), all)
	}
}

// TestOwners: the newest process that has a socket is its owner, and older ones aren't looked at when all are found.
func TestOwners(t *testing.T) {
	files := map[string]string{}
	proc(files, "9", "systemd", "1", "/init.scope", "11", "12")
	proc(files, "100", "etcd", "1", "/system.slice/etcd.service", "11")
	got, err := ownersOf(tree(t, files), map[string]bool{"11": true})
	if diff := cmp.Diff(map[string]fact.Process{"11": {PID: 100, Name: "etcd"}}, got); diff != "" || err != nil {
		t.Errorf("(-want +got):\n%s%v", diff, err)
	}
	// Where nothing listens, no process is looked at.
	if got, err := ownersOf(t.TempDir(), map[string]bool{}); len(got) > 0 || err != nil {
		t.Errorf("%v, %v", got, err)
	}
}

// TestNotAsked: rivals and listeners are looked for where a port is asked for, and nowhere else.
func TestNotAsked(t *testing.T) {
	if m := look(fact.Request{}); m.Rivals.Unknown != fact.NotAsked || m.Listeners.Unknown != fact.NotAsked {
		t.Errorf("%+v, %+v", m.Rivals, m.Listeners)
	}
	if m := look(fact.Request{Ports: []uint16{1}}); m.Rivals.Unknown != "" || m.Listeners.Unknown != "" {
		t.Errorf("%+v, %+v", m.Rivals, m.Listeners)
	}
}

func TestSparesCalico(t *testing.T) {
	for conf, want := range map[string]bool{
		"": false,
		"[keyfile]\nunmanaged-devices=interface-name:cali*\n":                       true,
		"[keyfile]\nunmanaged-devices = interface-name:tun*;interface-name:cali*\n": true,
		"[keyfile]\nunmanaged-devices+=interface-name:cali*,mac:00:11:22:33:44:55":  true,
		"[keyfile]\nunmanaged-devices=*\n":                                          true,
		"[keyfile]\n#unmanaged-devices=interface-name:cali*\n":                      false,
		"[keyfile]\nunmanaged-devices=interface-name:tun*\n":                        false,
		"[keyfile]\nunmanaged-devices=except:interface-name:cali*\n":                false,
	} {
		for _, file := range []string{"etc/NetworkManager/conf.d/calico.conf", "usr/lib/NetworkManager/conf.d/x.conf", "etc/NetworkManager/NetworkManager.conf"} {
			if got := sparesCalico(tree(t, map[string]string{file: conf})); got != want {
				t.Errorf("%s with %q: %t", file, conf, got)
			}
		}
	}
}

func TestMark(t *testing.T) {
	root := tree(t, map[string]string{"mark": "aaaa lab anna@laptop\n"})
	if got := mark(filepath.Join(root, "mark")); got != fact.Known("aaaa lab anna@laptop") {
		t.Errorf("%+v", got)
	}
	if got := mark(filepath.Join(root, "none")); got != fact.Known("") {
		t.Errorf("none: %+v", got)
	}
	if got := mark(root); got.Unknown == "" {
		t.Errorf("a directory: %+v", got)
	}
}
