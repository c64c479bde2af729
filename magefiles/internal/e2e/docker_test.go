//go:build linux

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestDocker: an ordinary user without sudo, and a Docker daemon of the test's own.
func TestDocker(t *testing.T) {
	if testing.Short() {
		t.Skip("needs real machines")
	}
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("it runs a Docker daemon and makes a user, and so has to be run by root")
	}
	u := newUser(t, false)
	d := newDockerd(t, u.Gid)
	l := u.checkout(t, "docker")
	u.copyCaches(t, false)
	u.types(t, "rm -rf ~/.cache/calico-cni-lab/{base,images}-*", 0) // what root's labs have is taken: here it's made at the daemon
	u.types(t, fmt.Sprintf("export DOCKER_HOST=%s LAB_DOCKER_BASE=%s LAB_DEBIAN_MIRROR=%s PATH=%s:$PATH", d.host(), localDebian, d.mirror(), filepath.Join(d.dir, "bin")), 0)
	d.docker("network", "create", "--subnet", "198.51.100.0/24", "stranger")
	d.docker("run", "--detach", "--name", "stranger", "--network", "stranger", "--volume", "stranger:/data", localDebian, "sleep", "infinity")
	before := d.inventory()
	for _, part := range []struct {
		name string
		test func(*lab, *ordinary, *dockerd)
		run  func(string, func(*lab))
	}{
		{"refused before anything is made", dockerRefuses, l.sub},
		{"verify from nothing", dockerFromNothing, l.sub},
		{"ssh, scp", dockerSSH, l.sub},
		{"nothing leaves", dockerIsolated, l.sub},
		{"broken and mended", dockerBroken, l.sub},
		{"another context", dockerContext, l.sub},
		{"names and addresses in use", dockerInUse, l.long},
		{"stop and start, a network that was pruned", dockerStopped, l.sub},
		{"everything pruned", dockerPruned, l.long},
		{"a daemon that goes away", dockerGone, l.sub},
		{"a daemon that is killed half-way", dockerKilled, l.long},
		{"the daemon's disk is full", dockerFull, l.long},
		{"cgroup v2 alone", dockerUnified, l.long},
		{"bundle", dockerBundle, l.long},
	} {
		part.run(part.name, func(l *lab) { part.test(l, u, d) })
	}
	l.sub("destroy and clean", func(l *lab) {
		l.has(u.types(l.t, "~/mage clean", 1), "in use by the lab of "+u.Username+"@")
		d.docker("rm", "--force", l.name+"-calico2") // and its volume is left
		l.has(u.types(l.t, "~/mage destroy", 0), "is gone")
		for _, list := range [][]string{{"ps", "--all"}, {"network", "ls"}, {"volume", "ls"}} {
			if left := d.docker(append(list, "--quiet", "--filter", "label=calico-cni-lab.id")...); left != "" {
				l.t.Errorf("left: %v: %s", list, left)
			}
		}
		interrupted := filepath.Join(d.dir, "empty.tar") // an import of the box's that a run didn't live to name
		must(l.t, "", "tar", "-cf", interrupted, "--files-from=/dev/null")
		d.docker("import", "--change", "LABEL calico-cni-lab.box=x", interrupted)
		l.has(u.types(l.t, "~/mage clean", 0), "the cache is empty")
		if after := d.inventory(); after != before {
			l.t.Errorf("at the daemon there was\n%s\nand now there is\n%s", before, after)
		}
		l.nothingLeft()
	})
}

func dockerRefuses(l *lab, u *ordinary, d *dockerd) {
	l.has(u.types(l.t, "~/mage status", 0), "lab "+l.name+" on docker", "absent", "go tool mage verify")
	nowhere := []string{"no hardware layer can be used here:\n", "\n  nspawn: it needs root", "\n  docker: no Docker daemon answers (unix:///nowhere)"}
	if _, err := exec.LookPath("sudo"); err == nil { // whether this user may use it, only his password tells
		nowhere = []string{"nspawn containers need root; sudo may ask for your password", "or as a user who may use sudo"}
	}
	l.has(u.types(l.t, "DOCKER_HOST=unix:///nowhere ~/mage verify", 1), nowhere...)
	l.has(u.types(l.t, "DOCKER_HOST=unix:///nowhere LAB_HARDWARE=docker ~/mage verify", 1), "start Docker", "it goes on where it was")
	l.has(u.types(l.t, "LAB_HARDWARE=docker LAB_DOCKER_BASE=localhost:1/debian ~/mage verify", 1), "localhost:1", "LAB_DOCKER_BASE=IMAGE")
	d.docker("network", "create", "--subnet", "192.168.4.128/25", "near")
	l.has(u.types(l.t, "~/mage verify", 1), `the Docker daemon's network "near" has too (192.168.4.128/25)`, "underlay: subnet", "docker network rm near")
	d.docker("network", "rm", "near")
	if made := d.docker("ps", "--all", "--quiet", "--filter", "label=calico-cni-lab.id"); made != "" {
		l.t.Errorf("made all the same: %s", made)
	}
}

