//go:build linux

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/stage"
)

// listing prints what is on a machine and should be the same after destroy as it was before the lab: files with mode,
// owner, size and link target, interfaces, routes, firewall rules, sets. Logs, Docker's own store and what changes by
// itself are left out.
const listing = `cd /
sudo find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /var/tmp -o -path /var/log \
	-o -path /var/lib/docker -o -path /var/lib/containerd -o -path /var/lib/systemd -o -path /var/cache/ldconfig \) -prune -o \
	! -type d -printf '%p %M %u:%g %s %l\n' -o -type d -printf '%p/ %M %u:%g\n' | sort
sudo ls -d /var/log/calico /run/calico /run/docker/plugins 2>&1
ip -o link show | cut -d: -f2 | sort
ip -4 route show | sort
sudo bash -c 'iptables-save; ip6tables-save' 2>/dev/null | grep -e '^-A' -e '^:.*cali'
sudo ipset list -name
sudo docker ps -aq
sudo docker volume ls -q
sudo docker images -q`

// strangers are four nspawn containers, three of them Calico nodes, that are entered by TCP as another user, as if somebody
// else had made them.
type strangers struct {
	*lab              // the lab that made them, on the layer nspawn
	machines []string // their names
	before   map[string]string
	hostKeys map[string]string
	labYAML  string // of a lab on them
	key      string // file of netadmin's private key
}

// TestStrangers: what the lab does on machines that exist already is undone at the end.
func TestStrangers(t *testing.T) {
	if testing.Short() {
		t.Skip("needs real machines")
	}
	t.Parallel()
	s := newStrangers(t)
	l := *s.lab
	l.hw, l.dir = "auto", t.TempDir()
	l.prefix = []string{"nsenter", "--net=/run/netns/" + s.name}
	if os.Geteuid() != 0 {
		l.prefix = append([]string{"sudo", "-n", "-E"}, append(l.prefix, "setpriv", fmt.Sprintf("--reuid=%d", os.Getuid()),
			fmt.Sprintf("--regid=%d", os.Getgid()), "--init-groups", "env", "PATH="+os.Getenv("PATH"), "HOME="+os.Getenv("HOME"))...)
	}
	l.write(s.labYAML)

	l.sub("faults of all machines at once", func(l *lab) {
		s.ssh("calico1", "sudo rm /etc/sudoers.d/netadmin")
		back := l.change(s.hostKeys["etcd-node"], s.hostKeys["calico1"])
		out := l.fails("verify")
		back()
		l.has(out, "etcd-node shows another SSH host key", "calico1: netadmin may not use sudo without a password", "sudoers.d/netadmin")
		s.ssh("calico1", "echo 'netadmin ALL=(ALL) NOPASSWD: ALL' | sudo install -m 440 /dev/stdin /etc/sudoers.d/netadmin")
	})
	l.sub("what is somebody else's is refused", s.somebodyElses)
	l.sub("killed and undone", s.killedAndUndone)
	l.sub("verify", func(l *lab) {
		out := l.ok("verify")
		l.has(out, "machines: ssh (lab.yaml says how to log in to the machines)", "the lab works: ")
		l.has(l.ssh("calico3", "id -un; ls ~/go/bin; ip route"), "netadmin", "cnitool", "via 192.168.4.5", "via 192.168.4.6", "proto bird")
		l.did(l.ok("verify"), true)
	})
	l.sub("reset leaves alone what isn't the lab's", resetOnTheirs)
	l.long("what comes later is refused too", s.later)
	l.sub("what a user changed is kept", func(l *lab) {
		const file = "/etc/profile.d/golang.sh"
		s.ssh("calico1", "echo '# mine' | sudo tee "+file)
		l.has(l.ok("verify"), "calico1: "+file+" was changed since the lab put it there; what it was is in "+file+".changed-calico-cni-lab", "the lab works: ")
		l.has(s.ssh("calico1", "cat "+file+".changed-calico-cni-lab && sudo rm "+file+".changed-calico-cni-lab; cat "+file), "# mine", "/usr/local/go/bin")
	})
	l.sub("another way in, another network", func(l *lab) {
		const conflist = "/etc/cni/net.d/10-test-calico.conflist"
		l.has(s.ssh("calico1", "sudo cat "+conflist), `"calico"`)
		if err := os.Rename(s.key, s.key+" moved"); err != nil {
			l.t.Fatal(err)
		}
		s.labYAML = strings.Replace(strings.ReplaceAll(s.labYAML, s.key, s.key+" moved"), "\nnetwork: test-calico", "\nnetwork: other", 1)
		l.write(s.labYAML)
		l.has(l.ok("verify"), "the lab works: ")
		l.has(s.ssh("calico1", "sudo cat "+conflist), "theirs")
	})
	l.long("one leaves and comes back", s.leaves)
	l.sub("machines stay", func(l *lab) {
		l.has(l.fails("inventory"), "so they are for machines that the lab made; use: ", "go tool mage verify")
		l.has(l.fails("stop"), "not the lab's to stop", "go tool mage unplumb")
		l.has(l.fails("destroy"), "this undoes what the lab did on", "go tool mage destroy -force")
		l.holds()
	})
	l.long("half destroyed", s.halfDestroyed)
	l.sub("destroy undoes it", func(l *lab) {
		s.ssh("calico3", "echo '# mine' | sudo tee -a /etc/profile.d/golang.sh")
		s.interruptUndo("calico2")
		l.write("name: [this is not\n")
		l.has(l.ok("destroy", "-force"), "is gone", "calico3: /etc/profile.d/golang.sh stays: it was changed since the lab put it there")
		l.has(s.ssh("calico3", "cat /etc/profile.d/golang.sh && sudo rm /etc/profile.d/golang.sh"), "# mine")
		s.unchanged(l, s.before)
	})
	s.ok("destroy")
}

