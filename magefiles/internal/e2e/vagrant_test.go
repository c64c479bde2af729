package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestVagrant is the lab on real virtual machines. It needs a libvirt of its own, which `go tool mage testVagrant`
// gives it; it isn't part of a plain `go test`.
func TestVagrant(t *testing.T) {
	if os.Getenv("LAB_TEST_VAGRANT") != "now" {
		t.Skip("run it with: go tool mage testVagrant")
	}
	l := newLab(t, "vagrant")

	l.sub("verify from nothing", func(l *lab) {
		out := l.ok("verify")
		l.t.Log("\n" + out)
		l.has(out, "machines: vagrant (LAB_HARDWARE says so)", "the lab works: ")
		l.did(out, false)
		l.holds()
	})
	l.sub("verify again does nothing", func(l *lab) {
		l.did(l.ok("verify"), true)
	})
	l.sub("tutorial's facts", func(l *lab) {
		l.has(l.ssh("calico1", "ip route"), "10.1.86.64/26 via 192.168.4.6 dev eth1 proto bird", "blackhole 10.1.127.192/26 proto bird")
		l.has(l.ssh("calico2", "ip route"), "10.1.127.192/26 via 192.168.4.5 dev eth1 proto bird")
		l.has(l.ssh("calico1", "sudo docker exec workload ping -c 1 -W 5 10.1.86.64"), "ttl=62")
		l.has(l.ssh("calico1", "hostname; systemd-detect-virt --vm"), "calico1")
	})
	l.sub("plain vagrant finds the same machines", func(l *lab) {
		out := l.vagrant("status", "--machine-readable")
		if n := strings.Count(out, ",state,running"); n != 3 {
			l.t.Errorf("%d machines run, says vagrant:\n%s", n, out)
		}
		l.has(l.vagrant("ssh", "calico1", "-c", "hostname"), "calico1")
		l.vagrant("validate")
	})
	l.sub("stop and start", func(l *lab) {
		l.ok("stop")
		l.has(l.ok("status"), "stopped", "go tool mage start")
		l.has(l.fails("check"), "the machine is stopped", "go tool mage start")
		l.ok("start")
		l.holds()
	})
	l.sub("destroy without lab.yaml", func(l *lab) {
		l.write("name: [this is not\n")
		l.has(l.ok("destroy"), "lab "+l.name+" is gone")
		for _, list := range [][]string{{"list", "--all", "--name"}, {"net-list", "--all", "--name"}} {
			out, err := exec.Command("virsh", append([]string{"--connect", "qemu:///system"}, list...)...).CombinedOutput()
			if err != nil || strings.Contains(string(out), l.name) {
				l.t.Errorf("virsh %v: %v\n%s", list, err, out)
			}
		}
		entries, err := os.ReadDir(l.dir)
		if err != nil {
			l.t.Fatal(err)
		}
		for _, e := range entries {
			if e.Name() != "lab.yaml" && e.Name() != "mage" {
				l.t.Errorf("left behind: %s", filepath.Join(l.dir, e.Name()))
			}
		}
	})
}

// vagrant runs plain vagrant as the README says, in the project's directory.
func (l *lab) vagrant(args ...string) string {
	l.t.Helper()
	cmd := l.start(l.t.Context(), append([]string{"vagrant"}, args...)...)
	cmd.Env = append(cmd.Env, "VAGRANT_DOTFILE_PATH="+filepath.Join(l.dir, ".vagrant"), "VAGRANT_CHECKPOINT_DISABLE=1")
	out, err := cmd.Output()
	if err != nil {
		l.t.Fatalf("vagrant %v: %v\n%s", args, err, out)
	}
	return string(out)
}
