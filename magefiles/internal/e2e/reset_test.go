//go:build linux

package e2e

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/baseline"
	"github.com/calico-cni-lab/lab/magefiles/internal/fault"
)

// cnitool is a command line of cnitool's, as root.
const cnitool = "sudo CNI_PATH=/opt/cni/bin NETCONFPATH=/etc/cni/net.d /home/vagrant/go/bin/cnitool"

// mischief is what readers do to a lab, one thing each, told or not; and what a reset says of it, if it is to say something.
var mischief = []struct{ machine, command, says string }{
	{"etcd-node", `sudo calicoctl delete workloadendpoint -n default $(sudo calicoctl get workloadendpoints -A -o json | jq -r '.items[]|select(.spec.node=="calico1")|.metadata.name')`, "put back workloadendpoints/default/calico1-cni-"},
	{"etcd-node", fault.Apply("Tier", "mine", "{order: 10}"), "took away tiers/mine"},
	{"etcd-node", fault.Apply("GlobalNetworkPolicy", "mine.deny", "{tier: mine, types: [Ingress, Egress], ingress: [{action: Deny}]}"), "took away globalnetworkpolicies/mine.deny"},
	{"etcd-node", fault.Apply("GlobalNetworkPolicy", "deny-all", "{types: [Ingress]}"), "took away globalnetworkpolicies/default.deny-all"},
	{"etcd-node", fault.Apply("Profile", "open", "{ingress: [{action: Allow}]}"), "took away profiles/open"},
	{"etcd-node", fault.Apply("BGPPeer", "tor", "{peerIP: 192.168.4.99, asNumber: 64999}"), "took away bgppeers/tor"},
	{"etcd-node", fault.Apply("IPPool", "small", "{cidr: 10.9.0.0/28, blockSize: 30, ipipMode: Never}"), "took away ippools/small"},
	{"etcd-node", fault.Apply("HostEndpoint", "guard", "{node: calico2, interfaceName: none0}"), ""},
	{"etcd-node", `sudo calicoctl patch ippool my.ippool-1 --patch='{"spec":{"natOutgoing":false}}'`, "put back ippools/my.ippool-1"},
	{"etcd-node", `sudo calicoctl patch node calico1 --patch='{"metadata":{"labels":{"rr":"yes"}},"spec":{"bgp":{"routeReflectorClusterID":"224.0.0.1"}}}'`, "put back nodes/calico1"},
	{"etcd-node", `sudo calicoctl patch felixconfiguration default --patch='{"spec":{"defaultEndpointToHostAction":"Accept"}}'`, "put back felixconfigurations/default"},
	{"etcd-node", fault.Apply("BGPConfiguration", "default", "{nodeToNodeMeshEnabled: false}"), "bgpconfigurations/default"},
	{"calico1", "sudo docker run -d --name mine --net none calico-cni-lab/workload:bookworm sleep 3000 && " + cnitool + " add test-calico $(sudo docker inspect -f '{{.NetworkSettings.SandboxKey}}' mine)", "took away container mine"},
	{"calico1", "sudo docker network create mine && sudo docker run -d --name bridged --net mine calico-cni-lab/workload:bookworm sleep 3000", "took away container bridged"},
	{"calico1", `sudo sed -i 's/"calico-ipam"/"calico-ipam", "ipv4_pools": ["small"]/' /etc/cni/net.d/10-test-calico.conflist`, "put back /etc/cni/net.d/10-test-calico.conflist"},
	// Two blocks of the small pool are full then, and a third one is begun.
	{"calico1", "for i in 1 2 3 4 5 6 7 8 9; do sudo ip netns add w$i && " + cnitool + " add test-calico /run/netns/w$i || exit; done", "took away 9 network namespaces: w1 ... w9"},
	{"calico1", "sudo ip link add hand0 type veth peer name hand1 && sudo ip addr add 10.77.0.1/24 dev hand0 && sudo ip link set hand0 up && sudo ip link set hand1 up", "took away interface hand0"},
	{"calico1", "sudo ip route add 10.78.0.0/16 via 10.77.0.2 && sudo ip route add blackhole 203.0.113.0/24 && sudo ip rule add from 10.77.0.0/24 table 100", "took away route blackhole 203.0.113.0/24"},
	{"calico1", "sudo ip neigh add 192.168.4.77 lladdr 02:00:00:00:00:09 dev host0 nud permanent", "took away neighbour 192.168.4.77"},
	{"calico1", "echo '{}' | sudo tee /etc/cni/net.d/99-mine.conf; echo '#!/bin/sh' | sudo tee /opt/cni/bin/mine", "took away /opt/cni/bin/mine"},
	{"calico2", `sudo iptables -I FORWARD -j DROP && sudo iptables -N MINE && sudo iptables -A MINE -m comment --comment 'say "no"' -j RETURN && sudo iptables -A OUTPUT -j MINE`, "took away chain MINE"},
	{"calico2", "sudo iptables -t nat -F POSTROUTING; sudo ip6tables -A INPUT -p tcp --dport 9 -j DROP; sudo iptables-legacy -A INPUT -p tcp --dport 9 -j DROP", "put back chain POSTROUTING of iptables, table nat"},
	{"calico2", "sudo docker rm -f workload", "put back container workload"},
	{"calico2", "sudo ip link set host0 mtu 1400; sudo /usr/sbin/tc qdisc add dev host0 root tbf rate 1mbit burst 32kbit latency 400ms", "put back interface host0"},
	{"calico2", "sudo ip route add default via 192.168.4.1 metric 5; sudo ip route del default metric 100", "put back route default via 192.168.4.1"},
	{"calico2", "sudo sed -i s/etcdv3/kubernetes/ /etc/calico/calicoctl.cfg; echo calico1 | sudo tee /var/lib/calico/nodename; sudo rm /opt/cni/bin/portmap", "put back /var/lib/calico/nodename"},
	{"calico2", fault.InNode("sv stop confd") + "; " + fault.InNode("sed -i 's/connect retry time 5/connect retry time 6/' /etc/calico/confd/config/bird.cfg") + "; " + fault.InNode("birdcl -s /var/run/calico/bird.ctl configure"), "put back BIRD's bird.cfg"},
	{"calico2", "sudo pkill -KILL -x bird; " + fault.InNode("sv -w 30 stop felix"), "put back calico-node's felix"},
	// Once Felix is stopped: while it ran, forwarding was on again on a slow computer.
	{"calico2", "sudo sysctl -w net.ipv4.ip_forward=0; sudo sysctl -w net.ipv4.conf.host0.rp_filter=1", "put back net.ipv4.ip_forward"},
	{"calico1", "sudo docker stop -t 2 $(sudo docker ps -q --filter label=calico-cni-lab.part=calico-node)", "put back container calico-release"},
	{"etcd-node", "sudo docker stop -t 2 etcd", "put back container etcd"},
}