// asBefore wants a machine as it was before the lab.
func (s *strangers) asBefore(l *lab, m string) {
	l.t.Helper()
	if after := s.ssh(m, listing); after != s.before[m] {
		l.t.Errorf("%s is not as it was (<: before, >: after):\n%s", m, difference(l.t, s.before[m], after))
	}
}

// leaves: a machine that lab.yaml has no more is given back as it was, when it can be entered, and may come back.
func (s *strangers) leaves(l *lab) {
	with, without := s.labYAML, regexp.MustCompile(`(?s)  - name: calico3\n.*?\n\n`).ReplaceAllString(s.labYAML, "\n")
	if with == without {
		l.t.Fatalf("calico3 isn't in\n%s", with)
	}
	l.write(without)
	s.ssh("calico3", "sudo systemctl stop ssh.service")
	l.has(l.fails("verify"), "calico3 isn't in", "calico3 does not answer SSH", "go tool mage verify -forget=calico3")
	s.ssh("calico3", "sudo systemctl start ssh.service")
	l.has(l.ok("verify"), "the lab works: ")
	s.asBefore(l, "calico3")
	if out := l.ssh("calico1", "sudo calicoctl get nodes; ip route"); strings.Contains(out, "calico3") || strings.Contains(out, "192.168.4.8") {
		l.t.Errorf("calico1 still knows calico3:\n%s", out)
	}
	l.write(with)
	l.has(l.ok("verify"), "the lab works: ")
	l.has(l.ssh("calico1", "sudo calicoctl get nodes; ip route"), "calico3", "via 192.168.4.8")
}

// halfDestroyed: of four machines one doesn't answer and one was installed anew, as its host key says. The others are given back;
// what is advised then brings everything back.
func (s *strangers) halfDestroyed(l *lab) {
	s.ssh("calico3", "sudo systemctl stop ssh.service")
	s.ssh("calico2", `sudo sh -c 'ssh-keygen -q -t ed25519 -N "" -f /run/other && echo SSHD_OPTS=\"-h /run/other\" >/run/sshd_opts &&
		mkdir -p /run/systemd/system/ssh.service.d && printf "[Service]\nEnvironmentFile=/run/sshd_opts\n" >/run/systemd/system/ssh.service.d/other.conf &&
		systemctl daemon-reload && systemctl restart ssh.service'`)
	other := strings.Join(strings.Fields(s.ssh("calico2", "sudo cat /run/other.pub"))[:2], " ")
	l.has(l.fails("destroy", "-force"),
		"what the lab did on etcd-node, calico1 is undone; it is still on calico2, calico3:",
		"calico2 shows another SSH host key", "machines.ssh.hostKey", "ssh-keyscan -t ed25519 -p 22 192.168.4.6",
		"calico3 does not answer SSH", "go tool mage destroy -force", "-forget=calico2,calico3")
	s.asBefore(l, "etcd-node")
	s.asBefore(l, "calico1")
	l.has(l.ok("status"), "absent", "go tool mage verify brings everything back", "go tool mage destroy -force")
	s.ssh("calico3", "sudo systemctl start ssh.service")
	s.labYAML = strings.Replace(s.labYAML, s.hostKeys["calico2"], other, 1)
	l.write(s.labYAML)
	l.has(l.ok("verify"), "the lab works: ")
}

