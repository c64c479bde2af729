//go:build linux

package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

// part is a part of a test, which finds the lab as the one before it left it.
type part struct {
	name string
	test func(*lab)
}

// onOneLab runs the parts of a test on a lab of its own. One that fails ends it.
func onOneLab(t *testing.T, parts []part) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs real machines")
	}
	t.Parallel()
	l := newLab(t, "nspawn")
	for _, p := range parts {
		l.sub(p.name, p.test)
	}
}

// usually leaves a part out of the quick round.
func usually(test func(*lab)) func(*lab) {
	return func(l *lab) {
		if round == "quick" {
			l.t.Skip("not in the quick round: go tool mage test")
		}
		test(l)
	}
}

// TestLab is a lab from its beginning to its end.
func TestLab(t *testing.T) {
	onOneLab(t, []part{
		{"nothing there", nothingThere},
		{"bad lab.yaml, bad LAB_HARDWARE", badInput},
		{"verify from nothing", fromNothing},
		{"verify again does nothing", nothingToDo},
		{"a machine that is still to be made", oneMore},
		{"root on a machine is nobody here", usually(privileges)},
		{"etcd listens where it has to", usually(listening)},
		{"who may write what in etcd", usually(rights)},
		{"certificates are issued anew", usually(reissued)},
		{"every fact's command runs", usually(factCommands)},
		{"logs, asked for and of a failure", usually(logs)},
		{"explained", usually(explained)},
		{"tutorial's facts", tutorialFacts},
		{"tutorial's commands", usually(tutorialCommands)},
		{"calico-node's own sandbox, as in the tutorial", usually(tutorialSandbox)},
		{"ssh", sshes},
		{"unplumb", unplumb},
		{"stop and start", stopAndStart},
		{"cgroup v2 alone", usually(unified)},
		{"destroy without lab.yaml", destroyWithout},
	})
}

// TestChanged: what is changed in a lab, by lab.yaml, by a fault or by hand, is brought about or brought back.
func TestChanged(t *testing.T) {
	onOneLab(t, []part{
		{"verify", verified},
		{"pool and network change", poolAndNetwork},
		{"own plugins", ownPlugins},
		{"published programs", published},
		{"broken and mended", brokenAndMended},
		{"reset", resets},
		{"backup and restore", backedUp},
	})
}

// TestInterrupted: runs end half way or meet, and labs are in each other's way, or gone.
func TestInterrupted(t *testing.T) {
	onOneLab(t, []part{
		{"verify", verified},
		{"names in use", namesInUse},
		{"names in use, of another user", otherUser},
		{"names in use, of labs that are gone", leftOver},
		{"names in use, of network namespaces", strangeNamespace},
		{"several targets in one call", severalTargets},
		{"one run at a time", oneAtATime},
		{"a checkout that was removed", abandoned},
		{"interrupted", interrupted},
		{"a directory that was removed", removedDirectory},
		{"a damaged plan", damagedPlan},
	})
}

func verified(l *lab) { l.ok("verify") }

func nothingThere(l *lab) {
	l.has(l.ok("status"), "etcd-node", "absent", "next", "go tool mage verify")
	l.has(l.fails("check"), "the lab is not up", "LAB_FILE="+filepath.Join(l.dir, "lab.yaml")+" go tool mage verify")
	l.has(l.fails("up", "verfy"), `no target "verfy"`, "nothing was done")
	l.has(l.fails("start"), "the lab is not up")
	l.has(l.fails("ssh", "calico1", "true"), "the lab is not up")
	l.has(l.plans(), "boots it, and makes it first", "the machine is absent", "» plumb", "go tool mage verify")
	l.has(l.ok("destroy"), "is gone")
}

func fromNothing(l *lab) {
	before := nspawnTraces(l)
	out := l.ok("verify", "-timeline")
	left := func() []string {
		return slices.DeleteFunc(nspawnTraces(l), func(trace string) bool { return slices.Contains(before, trace) })
	}
	deadline := time.After(20 * time.Second) // a lab beside this one may be booting
	for traces := left(); len(traces) > 0; traces = left() {
		select {
		case <-deadline:
			l.t.Fatalf("nspawn has left %q, which nothing would remove", traces)
		case <-time.After(200 * time.Millisecond):
		}
	}
	l.has(out, "the lab works: all ", " conditions hold", "│ calico1  ", "next:\n", "go tool mage ssh calico1")
	// What nspawn containers have from the start, in a layer, is done already: Go and cnitool.
	for _, s := range []string{"up", "etcd", "calico", "cniPlugins", "ipPool", "plumb"} {
		if !regexp.MustCompile(`(?m)^✓ ` + s + ` +\S.*\((\d+\.\ds|\d+m\d+s)\)$`).MatchString(out) {
			l.t.Errorf("stage %s is not reported as done:\n%s", s, out)
		}
	}
	timeline, err := os.ReadFile(filepath.Join(l.dir, ".lab", "timeline.md"))
	if err != nil {
		l.t.Fatal(err)
	}
	l.has(string(timeline), "```mermaid\ngantt\n", "section plumb\n", "    apply calico1 (")
	l.holds()
}

