//go:build linux

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// ownPlugins: whoever writes a CNI plugin has it on the nodes, with a network of his own, and it plumbs a workload; when lab.yaml has it no
// more, it goes, with what it had plumbed.
func ownPlugins(l *lab) {
	const name, network, address = "my-ptp", "mine", "10.9.0.2"
	build := exec.Command("go", "build", "-o", filepath.Join(l.dir, name), "github.com/containernetworking/plugins/plugins/main/ptp")
	build.Dir, build.Env = filepath.Join(l.root, "components", "cni"), append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		l.t.Fatalf("compiling ptp: %v\n%s", err, out)
	}
	conflist := `{"cniVersion": "1.0.0", "name": "` + network + `", "plugins": [{"type": "` + name + `", "ipam": {"type": "host-local", "subnet": "10.9.0.0/24"}}]}`
	if err := os.WriteFile(filepath.Join(l.dir, "my.conflist"), []byte(conflist), 0o644); err != nil {
		l.t.Fatal(err)
	}
	back := l.change("\nnetwork: ", "\nplugins:\n  binaries: ["+name+"]\n  conflist: my.conflist\nnetwork: ")
	l.has(l.plans(), "/opt/cni/bin/"+name+" is missing")
	l.ok("verify")
	l.holds()
	l.ssh("calico1", "sudo rm /opt/cni/bin/"+name)
	l.has(l.fails("check"), "own-plugins", "/opt/cni/bin/"+name+" is missing")
	l.ok("verify")

	cni := "sudo env CNI_PATH=/opt/cni/bin NETCONFPATH=/etc/cni/net.d go/bin/cnitool add " + network + " "
	l.ssh("calico1", "sudo docker run --detach --name mine --net none calico-cni-lab/workload:"+l.want.Versions.Debian)
	l.has(l.ssh("calico1", cni+"$(sudo docker inspect --format '{{.NetworkSettings.SandboxKey}}' mine)"), address)
	l.has(l.ssh("calico1", "sudo docker exec mine ping -c 1 -W 2 10.9.0.1"), "1 received")

	back()
	l.has(l.fails("check"), "plugins", "is an older lab.yaml's")
	l.ok("verify")
	l.holds()
	left := l.ssh("calico1", "ls /opt/cni/bin /etc/cni/net.d; sudo ls /var/lib/cni/results; sudo ls /var/lib/cni/networks/"+network+"; sudo docker exec mine ip -brief link")
	for _, gone := range []string{name, network, address, "eth0@"} {
		if strings.Contains(left, gone) {
			l.t.Errorf("%s is still there:\n%s", gone, left)
		}
	}
	l.ssh("calico1", "sudo docker rm --force mine")
}