func dockerFromNothing(l *lab, u *ordinary, d *dockerd) {
	l.has(u.types(l.t, "~/mage verify", 0), "machines: docker (", "making the machines' box from "+localDebian, "the lab works: all ")
	l.has(u.types(l.t, "~/mage verify", 0), "already done: ")
	l.has(u.types(l.t, "~/mage check", 0), "the lab works: all ")
	l.has(u.types(l.t, "~/mage plan", 0), "nothing to do")
	l.has(u.types(l.t, "~/mage status", 0), "lab "+l.name+" on docker", " MB\n", "go tool mage check")
	for _, m := range []string{"etcd-node", "calico1", "calico2"} {
		if failed := d.docker("exec", l.name+"-"+m, "systemctl", "--failed", "--plain", "--no-legend"); failed != "" {
			l.t.Errorf("on %s failed: %s", m, failed)
		}
		if privileged := d.docker("inspect", "--format", "{{.HostConfig.Privileged}} {{.NetworkSettings.Ports}}", l.name+"-"+m); privileged != "false map[]" {
			l.t.Errorf("%s is privileged, or has ports: %s", m, privileged)
		}
	}
	start := time.Now()
	u.types(l.t, "~/mage destroy", 0)
	destroyed := time.Now()
	l.has(u.types(l.t, "~/mage verify", 0), "the lab works: all ")
	l.t.Logf("destroy %.1fs, destroyed to verified %.1fs", destroyed.Sub(start).Seconds(), time.Since(destroyed).Seconds())
}

// dockerBundle: with nothing cached, no image of Debian's and no mirror, from a bundle that was made where machines are nspawn containers.
func dockerBundle(l *lab, u *ordinary, d *dockerd) {
	file := filepath.Join(d.dir, "lab.tar.zst")
	newLab(l.t, "nspawn").ok("bundle", "-o="+file)
	u.types(l.t, "~/mage destroy clean", 0)
	without := "unset LAB_DOCKER_BASE; export GOPROXY=off GOMODCACHE=~/nothing LAB_DEBIAN_MIRROR=http://localhost:1; "
	l.has(u.types(l.t, without+"LAB_BUNDLE="+file+" ~/mage verify", 0), "giving the daemon the machines' box from the bundle", "taking base from the bundle", "the lab works: all ")
	l.has(u.types(l.t, without+"~/mage destroy verify", 0), "the lab works: all ") // what came from it is kept
	must(l.t, "", "rm", file)
}