// nspawnTraces are what systemd-nspawn notes on this computer about what it runs, under names that other labs have as well.
func nspawnTraces(l *lab) []string {
	l.t.Helper()
	var all []string
	for _, dir := range []string{"propagate", "locks"} {
		out, err := exec.Command("sudo", "-n", "find", "/run/systemd/nspawn/"+dir, "-mindepth", "1").Output()
		if os.Geteuid() == 0 {
			out, err = exec.Command("find", "/run/systemd/nspawn/"+dir, "-mindepth", "1").Output()
		}
		if exit := (&exec.ExitError{}); err != nil && !errors.As(err, &exit) {
			l.t.Fatal(err)
		}
		all = append(all, strings.Fields(string(out))...)
	}
	return all
}

func nothingToDo(l *lab) {
	l.did(l.ok("verify"), true)
	l.has(l.plans(), "nothing to do")
	l.has(l.ok("status"), "✓ calico", "next       ", "go tool mage check")
}

func unplumb(l *lab) {
	l.ok("unplumb")
	if out := l.ssh("calico1", "sudo calicoctl get workloadendpoints --all-namespaces -o json | jq '.items | length'"); out != "0" {
		l.t.Errorf("%s workload endpoints are left", out)
	}
	if out := l.ssh("calico1", "sudo calicoctl ipam show | grep 'IP Pool'"); !strings.Contains(out, "| 0 (0%)") {
		l.t.Errorf("addresses are still taken: %s", out)
	}
	l.has(l.fails("check"), "there is no container workload", "workload on calico1, calico2")
	l.has(l.ok("plumb"), "workload on calico1", "CNI result", `"cniVersion"`, "from block 10.1.127.192/26 of calico1", "from block 10.1.86.64/26 of calico2")
}

func stopAndStart(l *lab) {
	l.ok("stop")
	l.has(l.ok("status"), "stopped", "go tool mage start")
	l.has(l.fails("check"), "machine on etcd-node, calico1, calico2", "found: the machine is stopped", "try:   ", "go tool mage start")
	l.has(l.plans(), "calico1", "boots it", "the machine is stopped")
	l.has(l.fails("backup"), "is stopped; boot with: ", "go tool mage start")
	const other = "2 workloads have other addresses than after the first verify"
	l.has(l.ok("start"), other, "to get those back, and undo what you made since: ")
	l.holds()
	l.ok("reset")
	if out := l.ok("verify"); strings.Contains(out, other) {
		l.t.Errorf("they have them: %s", out)
	}
}

func damagedPlan(l *lab) {
	plan := filepath.Join(l.dir, ".lab", "plan.json")
	if err := os.Truncate(plan, 20); err != nil {
		l.t.Fatal(err)
	}
	l.has(l.fails("verify"), "plan.json", "go tool mage destroy")
	l.has(l.ok("destroy"), "is gone")
	l.nothingLeft()
}

// oneMore: those that are there can be entered and looked at, while lab.yaml has one that isn't.
func oneMore(l *lab) {
	defer l.change("\nnetwork: ", "\n  - {name: calico3, role: calico, address: 192.168.4.8}\nnetwork: ")()
	plan := l.plans()
	l.has(plan, "calico3: boots it, and makes it first", "do it with: ")
	if strings.Contains(plan, "nobody can log in") {
		l.t.Errorf("machines that run can't be entered:\n%s", plan)
	}
	l.has(l.ok("ssh", "calico1", "hostname"), "calico1")
	l.has(l.fails("ssh", "calico3", "hostname"), "calico3 is absent", "go tool mage verify")
	for _, res := range l.unmet() {
		if res.Machine == "etcd-node" {
			l.t.Errorf("%s: %s", res.ID, res.Found)
		}
	}
}

// removedDirectory: root has removed the lab's directory under its machines, and with it what says whose they are.
func removedDirectory(l *lab) {
	must(l.t, "", "rm", "-rf", "--one-file-system", l.home())
	for _, target := range []string{"status", "check", "verify", "stop"} {
		l.has(l.fails(target), "was removed under its machines", "go tool mage destroy")
	}
	l.has(l.ok("destroy"), "lab "+l.name+" is gone")
	l.nothingLeft()
	l.ok("up")
}

func destroyWithout(l *lab) {
	l.write("name: [this is not\n")
	l.has(l.ok("destroy"), "lab "+l.name+" is gone")
	l.nothingLeft()
}

