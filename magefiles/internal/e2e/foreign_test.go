//go:build linux

package e2e

import (
	"strings"
	"syscall"
)

// plant puts what somebody else may have on the machines, which no run of the lab's may touch. The BIRD is the lab's image's own.
func (s *strangers) plant() {
	s.ssh("calico1", `set -e; id=$(sudo docker create $(sudo docker images -q 'calico-cni-lab/node'))
sudo docker cp $id:/usr/sbin/bird /usr/sbin/bird && sudo docker rm $id >/dev/null
printf '%s\n' 'router id 1.1.1.1;' 'protocol device { }' 'protocol kernel { export all; }' 'protocol static { route 198.51.100.0/24 unreachable; }' | sudo tee /etc/bird.conf
printf '%s\n' '[Service]' 'ExecStart=/usr/sbin/bird -f -c /etc/bird.conf -s /run/bird.ctl' '[Install]' 'WantedBy=multi-user.target' | sudo tee /etc/systemd/system/bird.service`)
	for _, m := range s.machines {
		s.ssh(m, `set -e; sudo tar --create --directory=/ usr/bin/true | sudo docker import - mine:1 >/dev/null
sudo docker create --name mine --volume precious:/data mine:1 true >/dev/null
sudo iptables -N MINE && sudo iptables -A MINE -s 203.0.113.9 -m comment --comment 'vocali: not-cali-' -j RETURN && sudo iptables -A FORWARD -j MINE
sudo ipset create mine hash:ip
sudo ip link add mine0 type bridge && sudo ip link set mine0 up
sudo ip route add 198.51.100.128/25 dev mine0 proto static
sudo mkdir -p /etc/cni/net.d && echo '{"cniVersion":"1.0.0","name":"mine","plugins":[{"type":"loopback"}]}' | sudo tee /etc/cni/net.d/05-mine.conflist`)
	}
	// Where the lab has no container of that name, it isn't in the way.
	s.ssh("calico2", "sudo docker create --name etcd mine:1 true")
}

// somebodyElses: what the lab would have to stop, replace or remove is refused, on all machines at once, before anything is touched.
func (s *strangers) somebodyElses(l *lab) {
	s.ssh("etcd-node", `sudo docker create --name etcd mine:1 true; sudo docker volume create calico-cni-lab-etcd
sudo systemd-run --unit=listener systemd-socket-activate --listen=127.0.0.1:2379 /bin/cat`)
	s.ssh("calico1", `sudo docker create --name workload mine:1 true; sudo systemctl enable --now bird
for _ in $(seq 100); do [ -z "$(ip route show proto bird)" ] || break; sleep 0.1; done`)
	s.ssh("calico2", "sudo ip link add cali0123 type veth peer name other0; sudo ip link add calimine type bridge; sudo iptables -N cali-other; sudo mkdir -p /etc/ufw; echo ENABLED=yes | sudo tee /etc/ufw/ufw.conf")
	s.ssh("calico3", "sudo mkdir -p /var/lib/calico-cni-lab && echo 'ffff theirs bob@tower' | sudo tee /var/lib/calico-cni-lab/mark")
	was := s.list()
	out := l.fails("verify")
	l.has(out,
		"etcd-node: container etcd isn't the lab's", "sudo docker rename etcd NAME",
		"etcd-node: volume calico-cni-lab-etcd isn't the lab's",
		"listens on 127.0.0.1:2379, the port at which etcd answers its clients",
		"calico1: BIRD runs (bird, process ", "sudo systemctl disable --now bird", "calico1: container workload isn't the lab's",
		"calico1: another Calico or BIRD has left something in its kernel: route unreachable 198.51.100.0/24",
		"calico2: ufw is switched on: ", "calico2: another Calico or BIRD has left something in its kernel: link cali0123, link calimine, iptables filter :cali-other -",
		"calico3: it belongs to lab theirs of bob@tower; destroy that there first",
	)
	if strings.Contains(out, "calico2: container etcd") || strings.Contains(out, "container mine") {
		l.t.Errorf("what isn't in the way is refused:\n%s", out)
	}
	s.unchanged(l, was)
	s.ssh("etcd-node", "sudo systemctl stop listener; sudo docker rename etcd old-etcd; sudo docker volume rm calico-cni-lab-etcd")
	s.ssh("calico1", "sudo systemctl disable --now bird; sudo docker rename workload old-workload")
	s.ssh("calico2", "sudo ip link del cali0123; sudo ip link del calimine; sudo iptables -X cali-other; sudo rm -r /etc/ufw")
	s.ssh("calico3", "sudo rm -r /var/lib/calico-cni-lab")
	s.before = s.list()
}

// killedAndUndone: a run that was killed leaves marks by which all of it is taken back, and nothing else.
func (s *strangers) killedAndUndone(l *lab) {
	if out, _, err := l.signalled("✓ etcd", syscall.SIGKILL, l.mage); err == nil {
		l.t.Errorf("it ended as if nothing had been:\n%s", out)
	}
	l.has(s.ssh("calico1", "cat /var/lib/calico-cni-lab/mark"), " "+s.name+" ")
	l.has(l.ok("destroy", "-force"), "is gone")
	s.unchanged(l, s.before)
	l.write(s.labYAML)
}

// later: what comes after the lab is refused as well, and what isn't the lab's any more isn't undone.
func (s *strangers) later(l *lab) {
	s.ssh("calico1", "sudo docker rename workload ours && sudo docker rename old-workload workload")
	l.has(l.fails("verify"), "up: calico1: container workload isn't the lab's")
	s.ssh("calico1", "sudo docker rename workload old-workload && sudo docker rename ours workload")
	s.ssh("calico1", "sudo systemctl start bird")
	l.has(l.fails("verify"), "up: calico1: BIRD runs (bird, process ")
	for _, c := range l.unmet() {
		if !strings.HasPrefix(c.ID, "rivals/") && c.ID != "routes/calico1" && !strings.HasPrefix(c.ID, "reach/") {
			l.t.Errorf("%s is %s: %s", c.ID, c.State, c.Found)
		}
	}
	s.ssh("calico1", "sudo systemctl stop bird")
	l.ok("verify")
}

// list is what is on each machine.
func (s *strangers) list() map[string]string {
	all := map[string]string{}
	for _, m := range s.machines {
		all[m] = s.ssh(m, listing)
	}
	return all
}

// unchanged wants the machines as they were.
func (s *strangers) unchanged(l *lab, was map[string]string) {
	l.t.Helper()
	for m, is := range s.list() {
		if is != was[m] {
			l.t.Errorf("%s is not as it was (<: before, >: after):\n%s", m, difference(l.t, was[m], is))
		}
	}
}
