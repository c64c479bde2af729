package fault

import (
	"fmt"
	"slices"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/pki"
)

// Names of the default lab's machines, as lab.yaml has them.
const (
	etcdNode = "etcd-node"
	calico1  = "calico1"
	calico2  = "calico2"
)

// Follows of whole parts.
const (
	withoutEtcd    = "datastore etcd etcd-auth reflectors mesh node calico-release routes pool address felix reach"
	withoutNode    = "felix bird bgp routes reach"
	withoutDocker  = "names etcd-container etcd etcd-auth calico-node felix bird bgp routes workload attachment address endpoint reach"
	withoutPackets = "datastore bgp routes felix reach"
)

// leaving is how long verify may take to see that it has nothing to do.
const leaving = 45 * time.Second

// All are the faults of the default lab, but for those of each single file. For each condition there is one.
func All() []Fault {
	return slices.Concat(machines(), network(), filters(), etcd(), nodes(), datastore(), files(), workloads(), computer())
}

// machines: what becomes of a machine as a whole.
func machines() []Fault {
	const hangs = "yours: the machine runs, but nobody can log in"
	var all []Fault
	for _, m := range []string{calico2, calico1, etcdNode} {
		rare := m != calico2
		all = append(all,
			Fault{Name: m + " killed", Break: killed(m), First: "machine/" + m, Follows: Everything, Rare: rare},
			Fault{Name: m + " paused", Break: signalled(m, "STOP"), First: "machine/" + m, Follows: Everything, Left: hangs, Undo: signalled(m, "CONT"), Rare: true},
			Fault{Name: m + " rebooted", Break: rebooted(m), Follows: Everything, Rare: rare},
		)
	}
	return append(all,
		Fault{Name: "nobody can log in", Break: on(calico2, "sudo systemctl stop lab-ssh.socket"), First: "machine/calico2", Follows: Everything, Left: hangs, Undo: targets("stop", "start")},
		Fault{Name: "sshd killed", Break: on(calico2, soon("pkill -KILL -x sshd"))},
		Fault{Name: "a program is missing", Break: on(calico1, "sudo mv /usr/bin/jq /usr/bin/jq.away"), First: "packages/calico1",
			Left: "yours: this machine can't reach a package mirror", Undo: on(calico1, "sudo mv /usr/bin/jq.away /usr/bin/jq")},
		Fault{Name: "Docker stopped", Break: on(calico1, "sudo systemctl stop docker.socket docker.service"), First: "docker/calico1", Follows: withoutDocker},
		Fault{Name: "dockerd killed", Break: on(calico2, "sudo pkill -KILL -x dockerd"), Follows: "docker " + withoutDocker},
		Fault{Name: "dockerd of etcd-node killed", Break: on(etcdNode, "sudo pkill -KILL -x dockerd"), Follows: Everything, Rare: true},
	)
}

// network: a machine's interfaces, addresses, routes.
func network() []Fault {
	return []Fault{
		{Name: "interface down", Break: on(calico2, soon("ip link set host0 down")), First: "link/calico2", Follows: "default-route " + withoutPackets},
		{Name: "interface of etcd-node down", Break: on(etcdNode, soon("ip link set host0 down")), First: "link/etcd-node", Follows: Everything, Rare: true},
		{Name: "address removed", Break: on(calico2, "sudo ip address flush dev host0"), First: "link/calico2", Follows: "default-route " + withoutPackets},
		{Name: "default route removed", Break: on(calico1, "sudo ip route del default"), First: "default-route/calico1", Follows: "reach"},
		{Name: "forwarding off", Break: on(calico2, "sudo sysctl -w net.ipv4.ip_forward=0"), First: "forwarding/calico2", Follows: "reach"},
		{Name: "neighbours flushed", Break: on(calico1, "sudo ip neighbour flush all")},
		{Name: "MTU 1400", Break: on(calico2, "sudo ip link set host0 mtu 1400"), First: "link/calico2", Follows: "attachment reach"},
	}
}

// filters: packets that a packet filter drops. What it is for, only who made it knows; reset takes it away.
func filters() []Fault {
	const filtered = "go tool mage reset"
	return []Fault{
		{Name: "TCP port 179 dropped", Break: on(calico2, dropped(179)+"; "+InNode("birdcl -s /var/run/calico/bird.ctl restart all")), First: "bgp/calico2", Follows: "bgp routes reach",
			Left: filtered, Undo: targets("reset"), Within: leaving},
		{Name: "TCP port 2379 dropped", Break: on(etcdNode, dropped(2379)), First: "etcd/etcd-node", Follows: withoutEtcd, Left: filtered, Undo: targets("reset"), Within: leaving},
		{Name: "TCP port 2379 dropped on a node", Break: on(calico2, dropped(2379)), First: "datastore/calico2", Follows: "felix", Left: filtered, Undo: targets("reset")},
		{Name: "three packets in ten lost", Break: on(calico2, "for chain in INPUT FORWARD; do sudo iptables -I $chain -i host0 -m statistic --mode random --probability 0.3 -j DROP || exit; done"),
			Follows: "reach " + withoutPackets, Undo: targets("reset"), Chance: true, Rare: true},
		{Name: "a policy of the user's own", Break: on(etcdNode, Apply("GlobalNetworkPolicy", "deny-all", "{types: [Ingress]}")), First: "reach/calico1",
			Left: "yours: there are policies of yours", Undo: on(etcdNode, "sudo calicoctl delete globalnetworkpolicy deny-all"), Within: leaving},
	}
}