// plans runs plan, whose exit status tells whether there is something to do.
func (l *lab) plans() string {
	l.t.Helper()
	stdout, stderr, err := l.run("plan")
	status := 0
	if exit, ok := err.(*exec.ExitError); ok { //nolint:errorlint // Cmd.Run's own
		status = exit.ExitCode()
	}
	want := 2
	switch {
	case strings.Contains(stdout, "nothing to do: "):
		want = 0
	case strings.Contains(stdout, "there is nothing that go tool mage verify could do"), strings.Contains(stderr, "verify would stop"):
		want = 1
	}
	if status != want {
		l.t.Errorf("plan: exit status %d, not %d\n%s%s", status, want, stdout, stderr)
	}
	return stdout + stderr
}

// badInput: every target says what is wrong, and changes nothing.
func badInput(l *lab) {
	for _, target := range []string{"up", "verify", "check", "plan", "status", "stop"} {
		back := l.change("address: 192.168.4.6", "address: 192.168.4.5")
		l.has(l.fails(target), "lab.yaml:", "address 192.168.4.5: duplicate of line", "nothing was changed")
		back()
		good := l.hw
		l.hw = "toaster"
		l.has(l.fails(target), `there is no hardware layer "toaster"`)
		l.hw = good
	}
	if _, err := os.Stat(l.home()); err == nil {
		l.t.Error("something was made all the same")
	}
}

// factCommands: what a hint tells a person to type can be typed.
func factCommands(l *lab) {
	on := map[fact.Kind]string{fact.EtcdHealth: "etcd-node", fact.EtcdAuth: "etcd-node", fact.EtcdMembers: "etcd-node"}
	for _, k := range fact.Kinds() {
		if k == fact.RouterBGP || k == fact.RouterConf {
			continue // this lab has no router; TestLabFiles has one
		}
		machine := on[k]
		if machine == "" {
			machine = "calico1"
		}
		if out := l.ok("ssh", machine, k.Command()); strings.TrimSpace(out) == "" && k != fact.Policies {
			l.t.Errorf("%s: %s prints nothing", k, k.Command())
		}
	}
}

// sshes: a command's exit status and quoting are its own, and all machines can be asked at once.
func sshes(l *lab) {
	if out := l.ok("ssh", "calico1", "echo 'a  b'; hostname"); out != "a  b\ncalico1\n" {
		l.t.Errorf("ssh calico1: %q", out)
	}
	if out := l.ok("ssh", "calico1", "sh", "-c", "echo 'a  b' | cat"); out != "a  b\n" {
		l.t.Errorf("ssh calico1, in words: %q", out)
	}
	_, _, err := l.run("ssh", "calico1", "exit 7")
	if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 7 { //nolint:errorlint // Cmd.Run's own
		l.t.Errorf("exit 7 becomes %v", err)
	}
	l.has(l.ok("ssh", "all", "hostname"), "etcd-node | etcd-node\n", "calico1   | calico1\n", "calico2   | calico2\n")
	l.has(l.fails("ssh", "all", "test $(hostname) != calico2"), "calico2: exit status 1")
	l.has(l.fails("ssh", "calico9", "true"), `there is no machine "calico9"`, "etcd-node, calico1, calico2")
	l.has(l.fails("ssh", "all"), "go tool mage ssh all COMMAND")
}

// poolAndNetwork: what Calico can change in a pool is changed, what it can't is refused before anything is touched; another
// network takes the old one's place.
func poolAndNetwork(l *lab) {
	back := l.change("natOutgoing: true", "natOutgoing: false")
	l.has(l.ok("ipPool"), "natOutgoing is true, not false")
	if out := l.ssh("etcd-node", "sudo calicoctl get ippool my.ippool-1 -o json | jq .spec.natOutgoing"); out == "true" {
		l.t.Error("natOutgoing is still true")
	}
	back()
	l.ok("ipPool")
	l.has(l.fails("reset"), "has changed since the baseline was recorded", "go tool mage verify")
	for _, c := range [][2]string{{"cidr: 10.1.0.0/16", "cidr: 10.2.0.0/16"}, {"name: my.ippool-1", "name: other.pool"}} {
		back = l.change(c[0], c[1])
		before := l.ssh("calico1", "sudo docker ps -q; ip route")
		l.has(l.fails("ipPool"), "what to do", "calicoctl delete ippool my.ippool-1", "go tool mage unplumb")
		l.has(l.fails("verify"), "ipPool: pool", "calicoctl delete ippool my.ippool-1")
		l.has(l.plans(), "verify would stop before it touches anything", "calicoctl delete ippool my.ippool-1")
		if after := l.ssh("calico1", "sudo docker ps -q; ip route"); after != before {
			l.t.Errorf("something was touched: %s -> %s", before, after)
		}
		back()
	}
	back = l.change("network: test-calico", "network: other-net")
	l.has(l.fails("check"), "old-network", "conflist")
	l.ok("verify")
	l.holds()
	if out := l.ssh("calico1", "ls /etc/cni/net.d; sudo ls /var/lib/cni/results"); strings.Contains(out, "test-calico") {
		l.t.Errorf("the old network is still there:\n%s", out)
	}
	back()
	l.ok("verify")
	l.holds()
	l.has(l.ok("reset"), "nothing differed")
}
