//go:build linux

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLabFiles: the labs of labs/ come up, what is taught on them is as it is written there, and they leave nothing. The largest needs the
// computer for itself, so it is in dev:testExperiments alone. Three nodes, on which nothing is taught, and two subnets are in the
// long round, and there too.
func TestLabFiles(t *testing.T) {
	all := os.Getenv("LAB_TEST_EXPERIMENTS") == "all"
	if testing.Short() {
		t.Skip("needs real machines")
	}
	t.Parallel()
	l := newLab(t, "nspawn")
	l.env = []string{"XDG_CONFIG_HOME=" + t.TempDir()} // where a reader's progress is
	for _, tt := range []struct {
		file, machine, plays string
		more                 func(*lab)
	}{
		{"three-nodes.yaml", "calico3", "", nil},
		{"reflectors.yaml", "calico4", "route-reflectors", nil},
		{"router.yaml", "tor", "a-router", router},
		{"subnets.yaml", "calico3", "between-subnets", subnets},
		{"fifty.yaml", "calico50", "", nil},
	} {
		l.sub(tt.file, func(l *lab) {
			switch {
			case all:
			case tt.file == "fifty.yaml":
				l.t.Skip("run it with: go tool mage dev:testExperiments")
			case tt.file == "three-nodes.yaml" || tt.file == "subnets.yaml":
				long(l.t)
			}
			l.use(tt.file)
			l.ok("verify")
			l.has(l.ssh(tt.machine, "ip route show proto bird"), "via ")
			if tt.plays != "" {
				l.ok("learn", "-play", tt.plays)
			}
			if tt.more != nil {
				tt.more(l)
			}
			l.ok("destroy")
			l.nothingLeft()
		})
	}
}

// use makes one of the project's lab files the lab's, under its own name.
func (l *lab) use(file string) {
	l.t.Helper()
	text, err := os.ReadFile(filepath.Join(l.root, "labs", file))
	if err != nil {
		l.t.Fatal(err)
	}
	own := strings.Replace(string(text), "extends: ../lab.yaml", "extends: "+filepath.Join(l.root, "lab.yaml"), 1)
	_, name, ok := strings.Cut(own, "\nname: ")
	if !ok {
		l.t.Fatalf("%s has no name", file)
	}
	name, _, _ = strings.Cut(name, "\n")
	l.write(strings.Replace(own, "\nname: "+name, "\nname: "+l.name, 1))
}

// breaking is a command that breaks a lab, and the condition that is the first not to hold then.
type breaking struct{ first, machine, command string }

// brokenBy breaks a lab in the first of several ways, in the long round in all, one after the other, and mends it.
func brokenBy(l *lab, all []breaking) {
	if round != "long" {
		all = all[:1]
	}
	for _, tt := range all {
		l.part(tt.command, func(l *lab) {
			l.ssh(tt.machine, tt.command)
			l.appears(tt.first)
			l.first(tt.first)
			l.mended()
		})
	}
}

// subnets breaks the way between two subnets.
func subnets(l *lab) {
	brokenBy(l, []breaking{
		{"subnets/calico1", "calico1", "sudo ip route del 192.168.16.0/24"},
		{"default-route/calico3", "calico3", "sudo ip route del default"},
	})
}

// router breaks a router in each way that there is a condition on, and takes it away and brings it back.
func router(l *lab) {
	brokenBy(l, []breaking{
		{"router-conf/tor", "tor", "echo garbage | sudo tee -a /etc/bird/bird.conf"},
		{"router-conf/tor", "tor", "sudo rm /etc/bird/bird.conf && sudo docker restart bird"},
		{"router/tor", "tor", "sudo docker kill bird"},
		{"router/tor", "tor", "sudo docker rm -f bird"},
		{"routers", "etcd-node", "sudo calicoctl delete bgppeer calico-cni-lab.router.tor"},
		{"forwarding/tor", "tor", "sudo /usr/sbin/sysctl -w net.ipv4.ip_forward=0"},
		{"bgp/calico1", "tor", "sudo docker exec bird birdc disable Node_192_168_14_5"},
	})
	whole, err := os.ReadFile(filepath.Join(l.dir, "lab.yaml"))
	if err != nil {
		l.t.Fatal(err)
	}
	without, _, _ := strings.Cut(string(whole), "  - name: tor\n")
	l.part("it leaves", func(l *lab) {
		l.write(without)
		l.ok("verify")
		l.holds()
		if got := l.ssh("etcd-node", "sudo calicoctl get bgppeers | grep -c router; true"); got != "0" {
			l.t.Errorf("%s BGPPeers are left", got)
		}
	})
	l.write(string(whole))
	l.mended()
}