// etcd: the datastore, and what it is reached with.
func etcd() []Fault {
	expired, ending := time.Now().Add(-time.Hour), time.Now().Add(pki.Early-time.Hour)
	return []Fault{
		{Name: "etcd removed", Break: on(etcdNode, "sudo docker rm -f etcd"), First: "etcd-container/etcd-node", Follows: withoutEtcd},
		{Name: "etcd hangs", Break: on(etcdNode, "sudo pkill -STOP -x etcd"), First: "etcd/etcd-node", Follows: withoutEtcd},
		{Name: "etcd stopped for 60 s", Break: on(etcdNode, "sudo docker stop -t 2 etcd; sleep 60"), First: "etcd-container/etcd-node", Follows: withoutEtcd, Rare: true},
		{Name: "etcd's certificate truncated", Break: on(etcdNode, "sudo truncate -s 9 /etc/calico/pki/etcd/tls.crt"), First: "etcd-certificates/etcd-node", Follows: withoutEtcd},
		{Name: "the plugin may do everything", Break: on(etcdNode, "sudo docker exec etcd etcdctl role grant-permission calico-cni readwrite --prefix /calico/"), First: "etcd-auth/etcd-node"},
		{Name: "authentication off", Break: on(etcdNode, "sudo docker exec etcd etcdctl auth disable"), First: "etcd-auth/etcd-node"},
		{Name: "calico-node's certificate removed", Break: on(calico2, "sudo rm -r /etc/calico/pki/calico-node"), First: "certificates/calico2", Follows: "felix"},
		{Name: "calico-node's certificate expired", Break: certificate(calico2, "calico-node", expired), First: "certificates/calico1", Follows: withoutNode},
		{Name: "calico-node's certificate of another CA", Break: certificate(calico2, "calico-node", time.Time{}), First: "certificates/calico2", Follows: withoutNode},
		{Name: "every certificate is about to end", Break: certificates(ending), First: "etcd-certificates/etcd-node", Follows: "certificates"},
		{Name: "every certificate expired", Break: certificates(expired), First: "etcd-certificates/etcd-node", Follows: "certificates " + withoutEtcd + " " + withoutNode},
	}
}

// nodes: calico-node, and what runs in it.
func nodes() []Fault {
	return []Fault{
		{Name: "calico-node stopped", Break: on(calico1, "sudo docker stop -t 2 "+node), First: "calico-node/calico1", Follows: withoutNode},
		{Name: "calico-node killed", Break: on(calico1, "sudo docker kill "+node), First: "calico-node/calico1", Follows: withoutNode},
		{Name: "calico-node removed", Break: on(calico2, "sudo docker rm -f "+node), First: "calico-node/calico2", Follows: withoutNode},
		{Name: "calico-node restarted beside a dead node", Break: restartedAlone, First: "bgp/calico1", Follows: "bgp", Left: "yours: node ghost is registered",
			Undo: on(etcdNode, "sudo calicoctl delete node ghost")},
		{Name: "Felix stopped", Break: on(calico1, InNode("sv stop felix")), First: "felix/calico1"},
		{Name: "Felix killed", Break: on(calico1, InNode("pkill -KILL -f 'calico-node -felix'")), Follows: "felix"},
		{Name: "BIRD stopped", Break: on(calico2, InNode("sv stop bird")), First: "bird/calico2", Follows: "bgp routes reach"},
		{Name: "BIRD killed", Break: on(calico2, InNode("pkill -KILL -x bird")), Follows: "bird bgp routes reach"},
		{Name: "confd killed", Break: on(calico2, InNode("pkill -KILL -f 'calico-node -confd'"))},
		{Name: "session disabled", Break: on(calico2, InNode("birdcl -s /var/run/calico/bird.ctl disable Mesh_192_168_4_5")), First: "bgp/calico1", Follows: "routes reach"},
		{Name: "BIRD programs no routes", Break: on(calico1, InNode("birdcl -s /var/run/calico/bird.ctl disable kernel1")+"; sudo ip route flush proto bird"), First: "routes/calico1", Follows: "reach"},
	}
}