// state prints what a reset has to bring back, asked for by other means than the lab's own.
const state = `cd /
if sudo docker inspect etcd >/dev/null 2>&1; then
	sudo docker exec etcd etcdctl get --prefix /calico/ --keys-only | grep .
	sudo docker exec etcd etcdctl get --prefix /calico/ipam/ --print-value-only | sort
	for kind in nodes ippools bgpconfigurations bgppeers felixconfigurations globalnetworkpolicies tiers profiles hostendpoints workloadendpoints; do
		sudo calicoctl get $kind --all-namespaces --output=yaml 2>/dev/null || sudo calicoctl get $kind --output=yaml
	done
fi
ip -o link show | sed 's/^[0-9]*: //; s/link\/.*//; s/@if[0-9]*//' | sort
ip -o -4 addr show | sed 's/^[0-9]*: //' | sort
ip -4 route show table all | sort
ip -4 rule show
ip -4 neigh show nud permanent
sudo ls /run/netns 2>/dev/null
/usr/sbin/tc qdisc show | sort
/usr/sbin/sysctl net.ipv4.ip_forward net.ipv4.conf.host0.rp_filter net.ipv4.conf.all.forwarding net.ipv4.conf.docker0.forwarding
for form in iptables ip6tables iptables-legacy; do sudo $form-save 2>/dev/null | grep -v -e ^# -e cali- -e cali: | sed 's/\[.*\]//' | sed "s/^/$form /"; done | grep -v 'iptables-legacy [*:C]'
sudo docker ps --all --format '{{.Names}} {{.State}}' | sort
sudo docker network ls --format '{{.Name}}' | sort
sudo find /opt/cni /etc/cni /etc/calico /var/lib/calico go /var/lib/cni -type f -exec sha256sum {} + | grep -v /results/ | sort
sudo ls /var/lib/cni/results 2>/dev/null
node=$(sudo docker ps -q --filter label=calico-cni-lab.part=calico-node)
if [ -n "$node" ]; then
	sudo docker exec $node sh -c 'cat /etc/calico/confd/config/bird*.cfg; sv status /etc/service/enabled/{felix,bird,confd} | cut -d: -f1,2'
	sudo docker exec workload sh -c 'ip -o link | cut -d" " -f2-9; ip -o -4 addr | cut -d: -f2-; ip route; cat /etc/hostname'
fi`

