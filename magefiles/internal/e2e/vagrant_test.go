//go:build linux

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestVagrant is the lab on real virtual machines. It needs a libvirt of its own, which `go tool mage dev:testVagrant`
// gives it; it isn't part of a plain `go test`.
func TestVagrant(t *testing.T) {
	if os.Getenv("LAB_TEST_LIBVIRT") != "now" {
		t.Skip("run it with: go tool mage dev:testVagrant")
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
	yaml, err := os.ReadFile(filepath.Join(l.dir, "lab.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	bundled := filepath.Join(t.TempDir(), "lab.tar.zst")
	l.sub("bundle", func(l *lab) {
		l.ok("bundle", "-o="+bundled)
		out, err := exec.Command("tar", "-xOf", bundled, "sbom.spdx.json").Output() // the kernel is on virtual machines alone
		if err != nil || !strings.Contains(string(out), "linux-image-") {
			l.t.Errorf("%v; the list of software: %.500s", err, out)
		}
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
	mine := l.othersBox()
	l.sub("clean while machines are there", func(l *lab) {
		l.has(l.clean().fails("clean"), "in use by the lab in "+l.dir)
	})
	l.sub("nothing was cleaned", func(l *lab) { l.holds() }) // with the cache that clean hadn't
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
	l.sub("clean", func(l *lab) {
		if volumes := l.libvirt("vol-list", "default"); !strings.Contains(volumes, "calico-cni-lab_vagrant_box_image_") {
			l.t.Errorf("there is no base volume that could be removed:\n%s", volumes)
		}
		l.has(l.clean().ok("clean"), "the box calico-cni-lab (libvirt, ", "is removed from libvirt", "the cache is empty")
		boxes, volumes := l.vagrant("box", "list"), l.libvirt("vol-list", "default")
		if strings.Contains(boxes+volumes, "calico-cni-lab") {
			l.t.Errorf("left:\n%s%s", boxes, volumes)
		}
		l.has(boxes, mine)
		l.has(volumes, mine+"_vagrant_box_image_0_box.img")
	})
	l.sub("from the bundle", func(l *lab) {
		l.write(string(yaml))
		c := l.clean()
		c.env = append(c.env, "LAB_BUNDLE="+bundled)
		l.has(c.ok("up"), "taking box-libvirt from the bundle", "3 machines answer SSH")
		c.ok("destroy")
		l.has(c.ok("clean"), "the box calico-cni-lab (libvirt, ", "the cache is empty")
	})
}

// othersBox gives Vagrant and libvirt a box and its volume of another project, and returns its name.
func (l *lab) othersBox() string {
	l.t.Helper()
	const name = "another-project"
	dir := filepath.Join(os.Getenv("VAGRANT_HOME"), "boxes", name, "0", "libvirt")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		l.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "metadata.json"), []byte(`{"provider":"libvirt","format":"qcow2","virtual_size":1}`), 0o644); err != nil {
		l.t.Fatal(err)
	}
	l.libvirt("vol-create-as", "default", name+"_vagrant_box_image_0_box.img", "1M")
	return name
}

func (l *lab) libvirt(args ...string) string {
	l.t.Helper()
	out, err := exec.Command("virsh", append([]string{"--connect", "qemu:///system"}, args...)...).CombinedOutput()
	if err != nil {
		l.t.Fatalf("virsh %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// clean is the lab with an empty cache in the place of this computer's, which others use.
func (l *lab) clean() *lab {
	c := *l
	dir := l.t.TempDir()
	l.t.Setenv("LAB_CACHE", filepath.Join(dir, "cache"))
	c.prefix = append(root(), "unshare", "--mount", "--propagation", "private", "--", "bash", "-c",
		`mkdir -p "$0" && mount --bind "$0" /var/lib/calico-cni-lab && exec "$@"`, filepath.Join(dir, "var"))
	return &c
}

// vagrant runs plain vagrant as docs/layers.md says, in the project's directory.
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