// datastore: what Calico has there.
func datastore() []Fault {
	return []Fault{
		{Name: "a reflector of a former lab.yaml", Break: on(etcdNode, "sudo calicoctl label nodes calico1 calico-cni-lab.reflector=true"), First: "reflectors"},
		{Name: "mesh off", Break: on(etcdNode, Apply("BGPConfiguration", "default", "{nodeToNodeMeshEnabled: false}")+"; sleep 2"), First: "mesh", Follows: "bgp routes reach"},
		{Name: "node deleted", Break: on(etcdNode, "sudo calicoctl delete node calico1"), First: "node/calico1", Follows: "bgp routes felix attachment address endpoint reach"},
		{Name: "another release in the datastore", Break: on(etcdNode, `k=/calico/resources/v3/projectcalico.org/clusterinformations/default; sudo docker exec etcd etcdctl get --print-value-only $k | sed s/v3.31.0/v3.14.0/ | sudo docker exec -i etcd etcdctl put $k`), First: "calico-release"},
		{Name: "pool exports nothing", Break: on(etcdNode, `sudo calicoctl patch ippool my.ippool-1 --patch='{"spec":{"disableBGPExport":true}}'; sleep 2`), First: "pool", Follows: "routes reach"},
		{Name: "pool disabled", Break: on(etcdNode, `sudo calicoctl patch ippool my.ippool-1 --patch='{"spec":{"disabled":true}}'`), First: "pool"},
		{Name: "address released", Break: on(etcdNode, "sudo calicoctl ipam release --ip=$(sudo calicoctl get workloadendpoints -A -o json | jq -r '.items[]|select(.spec.node==\"calico1\")|.spec.ipNetworks[0]' | cut -d/ -f1)"), First: "address/calico1"},
		{Name: "endpoint deleted", Break: on(etcdNode, "sudo calicoctl delete workloadendpoint -n default $(sudo calicoctl get workloadendpoints -A -o json | jq -r '.items[]|select(.spec.node==\"calico2\")|.metadata.name'); sleep 1"), First: "address/calico2", Follows: "endpoint attachment reach"},
	}
}

// files: of what the lab puts on a machine.
func files() []Fault {
	return []Fault{
		{Name: "calicoctl is another program", Break: on(calico2, "printf '#!/bin/sh\\necho v3.14.0\\n' | sudo tee /usr/local/bin/calicoctl"), First: "calicoctl/calico2"},
		{Name: "calicoctl's configuration unreadable", Break: on(etcdNode, "sudo chmod 600 /etc/calico/calicoctl.cfg"), First: "calicoctl/etcd-node"},
		{Name: "half of Go", Break: on(calico1, "sudo rm -rf /usr/local/go/src/net"), First: "go/calico1", Within: 2 * time.Minute},
		{Name: "Go removed", Break: on(calico2, "sudo rm -rf /usr/local/go"), First: "go/calico2", Within: 2 * time.Minute},
		{Name: "Go's profile changed", Break: on(calico2, "echo : | sudo tee /etc/profile.d/golang.sh"), First: "go-path/calico2"},
		{Name: "a plugin truncated and another's link removed", Break: on(calico2, "sudo truncate -s 1000 /opt/cni/bin/loopback; sudo rm /opt/cni/bin/calico-ipam"), First: "plugins/calico2"},
		{Name: "conflist changed", Break: on(calico1, "sudo sed -i s/1.0.0/1.1.0/ /etc/cni/net.d/10-test-calico.conflist"), First: "conflist/calico1"},
		{Name: "cnitool removed", Break: on(calico2, "rm go/bin/cnitool"), First: "cnitool/calico2"},
	}
}

// workloads: what is plumbed.
func workloads() []Fault {
	return []Fault{
		{Name: "workload and its image removed", Break: on(calico2, "sudo docker rm -f workload && sudo docker rmi -f $(sudo docker images -q '*/workload')"), First: "workload/calico2", Follows: "attachment address endpoint reach"},
		{Name: "workload restarted", Break: on(calico1, "sudo docker restart -t 0 workload"), First: "attachment/calico1", Follows: "address endpoint reach"},
		{Name: "interface removed in the workload", Break: on(calico2, InSandbox("ip link del eth0")), First: "attachment/calico2", Follows: "address endpoint reach"},
		{Name: "default route removed in the workload", Break: on(calico2, InSandbox("ip route del default")), First: "attachment/calico2", Follows: "reach"},
		{Name: "route to the workload removed", Break: on(calico1, `sudo ip route del $(ip route | grep '^10.* dev cali' | cut -d' ' -f1)`), First: "endpoint/calico1", Follows: "reach", Heals: true},
		{Name: "a packet filter in the workload", Break: on(calico2, InSandbox("iptables -A INPUT -p tcp --dport 8080 -j DROP")), First: "reach/calico1"},
	}
}

// computer: what goes wrong on the one that the machines are on, and disks.
func computer() []Fault {
	return []Fault{
		{Name: "this computer's disk full", Here: true, Break: fullStateDir, Left: "no space left on device", Undo: unmountStateDir},
		{Name: "calico2's disk full", Break: on(calico2, fmt.Sprintf("rm go/bin/cnitool; sudo mount -t tmpfs -o size=64k full %[1]s && sudo dd if=/dev/zero of=%[1]s/full bs=64k status=none; true", fact.Home)), First: "cnitool/calico2",
			Left: "No space left on device", Undo: on(calico2, "sudo umount "+fact.Home)},
	}
}
