//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"time"
)

// tutorialFacts are what the tutorial shows, read with the tutorial's commands.
func tutorialFacts(l *lab) {
	nodes := strings.Fields(l.ssh("etcd-node", "sudo calicoctl get nodes"))
	if strings.Join(nodes, " ") != "NAME calico1 calico2" {
		l.t.Errorf("calicoctl get nodes: %v", nodes)
	}
	status := l.ssh("calico1", "sudo calicoctl node status")
	if !regexp.MustCompile(`\| 192\.168\.4\.6 +\| node-to-node mesh \| up +\| \S+ +\| Established +\|`).MatchString(status) {
		l.t.Errorf("calicoctl node status:\n%s", status)
	}
	l.has(l.ssh("calico1", "ip route"), "10.1.86.64/26 via 192.168.4.6 dev host0 proto bird", "blackhole 10.1.127.192/26 proto bird")
	l.has(l.ssh("calico2", "ip route"), "10.1.127.192/26 via 192.168.4.5 dev host0 proto bird", "blackhole 10.1.86.64/26 proto bird")
	l.has(l.ssh("calico1", "sudo docker exec workload ping -c 1 10.1.86.64"), "ttl=62")
	l.has(l.ssh("calico1", "sudo docker exec workload ip address show eth0"), "inet 10.1.127.192/32")
	l.has(l.ssh("calico1", "bash -lc 'go version'"), "go"+l.want.Versions.Go.String())
	l.has(l.ssh("etcd-node", "sudo calicoctl version"), "Client Version:    v"+l.pins.Calico.String())
	if out := l.ssh("calico1", "systemctl is-system-running"); out != "running" {
		l.t.Errorf("calico1 is %s", out)
	}
	// The underlay has no way out: its bridge has no port but the machines', and the namespace that it is in no other interface.
	out, err := exec.Command("nsenter", "--net=/run/netns/"+l.name, "ip", "-brief", "link").Output()
	if os.Geteuid() != 0 {
		out, err = exec.Command("sudo", "-n", "nsenter", "--net=/run/netns/"+l.name, "ip", "-brief", "link").Output()
	}
	if err != nil {
		l.t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		name, _, _ := strings.Cut(strings.Fields(line)[0], "@")
		if name != "lo" && name != "underlay" && !strings.HasPrefix(name, "vb-") {
			l.t.Errorf("the underlay's namespace has another interface: %s", line)
		}
	}
}

// tutorialCommands are the tutorial's manual steps, typed as they stand there, on a workload of the reader's own.
func tutorialCommands(l *lab) {
	image := l.ssh("calico1", "sudo docker inspect -f '{{.Config.Image}}' workload")
	l.ssh("calico1", "sudo docker run -d --name mine --net none "+image)
	id := l.ssh("calico1", `sudo docker inspect mine | jq .[0].Id | tr -d '"'`)
	key := l.ssh("calico1", `sudo docker inspect mine | jq .[0].NetworkSettings.SandboxKey | tr -d '"'`)
	cnitool := fmt.Sprintf("sudo CNI_PATH=/home/vagrant/go/bin NETCONFPATH=/etc/cni/net.d CNI_CONTAINERID=%s /home/vagrant/go/bin/cnitool ", id)
	var result struct {
		Interfaces []struct{ Name string }
		IPs        []struct{ Address string }
	}
	if err := json.Unmarshal([]byte(l.ssh("calico1", cnitool+"add test-calico "+key)), &result); err != nil {
		l.t.Fatal(err)
	}
	if len(result.IPs) != 1 || !strings.HasPrefix(result.IPs[0].Address, "10.1.127.") || len(result.Interfaces) == 0 {
		l.t.Errorf("CNI result: %+v", result)
	}
	l.has(l.ssh("calico1", "ip address"), result.Interfaces[0].Name)
	// Another workload on the other machine is reached from it like any.
	// Felix takes a moment to let it through.
	l.has(l.ssh("calico1", "for i in {1..60}; do sudo docker exec mine ping -c 1 -W 1 10.1.86.64 && exit; done; exit 1"), "ttl=62")
	l.ssh("calico1", cnitool+"del test-calico "+key)
	l.ssh("calico1", "sudo docker rm -f mine")
	l.holds()
}

// tutorialSandbox does what the tutorial does: it plumbs calico-node's own sandbox, the machine's, on a lab without workloads.
// Today's plugin refuses that unless it is told not to, and what it shows then is the tutorial's to the letter.
func tutorialSandbox(l *lab) {
	l.ok("destroy", "ipPool", "cniPlugins", "cnitool")
	addresses := map[string]string{"calico1": "10.1.127.192", "calico2": "10.1.86.64"}
	cnitool := func(verb, key, id string) string {
		return fmt.Sprintf("sudo CNI_NETNS_OVERRIDE=TRUE CNI_PATH=/home/vagrant/go/bin NETCONFPATH=/etc/cni/net.d CNI_CONTAINERID=%s /home/vagrant/go/bin/cnitool %s test-calico %s", id, verb, key)
	}
	id, key := map[string]string{}, map[string]string{}
	for _, m := range []string{"calico1", "calico2"} {
		id[m] = l.ssh(m, `sudo docker inspect calico-release-v3.31 | jq .[0].Id | tr -d '"'`)
		key[m] = l.ssh(m, `sudo docker inspect calico-release-v3.31 | jq .[0].NetworkSettings.SandboxKey | tr -d '"'`)
		if key[m] != "/var/run/docker/netns/default" {
			l.t.Fatalf("calico-node's sandbox key on %s: %s", m, key[m])
		}
		refused := l.fails("ssh", m, strings.Replace(cnitool("add", key[m], id[m]), "CNI_NETNS_OVERRIDE=TRUE", "", 1))
		l.has(refused, "plugin's netns and netns from CNI_NETNS should not be the same")
		l.ssh(m, cnitool("del", key[m], id[m])) // what it left behind all the same
	}
	l.ok("destroy", "ipPool", "cniPlugins", "cnitool") // the addresses are taken in order, and those are gone
	for m, address := range addresses {
		id[m] = l.ssh(m, `sudo docker inspect calico-release-v3.31 | jq .[0].Id | tr -d '"'`)
		l.has(l.ssh(m, cnitool("add", key[m], id[m])), `"name": "calicnitool-573"`, `"address": "`+address+`/32"`)
		l.has(l.ssh(m, "ip addr"), "calicnitool-573@eth0: ", "eth0@calicnitool-573: ", "link/ether ee:ee:ee:ee:ee:ee", "inet "+address+"/32 scope global eth0")
	}
	route := regexp.MustCompile(`^10\.1\.86\.64/26 via 192\.168\.4\.6 dev host0 proto bird`)
	const show = "ip route show | grep 10.1.86.64"
	for deadline := time.Now().Add(time.Minute); ; {
		here, there := l.ssh("calico1", show+" || true"), l.ssh("calico1", "sudo docker exec calico-release-v3.31 ip route | grep 10.1.86.64 || true")
		if route.MatchString(here) && route.MatchString(there) {
			break
		}
		if time.Now().After(deadline) {
			l.t.Fatalf("ip route on calico1: %q, in calico-node: %q", here, there)
		}
	}
	l.has(l.ssh("calico1", "ping -c 1 -W 5 10.1.86.64"), "1 received")
	for m := range addresses {
		l.ssh(m, cnitool("del", key[m], id[m]))
	}
	// The plugin has switched forwarding off in "the container", that is, on the machine.
	l.appears("forwarding/calico1")
	l.has(l.fails("check"), "forwarding on calico1, calico2")
	l.ok("verify")
	l.holds()
}