// interruptUndo kills the undo on a machine again and again, each time later, until it gets to its end.
func (s *strangers) interruptUndo(m string) {
	s.t.Helper()
	const step, most = 150, 20
	for n := 1; n <= most; n++ {
		kill := fmt.Sprintf("set -T; n=0; trap '[ $((n += 1)) -lt %d ] || kill -KILL 0' DEBUG\n", n*step)
		line := command.Quote("sudo", "setsid", "--wait", "bash", "-c", kill+stage.UndoScript(), "machine-undo.sh") + ` "$(cat ` + fact.MarkFile + `)"; echo status $?`
		if out := s.ssh(m, line); strings.HasSuffix(out, "status 0") {
			s.t.Logf("killed %d times", n-1)
			if n < 3 {
				s.t.Errorf("it was killed only %d times", n-1)
			}
			return
		}
	}
	s.t.Errorf("it has more than %d steps", most*step)
}

func newStrangers(t *testing.T) *strangers {
	t.Helper()
	s := &strangers{
		lab: newLab(t, "nspawn"), machines: []string{"etcd-node", "calico1", "calico2", "calico3"}, before: map[string]string{}, hostKeys: map[string]string{},
	}
	base, err := os.ReadFile(filepath.Join(s.dir, "lab.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	s.labYAML = strings.Replace(string(base), "network: test-calico", "", 1)
	s.labYAML = strings.Replace(s.labYAML, "\npool: ", "\n  - name: calico3\n    role: calico\n    address: 192.168.4.8\n\nnetwork: test-calico\n\npool: ", 1)
	s.write(s.labYAML)
	s.ok("up")

	s.plant()
	s.key = filepath.Join(t.TempDir(), "netadmin key")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", s.key).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen: %v\n%s", err, out)
	}
	public, err := os.ReadFile(s.key + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range s.machines {
		s.ssh(m, "sudo useradd --create-home --shell /bin/bash netadmin && sudo sed -i '1i umask 077' ~netadmin/.bashrc && sudo install -d -o netadmin -g netadmin -m 700 ~netadmin/.ssh && "+
			"echo '"+strings.TrimSpace(string(public))+"' | sudo install -o netadmin -g netadmin -m 600 /dev/stdin ~netadmin/.ssh/authorized_keys && "+
			"echo 'netadmin ALL=(ALL) NOPASSWD: ALL' | sudo install -m 440 /dev/stdin /etc/sudoers.d/netadmin && "+
			"sudo docker images -q 'calico-cni-lab/*' | sort -u | xargs -r sudo docker rmi -f >/dev/null && "+
			// The files of the lab's that nspawn containers have from the start, and what its looks have kept.
			"sudo rm -rf /usr/local/bin/calicoctl /opt/cni /etc/profile.d/golang.sh go /var/lib/calico-cni-lab && "+
			"sudo mkdir -p /etc/calico && echo mine | sudo tee /etc/calico/calicoctl.cfg >/dev/null && sudo systemctl start ssh")
		s.hostKeys[m] = strings.Join(strings.Fields(s.ssh(m, "cat /etc/ssh/ssh_host_ed25519_key.pub"))[:2], " ")
		ssh := fmt.Sprintf("    ssh: {user: netadmin, key: %q, hostKey: %s}\n", s.key, s.hostKeys[m])
		address := fmt.Sprintf("    address: 192.168.4.%d\n", []int{7, 5, 6, 8}[i])
		s.labYAML = strings.Replace(s.labYAML, address, address+ssh, 1)
	}
	// One has no Go, another an old one, which has to come back.
	s.ssh("calico1", "sudo rm -rf /usr/local/go")
	s.ssh("calico2", "sudo rm -rf /usr/local/go && sudo mkdir /usr/local/go && echo go1.20 | sudo tee /usr/local/go/VERSION")
	// A network of his own, which the lab's takes the place of.
	s.ssh("calico1", `sudo mkdir -p /etc/cni/net.d && echo '{"cniVersion": "0.3.1", "name": "theirs", "plugins": [{"type": "loopback"}]}' | sudo tee /etc/cni/net.d/10-test-calico.conflist`)
	s.before = s.list()
	return s
}

func difference(t *testing.T, before, after string) string {
	dir := t.TempDir()
	for name, text := range map[string]string{"before": before, "after": after} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, _ := exec.Command("diff", filepath.Join(dir, "before"), filepath.Join(dir, "after")).Output()
	return string(out)
}