func dockerSSH(l *lab, u *ordinary, d *dockerd) {
	l.has(u.types(l.t, "~/mage ssh calico1 id -un; ssh -F .lab/ssh_config calico2 hostname", 0), "vagrant", "calico2")
	l.has(u.types(l.t, "echo carried >x && scp -q -F .lab/ssh_config x calico1: && rm x && scp -q -F .lab/ssh_config calico1:x y && cat y && rm y", 0), "carried")
	l.has(u.types(l.t, "~/mage ssh all hostname", 0), "etcd-node", "calico1", "calico2")
	l.has(u.types(l.t, "~/mage ssh calico1 sudo docker exec workload ping -c 2 10.1.86.64", 0), " 0% packet loss", "ttl=62")
	l.has(u.types(l.t, "~/mage logs", 0), ".tar.gz")
	u.types(l.t, "rm .lab/*.tar.gz", 0)
	deadline := time.Now().Add(30 * time.Second)
	for d.docker("exec", l.name+"-calico1", "sh", "-c", "pgrep sshd || true") != "" {
		if time.Now().After(deadline) {
			l.t.Fatal("sshd is left of connections that have ended")
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// dockerIsolated: the underlay is no network of the daemon's computer, and bridges are filtered there, as at most daemons.
func dockerIsolated(l *lab, u *ordinary, d *dockerd) {
	if out := d.inNetns("ip", "-brief", "address"); strings.Contains(out, "192.168.4.") {
		l.t.Errorf("the daemon's computer has an address on the underlay:\n%s", out)
	}
	if out := d.inNetns("ip", "route"); strings.Contains(out, "192.168.4.") || strings.Contains(out, "10.1.") {
		l.t.Errorf("the daemon's computer has a route there:\n%s", out)
	}
	l.has(u.types(l.t, "~/mage ssh calico1 'ping -c 1 -W 1 192.0.2.1; ip route show default; ip neighbour show 192.168.4.1'", 0), "100% packet loss", "default via 192.168.4.1 dev eth0 proto static metric 100")
	if out := d.inNetns("cat", "/proc/sys/net/bridge/bridge-nf-call-iptables"); out != "1" {
		l.t.Logf("bridges are not filtered here (%s), so that workloads get through the daemon's rules isn't tested", out)
	}
}

func dockerBroken(l *lab, u *ordinary, d *dockerd) {
	d.docker("exec", l.name+"-calico1", "docker", "stop", "calico-release-v3.31")
	d.docker("exec", l.name+"-calico2", "ip", "link", "set", "eth0", "down")
	l.has(u.types(l.t, "~/mage check", 1), "calico-node/calico1", "conditions don't hold")
	l.has(u.types(l.t, "~/mage verify", 0), "the lab works: all ")
	d.docker("rm", "--force", "--volumes", l.name+"-calico2")
	l.has(u.types(l.t, "~/mage check", 1), "the machine is absent")
	l.has(u.types(l.t, "~/mage verify", 0), "the lab works: all ")
	d.docker("pause", l.name+"-calico1")
	l.has(u.types(l.t, "~/mage verify", 0), "the lab works: all ")
}

func dockerContext(l *lab, u *ordinary, _ *dockerd) {
	for _, elsewhere := range []string{"DOCKER_HOST=unix:///nowhere", "DOCKER_HOST= DOCKER_CONTEXT=nowhere"} {
		l.has(u.types(l.t, elsewhere+" ~/mage check", 0), "the docker command talks to another daemon now", "the lab stays where it was made: unix://", "the lab works: all ")
	}
	l.has(u.types(l.t, "DOCKER_HOST=unix:///nowhere ssh -F .lab/ssh_config calico2 hostname", 0), "calico2")
}

func dockerInUse(l *lab, u *ordinary, _ *dockerd) {
	u.types(l.t, "mkdir ~/other && cp lab.yaml ~/other/ && export LAB_FILE=~/other/lab.yaml LAB_HARDWARE=docker", 0)
	l.has(u.types(l.t, "~/mage verify", 1), fmt.Sprintf("the lab name %q is in use at this Docker daemon by the lab of %s@", l.name, u.Username), "LAB_TAKE_OVER="+l.name)
	l.has(u.types(l.t, "~/mage destroy", 1), "is in use")
	u.types(l.t, "sed -i 's/^name: .*/name: other/' ~/other/lab.yaml", 0)
	l.has(u.types(l.t, "~/mage verify", 1), fmt.Sprintf("the Docker daemon's network %q has too", l.name))
	// With a subnet of its own another lab stands beside this one, and goes without it.
	u.types(l.t, `sed -i 's/192\.168\.4\./192.168.5./; s/^machines:/&\n  - {name: tor, role: router, address: 192.168.5.8, asNumber: 64513}/' ~/other/lab.yaml`, 0)
	l.has(u.types(l.t, "~/mage verify", 0), "the lab works: all ", "192.168.5.")
	l.has(u.types(l.t, "~/mage ssh tor ip route show proto bird", 0), "10.1.86.64/26 via 192.168.5.6 dev eth0")
	l.has(u.types(l.t, "LAB_FILE= ~/mage check", 0), "the lab works: all ")
	l.has(u.types(l.t, "~/mage destroy", 0), "lab other is gone")
	u.types(l.t, "unset LAB_FILE LAB_HARDWARE; rm -r ~/other", 0)
	l.has(u.types(l.t, "~/mage check", 0), "the lab works: all ")
	// A state directory that was lost: the lab is known by whose it is.
	u.types(l.t, "mv .lab ~/lost", 0)
	l.has(u.types(l.t, "~/mage check", 1), "If its state directory was lost: go tool mage destroy")
	l.has(u.types(l.t, "~/mage destroy", 0), "is gone")
	u.types(l.t, "rm -r ~/lost", 0)
	l.has(u.types(l.t, "~/mage verify", 0), "the lab works: all ")
}

func dockerStopped(l *lab, u *ordinary, d *dockerd) {
	u.types(l.t, "~/mage stop", 0)
	l.has(u.types(l.t, "~/mage status", 0), "stopped", "go tool mage start")
	d.docker("network", "prune", "--force") // takes networks that only stopped containers have
	u.types(l.t, "~/mage start", 0)
	l.has(u.types(l.t, "~/mage check", 0), "the lab works: all ")
}

func dockerPruned(l *lab, u *ordinary, d *dockerd) {
	u.types(l.t, "~/mage stop", 0)
	d.docker("system", "prune", "--force", "--volumes")
	l.has(u.types(l.t, "~/mage status", 0), "absent")
	l.has(u.types(l.t, "~/mage verify", 0), "the lab works: all ")
}

func dockerGone(l *lab, u *ordinary, d *dockerd) {
	d.stop()
	l.has(u.types(l.t, "~/mage check", 1), "Cannot connect to the Docker daemon", "start Docker")
	l.has(u.types(l.t, "~/mage destroy", 1), "start Docker")
	d.start()
	d.docker("start", "stranger")
	l.has(u.types(l.t, "~/mage check", 1), "the machine is stopped", "go tool mage start")
	l.has(u.types(l.t, "~/mage verify", 0), "the lab works: all ")
}

// dockerKilled: the first machines are there, and the daemon and all that it runs are not any more.
func dockerKilled(l *lab, u *ordinary, d *dockerd) {
	u.types(l.t, "~/mage destroy", 0)
	u.sends(l.t, "~/mage verify\n")
	deadline := time.Now().Add(2 * time.Minute)
	for d.docker("ps", "--quiet", "--filter", "label=calico-cni-lab.id") == "" {
		if time.Now().After(deadline) {
			l.t.Fatal("no machine after two minutes")
		}
		time.Sleep(20 * time.Millisecond)
	}
	d.stop()
	out := u.reads(l.t, prompt.MatchString)
	l.has(out, "start Docker", "@1@")
	d.start()
	d.docker("start", "stranger")
	l.has(u.types(l.t, "~/mage verify", 0), "the lab works: all ")
}

// dockerFull: neither the machines nor the daemon can write.
func dockerFull(l *lab, u *ordinary, d *dockerd) {
	fill := func(left string) {
		d.inMount("bash", "-c", `fallocate --length "$(($(stat --file-system --format '%a * %S' "$1") - (16 << 20) - $2))" "$1/full"
			if [ "$2" = 0 ]; then cat /dev/zero >"$1/rest" || true; fi`, "bash", "/var/lib/docker", left) // 16 MB for the file system itself
	}
	fill("0")
	for _, target := range []string{"check", "verify"} {
		l.has(u.types(l.t, "~/mage "+target, 1), "the disk is full where Docker has its containers", "docker system df", "3 of ")
	}
	d.inMount("rm", "/var/lib/docker/full", "/var/lib/docker/rest")
	l.has(u.types(l.t, "~/mage verify", 0), "the lab works: all ")
	u.types(l.t, "~/mage destroy", 0)
	fill("100000000")
	l.has(u.types(l.t, "~/mage verify", 1), "the Docker daemon has 1", " MB of free space, 3 machines need ", "docker system df")
	d.inMount("rm", "/var/lib/docker/full")
	l.has(u.types(l.t, "~/mage verify", 0), "the lab works: all ")
}

// dockerUnified: systemd in a machine finds control groups of version 2.
func dockerUnified(l *lab, u *ordinary, d *dockerd) {
	if _, err := os.Stat("/sys/fs/cgroup/unified/cgroup.procs"); err != nil {
		l.t.Skip("needs a computer with cgroup v1 and v2: ", err)
	}
	u.types(l.t, "~/mage stop", 0)
	d.stop()
	d.env = []string{"LAB_CGROUP2=yes"}
	d.start()
	d.docker("start", "stranger")
	l.has(u.types(l.t, "~/mage verify", 0), "the lab works: all ")
	l.has(u.types(l.t, "~/mage ssh calico1 'stat -fc %T /sys/fs/cgroup; cat /sys/fs/cgroup/cgroup.procs | wc -l; cd /sys/fs/cgroup && diff cgroup.controllers cgroup.subtree_control'", 0), "cgroup2fs", "\n0\n")
}