// anew is what a workload has anew when it was plumbed again, a datastore's revisions and times.
var anew = []struct {
	is *regexp.Regexp
	by string
}{
	{regexp.MustCompile(`cnitool--?[0-9a-f]{20}`), "CONTAINER"},
	{regexp.MustCompile(`calicnitool-[0-9a-f]{3}`), "LINK"},
	{regexp.MustCompile(`([0-9a-f]{2}:){5}[0-9a-f]{2}`), "MAC"},
	{regexp.MustCompile(`(resourceVersion|creationTimestamp|uid): .*`), "$1"},
	{regexp.MustCompile(`"sequenceNumber(ForAllocation)?":(\{[^}]*\}|\d+)|"timestamp":"[^"]*"`), "TIME"},
	{regexp.MustCompile(`@if\d+|index \d+`), ""},
}

// state is a machine's, without what may differ.
func (l *lab) state(machine string) string {
	l.t.Helper()
	text := l.ssh(machine, state)
	for _, a := range anew {
		text = a.is.ReplaceAllString(text, a.by)
	}
	return text
}

func (l *lab) states() map[string]string {
	l.t.Helper()
	all := map[string]string{}
	for _, m := range l.want.Machines {
		all[m.Name] = l.state(m.Name)
	}
	return all
}

// same wants the lab as it was.
func (l *lab) same(before map[string]string) {
	l.t.Helper()
	for m, is := range l.states() {
		if is != before[m] {
			l.t.Errorf("%s is not as it was (<: before, >: after):\n%s", m, difference(l.t, before[m], is))
		}
	}
	l.holds()
}

// resets: whatever was done to a lab, a reset undoes it.
func resets(l *lab) {
	// What was done to the lab until here is no business of this test.
	if err := os.Remove(filepath.Join(l.dir, ".lab", baseline.File)); err != nil {
		l.t.Fatal(err)
	}
	l.has(l.fails("reset"), "no baseline has been recorded", "go tool mage verify")
	l.ok("verify")
	before := l.states()
	l.has(l.ok("reset"), "nothing differed from the baseline")
	l.same(before)

	l.sub("thirty things", func(l *lab) {
		l.mischief()
		start := time.Now()
		out := l.ok("reset")
		l.t.Logf("reset took %s:\n%s", time.Since(start), out)
		for _, m := range mischief {
			l.has(out, m.says)
		}
		l.same(before)
		l.has(l.ok("reset"), "nothing differed from the baseline")
		if out := l.ssh("calico1", "sudo ls /var/lib/calico-cni-lab/kept"); !strings.Contains(out, "99-mine.conf") {
			l.t.Errorf("the reader's file is lost: %s", out)
		}
	})
	l.sub("by hand, before another verify", func(l *lab) { notPart(l, before) })
	l.sub("one thing", func(l *lab) {
		const address = "sudo docker exec workload ip -o -4 addr show eth0 | grep -o '10[0-9.]*' | head -1"
		was := l.ssh("calico1", address)
		l.ssh("calico1", "sudo docker rm -f workload")
		l.ok("verify")
		if is := l.ssh("calico1", address); is == was {
			l.t.Errorf("verify gives %s again: then reset has nothing to prove", is)
		}
		start := time.Now()
		l.has(l.ok("reset"), "calico1 has "+was, "undone")
		l.t.Logf("reset took %s", time.Since(start))
		l.same(before)
	})
	l.sub("etcd's data", func(l *lab) { lostData(l, before) })
	l.long("killed", func(l *lab) { killedResets(l, before) })
	l.sub("a lesson under way", underWay)
	l.sub("half up", func(l *lab) {
		l.ok("stop")
		l.has(l.fails("reset"), "go tool mage start")
		l.ok("start")
		l.ok("reset")
		l.same(before)
	})
}

// lostData: with its data gone, etcd gets all of it back, and Felix, which watched the old one, hears of what comes next.
func lostData(l *lab, before map[string]string) {
	// First the datastore with the most revisions: what a Felix that watches it waits for is far away.
	loseData(l)
	l.ok("etcd")
	l.ssh("etcd-node", fault.Apply("Profile", "open", "{ingress: [{action: Allow}]}")) // so Calico has named the new one
	l.ssh("calico1", "sudo systemctl stop docker.socket docker")                       // and nothing there can be stopped
	l.ok("reset")
	l.same(before)
	hears(l, "deny-one")

	loseData(l)
	l.has(l.ok("reset"), "datastore put back")
	l.same(before)
	hears(l, "deny-two")
	l.ok("reset")
	l.same(before)
}

func loseData(l *lab) {
	l.t.Helper()
	l.ssh("etcd-node", "sudo docker rm -f etcd && sudo docker volume rm calico-cni-lab-etcd")
}

// hears wants every Felix to follow the datastore: a policy that is new there is a chain on each node.
func hears(l *lab, policy string) {
	l.t.Helper()
	l.ssh("etcd-node", fault.Apply("GlobalNetworkPolicy", policy, "{types: [Ingress]}"))
	for _, m := range []string{"calico1", "calico2"} {
		l.ssh(m, "for i in {1..500}; do sudo iptables-save 2>/dev/null | grep -q "+policy+" && exit; sleep 0.1; done; exit 1")
	}
}

