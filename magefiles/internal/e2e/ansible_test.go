//go:build linux

package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/ansible"
)

// TestAnsible: the playbooks and the targets make the same lab, each finds nothing left to do after the other.
func TestAnsible(t *testing.T) {
	if testing.Short() {
		t.Skip("needs real machines")
	}
	t.Parallel()
	if err := ansible.Missing(); err != nil {
		t.Skip(err)
	}
	l := newLab(t, "nspawn")
	l.write(withMachines(l, "{name: calico1, role: calico, address: 192.168.4.5}\n"+
		"  - {name: calico2, role: calico, address: 192.168.4.6}\n"+
		"  - {name: tor, role: router, address: 192.168.4.8, asNumber: 64513}"))

	l.sub("no lab to work on", func(l *lab) {
		out, err := l.playbooks()
		if err == nil {
			l.t.Error("the playbooks succeeded without machines")
		}
		l.has(out, "the lab is not up; bring it up with: ", "go tool mage verify")
	})
	l.sub("syntax and style", func(l *lab) {
		l.inAnsible("ansible-playbook", append([]string{"--syntax-check"}, ansible.Playbooks...)...)
		if _, err := exec.LookPath("ansible-lint"); err != nil {
			l.t.Log("ansible-lint is not installed")
			return
		}
		l.inAnsible("ansible-lint", "--offline", "--nocolor")
	})
	l.sub("playbooks, then targets", func(l *lab) {
		l.ok("up")
		if out, err := l.playbooks(); err != nil {
			l.t.Fatalf("%v\n%s", err, out)
		}
		l.settles()
		l.unchanged()
		l.did(l.ok("verify"), true)
	})
	l.sub("what differs is mended", func(l *lab) {
		node := "calico-release-v" + strings.Join(strings.Split(l.pins.Calico.String(), ".")[:2], ".")
		l.ssh("calico2", "sudo docker rm -f workload "+node)
		// One that differs in a single flag, and one of an older release, whose name is another.
		l.ssh("calico1", "sudo docker update --restart=no workload && sudo docker rename "+node+" calico-release-v3.0")
		l.ssh("calico1", `set -e
			echo "# x" | sudo tee -a /etc/cni/net.d/10-test-calico.conflist >/dev/null
			sudo chmod 600 /opt/cni/bin/calico
			sudo chown root:root ~/go/bin/cnitool
			rm ~/go/bin/calico && touch ~/go/bin/calico
			sudo rm -r /usr/local/go/src/fmt`)
		l.ssh("etcd-node", "sudo calicoctl patch ippool my.ippool-1 --patch '{\"spec\":{\"natOutgoing\":false}}'")
		if out, err := l.playbooks(); err != nil {
			l.t.Fatalf("%v\n%s", err, out)
		}
		l.settles()
		l.did(l.ok("verify"), true)
		l.long("again", (*lab).unchanged)
	})
	l.sub("a machine that stopped", func(l *lab) {
		l.ok("stop")
		out, err := l.playbooks()
		if err == nil {
			l.t.Error("the playbooks succeeded without machines")
		}
		l.has(out, "is stopped; boot with: ", "go tool mage start")
		l.ok("destroy")
	})
	l.sub("targets, then playbooks", func(l *lab) {
		l.ok("verify")
		l.unchanged()
	})
	l.ok("destroy")
	l.nothingLeft()
}

// playbooks runs them all, as a user does.
func (l *lab) playbooks() (output string, err error) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), 10*time.Minute)
	defer cancel()
	command := ansible.Command()
	cmd := l.start(ctx, command...)
	cmd.Dir = filepath.Join(l.checkout(), "ansible")
	cmd.Env = append(cmd.Env, "ANSIBLE_NOCOLOR=1", "ANSIBLE_CONFIG="+filepath.Join(cmd.Dir, "ansible.cfg"))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// unchanged runs the playbooks on a lab on which they must find nothing to do.
func (l *lab) unchanged() {
	l.t.Helper()
	out, err := l.playbooks()
	recap := out[strings.LastIndex(out, "PLAY RECAP")+1:]
	if err != nil || regexp.MustCompile(`changed=[1-9]`).MatchString(recap) || !strings.Contains(recap, "changed=0") {
		l.t.Errorf("the playbooks changed something: %v\n%s", err, out)
	}
}

// inAnsible runs a command that must succeed in the directory of the playbooks, without the lab's inventory.
func (l *lab) inAnsible(name string, args ...string) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = filepath.Join(l.checkout(), "ansible")
	cmd.Env = append(os.Environ(), "ANSIBLE_INVENTORY=localhost,", "ANSIBLE_NOCOLOR=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		l.t.Errorf("%s %v: %v\n%s", name, args, err, out)
	}
}