func (l *lab) mischief() {
	l.t.Helper()
	for _, m := range mischief {
		l.ssh(m.machine, m.command)
	}
}

// notPart: what was made by hand is no part of the baseline after the next verify, even where lab.yaml has changed.
func notPart(l *lab, before map[string]string) {
	l.ssh("etcd-node", fault.Apply("GlobalNetworkSet", "mine", "{nets: [198.51.100.0/24]}"))
	l.ok("verify")
	l.has(l.ok("reset"), "took away globalnetworksets/mine")
	l.ssh("etcd-node", fault.Apply("GlobalNetworkSet", "mine", "{nets: [198.51.100.0/24]}"))
	back := l.change("natOutgoing: true", "natOutgoing: false")
	l.has(l.fails("reset"), "has changed since the baseline was recorded", "go tool mage verify")
	l.ok("ipPool", "verify")
	out := l.ok("reset")
	l.has(out, "took away globalnetworksets/mine")
	if strings.Contains(out, "ippools") {
		l.t.Errorf("lab.yaml's change is undone:\n%s", out)
	}
	back()
	l.ok("verify")
	l.has(l.ok("reset"), "nothing differed")
	l.same(before)
}

// killedResets: a reset that was killed is finished by the next one.
func killedResets(l *lab, before map[string]string) {
	l.mischief()
	killed := 0
	for _, after := range []time.Duration{300, 700, 1200, 1800, 2500, 3500} {
		ctx, cancel := context.WithTimeout(context.Background(), after*time.Millisecond)
		if err := l.start(ctx, l.mage, "reset").Run(); err != nil {
			killed++
		}
		cancel()
	}
	if killed < 3 {
		l.t.Errorf("only %d resets were killed", killed)
	}
	l.ok("reset")
	l.same(before)
}

// underWay: a lesson is named with the way out of it, which ends it.
func underWay(l *lab) {
	lesson := baseline.Lesson{Chapter: "who may talk", Step: 3, Started: time.Now()}
	if err := lesson.Write(filepath.Join(l.dir, ".lab")); err != nil {
		l.t.Fatal(err)
	}
	l.ssh("etcd-node", fault.Apply("Profile", "open", "{ingress: [{action: Allow}]}"))
	says := `"who may talk" is under way (step 3, since`
	l.has(l.ok("status"), says, "1 thing differs from the baseline; leave it with: ", "go tool mage reset")
	l.has(l.ok("verify"), says, "leave it with: ", "go tool mage reset")
	l.has(l.ok("reset"), "took away profiles/open")
	for _, target := range []string{"status", "verify"} {
		if out := l.ok(target); strings.Contains(out, "who may talk") {
			l.t.Errorf("the lesson goes on:\n%s", out)
		}
	}
}

// resetOnTheirs: on machines that are somebody's, what isn't the lab's stays.
func resetOnTheirs(l *lab) {
	const theirs = "sudo docker ps -a --format '{{.Names}} {{.State}}' | grep theirs; ip route | grep 203.0.113; sudo iptables-save 2>/dev/null | grep theirs; sudo ls /run/netns"
	l.ssh("calico1", "sudo docker run -d --name theirs --net none calico-cni-lab/workload:bookworm sleep 3000; sudo ip route add blackhole 203.0.113.0/24; sudo ip netns add theirs; "+
		"sudo iptables -A INPUT -m comment --comment theirs -j ACCEPT")
	was := l.ssh("calico1", theirs)
	l.ssh("calico1", "sudo docker run -d --name handmade --net none calico-cni-lab/workload:bookworm sleep 3000 && "+
		"sudo CNI_PATH=/opt/cni/bin NETCONFPATH=/etc/cni/net.d ~/go/bin/cnitool add test-calico $(sudo docker inspect -f '{{.NetworkSettings.SandboxKey}}' handmade) && sudo docker rm -f workload")
	l.ssh("etcd-node", fault.Apply("GlobalNetworkPolicy", "deny-all", "{types: [Ingress]}"))
	l.has(l.ok("reset"), "took away container handmade", "took away globalnetworkpolicies/default.deny-all", "put back container workload", " things undone")
	if is := l.ssh("calico1", theirs); is != was || strings.Count(is, "\n") != 3 {
		l.t.Errorf("theirs: %s\nwas: %s", is, was)
	}
	l.has(l.ok("reset"), "nothing differed from the baseline")
	l.ssh("calico1", "sudo docker rm -f theirs; sudo ip route del 203.0.113.0/24; sudo ip netns del theirs; sudo iptables -D INPUT -m comment --comment theirs -j ACCEPT; sudo umount /run/netns; sudo rmdir /run/netns")
	l.holds()
}
