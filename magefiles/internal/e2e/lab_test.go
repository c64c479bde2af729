// Package e2e tests the whole lab on real embedded machines, through the same targets that a user types.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	definition "github.com/calico-cni-lab/lab/magefiles/internal/lab"
)

// lab is a lab of its own, beside the one that a user may have: another name and another state directory. The
// underlays can't meet, each is in a network namespace without a way out.
type lab struct {
	t      *testing.T
	root   string // of the project
	mage   string // the compiled targets
	dir    string // with lab.yaml and .lab
	name   string
	hw     string          // LAB_HARDWARE
	prefix []string        // of every command: where it is run
	want   *definition.Lab // what the project's lab.yaml says
	pins   artifact.Pins
}

func newLab(t *testing.T, hardware string) *lab {
	t.Helper()
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{t: t, root: root, dir: t.TempDir(), name: fmt.Sprintf("test-%d", os.Getpid()), hw: hardware}
	l.mage = filepath.Join(l.dir, "mage")
	if out, err := l.start(context.Background(), "go", "tool", "mage", "-compile", l.mage).CombinedOutput(); err != nil {
		t.Fatalf("compiling the targets: %v\n%s", err, out)
	}
	if l.want, err = definition.Load(filepath.Join(root, "lab.yaml")); err != nil {
		t.Fatal(err)
	}
	if l.pins, err = artifact.ReadPins(root); err != nil {
		t.Fatal(err)
	}
	yaml, err := os.ReadFile(filepath.Join(root, "lab.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	l.write(strings.Replace(string(yaml), "name: calico-cni-lab", "name: "+l.name, 1))
	t.Cleanup(func() {
		if t.Failed() {
			l.keepLogs()
		}
		if _, err := os.Stat(filepath.Join(l.dir, ".lab", "plan.json")); err == nil {
			l.write(string(yaml)) // whatever a test left there: destroy doesn't need it
			l.ok("destroy")
		}
	})
	return l
}

// keepLogs leaves the archive of a lab that failed in the project's state directory.
func (l *lab) keepLogs() {
	l.run("logs") //nolint:errcheck // there may be nothing to log
	archives, err := filepath.Glob(filepath.Join(l.dir, ".lab", "*.tar.gz"))
	if err != nil || len(archives) == 0 {
		return
	}
	kept := filepath.Join(l.root, ".lab")
	if err := os.MkdirAll(kept, 0o755); err != nil {
		l.t.Log(err)
		return
	}
	for _, a := range archives {
		data, err := os.ReadFile(a)
		if err == nil {
			err = os.WriteFile(filepath.Join(kept, filepath.Base(a)), data, 0o600)
		}
		l.t.Logf("the lab's logs: %s (%v)", filepath.Join(kept, filepath.Base(a)), err)
	}
}

// home is where the lab's machines lie.
func (l *lab) home() string { return "/var/lib/calico-cni-lab/labs/" + l.name }

func (l *lab) write(yaml string) {
	l.t.Helper()
	if err := os.WriteFile(filepath.Join(l.dir, "lab.yaml"), []byte(yaml), 0o644); err != nil {
		l.t.Fatal(err)
	}
}

// change rewrites a part of lab.yaml and gives a function that puts it back.
func (l *lab) change(old, new string) (back func()) {
	l.t.Helper()
	before, err := os.ReadFile(filepath.Join(l.dir, "lab.yaml"))
	if err != nil {
		l.t.Fatal(err)
	}
	after := strings.Replace(string(before), old, new, 1)
	if after == string(before) {
		l.t.Fatalf("lab.yaml has no %q", old)
	}
	l.write(after)
	return func() { l.write(string(before)) }
}

func (l *lab) start(ctx context.Context, args ...string) *exec.Cmd {
	args = append(slices.Clone(l.prefix), args...)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = l.root
	cmd.Env = append(os.Environ(), "LAB_FILE="+filepath.Join(l.dir, "lab.yaml"), "LAB_HARDWARE="+l.hw, "MAGEFILE_VERBOSE=0")
	return cmd
}

// run runs targets and gives standard output and standard error.
func (l *lab) run(args ...string) (stdout, stderr string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Minute)
	defer cancel()
	cmd := l.start(ctx, append([]string{l.mage}, args...)...)
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	err = cmd.Run()
	return o.String(), e.String(), err
}

// ok runs targets that must succeed.
func (l *lab) ok(args ...string) string {
	l.t.Helper()
	stdout, stderr, err := l.run(args...)
	if err != nil {
		l.t.Fatalf("mage %s: %v\n%s%s", strings.Join(args, " "), err, stdout, stderr)
	}
	return stdout
}

// fails runs targets that must fail, and gives what they say about it.
func (l *lab) fails(args ...string) string {
	l.t.Helper()
	stdout, stderr, err := l.run(args...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		l.t.Fatalf("mage %s: %v, not an exit status\n%s%s", strings.Join(args, " "), err, stdout, stderr)
	}
	return stdout + stderr
}

// ssh runs a command on a machine with plain OpenSSH and the lab's ssh_config.
func (l *lab) ssh(machine, command string) string {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := l.start(ctx, "ssh", "-F", filepath.Join(l.dir, ".lab", "ssh_config"), machine, command)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		l.t.Fatalf("%s$ %s: %v\n%s%s", machine, command, err, out, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

// has wants every one of parts in text.
func (l *lab) has(text string, parts ...string) {
	l.t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			l.t.Errorf("no %q in:\n%s", p, text)
		}
	}
}

// sub runs a part of the test that must hold for the rest to make sense.
func (l *lab) sub(name string, f func(l *lab)) {
	l.t.Helper()
	ok := l.t.Run(name, func(t *testing.T) {
		c := *l
		c.t = t
		f(&c)
	})
	if !ok {
		l.t.FailNow()
	}
}

// stages are the targets that verify brings about.
var stages = []string{"up", "etcd", "calico", "golang", "cniPlugins", "cnitool", "ipPool", "plumb"}

func TestLab(t *testing.T) {
	if testing.Short() {
		t.Skip("needs real machines")
	}
	l := newLab(t, "nspawn")

	l.sub("nothing there", func(l *lab) {
		l.has(l.ok("status"), "etcd-node", "absent", "next", "go tool mage verify")
		l.has(l.fails("check"), "the lab is not up", "go tool mage verify")
		l.has(l.fails("start"), "the lab is not up")
		l.has(l.fails("ssh", "calico1", "true"), "the lab is not up")
		l.has(l.ok("destroy"), "is gone")
	})
	l.sub("bad lab.yaml changes nothing", func(l *lab) {
		back := l.change("address: 192.168.4.6", "address: 192.168.4.5")
		defer back()
		l.has(l.fails("verify"), "lab.yaml:", "address 192.168.4.5: duplicate of line", "nothing was changed")
		if _, err := os.Stat(l.home()); err == nil {
			t.Error("something was made all the same")
		}
	})
	l.sub("verify from nothing", func(l *lab) {
		out := l.ok("verify")
		l.has(out, "the lab works: 26 of 26 conditions hold")
		for _, s := range stages {
			if !regexp.MustCompile(`(?m)^✓ ` + s + ` +[^a]`).MatchString(out) {
				l.t.Errorf("stage %s is not told as done:\n%s", s, out)
			}
		}
	})
	l.sub("logs, asked for and of a failure", func(l *lab) {
		archive := regexp.MustCompile(`\S+-logs-\S+\.tar\.gz`)
		file := archive.FindString(l.ok("logs"))
		list, err := exec.Command("tar", "-tzf", file).CombinedOutput()
		if err != nil {
			l.t.Fatalf("%s: %v\n%s", file, err, list)
		}
		for _, name := range []string{
			"/lab.yaml", "/status.txt", "-verify.log", "/etcd-node/calicoctl.txt", "/calico1/journal.txt", "/calico1/bird.txt", "/calico2/iptables.txt",
			"/calico2/ip-route.txt", "/calico2/ipset.txt", "/calico2/docker-logs.txt",
		} {
			l.has(string(list), name)
		}
		text, err := exec.Command("tar", "-xzOf", file).Output()
		if err != nil {
			l.t.Fatal(err)
		}
		l.has(string(text), "kind: IPPool", "kind: WorkloadEndpoint", "BGP state:          Established", "-A cali-FORWARD ")
		if strings.Contains(string(text), "PRIVATE KEY") {
			l.t.Error("a private key is in the archive")
		}
		defer l.change("cidr: 10.1.0.0/16", "cidr: 10.2.0.0/16")()
		out := l.fails("verify")
		l.has(out, "Calico can't change that in a pool that exists")
		if failed := archive.FindString(out); failed == "" || failed == file {
			l.t.Errorf("no archive of the failed run:\n%s", out)
		}
	})
	l.sub("verify again does nothing", func(l *lab) {
		out := l.ok("verify")
		for _, s := range stages {
			if !regexp.MustCompile(`(?m)^✓ ` + s + ` +already done: `).MatchString(out) {
				l.t.Errorf("stage %s did something:\n%s", s, out)
			}
		}
	})
	l.sub("tutorial's facts", tutorialFacts)
	l.sub("tutorial's commands", tutorialCommands)
	l.sub("check -json", func(l *lab) {
		var report struct {
			Lab     string
			OK      bool
			Results []struct {
				Name, Seen string
				OK         bool
			}
		}
		if err := json.Unmarshal([]byte(l.ok("check", "-json")), &report); err != nil {
			l.t.Fatal(err)
		}
		if report.Lab != l.name || !report.OK || len(report.Results) != 26 {
			l.t.Errorf("report: %+v", report)
		}
	})
	l.sub("names in use", namesInUse)
	l.sub("pool", pools)
	l.sub("broken and mended", brokenAndMended)
	l.sub("unplumb", func(l *lab) {
		l.ok("unplumb")
		if out := l.ssh("calico1", "sudo calicoctl get workloadendpoints --all-namespaces -o json | jq '.items | length'"); out != "0" {
			l.t.Errorf("%s workload endpoints are left", out)
		}
		if out := l.ssh("calico1", "sudo calicoctl ipam show | grep 'IP Pool'"); !strings.Contains(out, "| 0 (0%)") {
			l.t.Errorf("addresses are still taken: %s", out)
		}
		l.has(l.fails("check"), "the workload there is not plumbed", "go tool mage plumb")
		l.has(l.ok("plumb"), "workload on calico1", "CNI result", `"cniVersion"`, "from block 10.1.127.192/26 of calico1", "from block 10.1.86.64/26 of calico2")
	})
	l.sub("stop and start", func(l *lab) {
		l.ok("stop")
		l.has(l.ok("status"), "stopped", "go tool mage start")
		l.has(l.fails("check"), "calico1 is stopped", "go tool mage start")
		l.ok("start")
		l.ok("check")
	})
	l.sub("one run at a time", oneAtATime)
	l.sub("interrupted", interrupted)
	l.sub("destroy without lab.yaml", func(l *lab) {
		l.write("name: [this is not\n")
		l.has(l.ok("destroy"), "lab "+l.name+" is gone")
		l.nothingLeft()
	})
}

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
	// The underlay has no way out.
	if out := l.ssh("calico1", "ping -c 1 -W 1 192.0.2.1 >/dev/null 2>&1 && echo out || echo in"); out != "in" {
		l.t.Error("a packet left the underlay")
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
	l.has(l.ssh("calico1", "sudo docker exec mine ping -c 1 -W 2 10.1.86.64"), "ttl=62")
	l.ssh("calico1", cnitool+"del test-calico "+key)
	l.ssh("calico1", "sudo docker rm -f mine")
	l.ok("check")
}

// namesInUse: another checkout may not take the lab's name.
func namesInUse(l *lab) {
	other := *l
	other.dir = l.t.TempDir()
	yaml, err := os.ReadFile(filepath.Join(l.dir, "lab.yaml"))
	if err != nil {
		l.t.Fatal(err)
	}
	other.write(string(yaml))
	for _, target := range []string{"verify", "destroy"} {
		l.has(other.fails(target), fmt.Sprintf("the lab name %q is in use by the lab in %s", l.name, l.dir))
	}
	back := l.change("address: 192.168.4.6", "address: 192.168.4.8")
	defer back()
	l.has(l.fails("verify"), "describes other machines than the ones that exist", "go tool mage destroy")
}

// pools: what Calico can change in a pool is changed, what it can't is refused.
func pools(l *lab) {
	back := l.change("natOutgoing: true", "natOutgoing: false")
	l.has(l.ok("ipPool"), "natOutgoing is true, not false")
	if out := l.ssh("etcd-node", "sudo calicoctl get ippool my.ippool-1 -o json | jq .spec.natOutgoing"); out == "true" {
		l.t.Error("natOutgoing is still true")
	}
	back()
	l.ok("ipPool")
	back = l.change("cidr: 10.1.0.0/16", "cidr: 10.2.0.0/16")
	defer back()
	l.has(l.fails("ipPool"), "cidr is 10.1.0.0/16, not 10.2.0.0/16", "calicoctl delete ippool my.ippool-1")
}

// brokenAndMended: what breaks is named by check, and mended by verify.
func brokenAndMended(l *lab) {
	node := l.ssh("calico1", "sudo docker ps --format '{{.Names}}' --filter name=calico-release")
	for _, c := range []struct {
		name, machine, command string
		says                   []string // of check
	}{
		{"calico-node stopped", "calico1", "sudo docker stop " + node, []string{"BGP 192.168.4.6 -> 192.168.4.5 is Established", "look: go tool mage ssh"}},
		{"etcd removed", "etcd-node", "sudo docker rm -f etcd", []string{"✗ etcd is healthy"}},
		{"calicoctl of another release", "calico2", "sudo rm /usr/local/bin/calicoctl; printf '#!/bin/sh\\necho Client Version: v3.14.0\\n' | sudo tee /usr/local/bin/calicoctl; sudo chmod +x /usr/local/bin/calicoctl", []string{"calicoctl is 3.14.0; pinned is " + l.pins.Calico.String()}},
		{"Go removed", "calico1", "sudo rm -rf /usr/local/go", []string{"✗ Go on calico1"}},
		{"cnitool and a plugin removed", "calico2", "sudo rm /home/vagrant/go/bin/cnitool /opt/cni/bin/calico-ipam", []string{"✗ cnitool and the CNI plugins on calico2"}},
		{"workload restarted", "calico1", "sudo docker restart -t 0 workload", []string{"✗ workload on calico1 has an address", "the workload has no interface"}},
		{"interface removed", "calico2", "sudo nsenter --net=$(sudo docker inspect -f '{{.NetworkSettings.SandboxKey}}' workload) ip link del eth0", []string{"✗ workload on calico2"}},
		{"images removed", "calico2", "sudo docker rm -f workload && sudo docker rmi -f $(sudo docker images -q '*/workload')", []string{"no container workload runs"}},
		{"Docker stopped", "calico1", "sudo systemctl stop docker.socket docker.service", []string{"✗ calico1 answers SSH, has its address and runs Docker Engine"}},
	} {
		l.sub(c.name, func(l *lab) {
			l.ssh(c.machine, c.command)
			l.has(l.fails("check"), append(c.says, "conditions do not hold")...)
			if out := l.ok("verify"); !strings.Contains(out, "the lab works") {
				l.t.Error(out)
			}
			if out := l.ssh("calico1", "sudo calicoctl get workloadendpoints --all-namespaces -o json | jq '.items | length'"); out != "2" {
				l.t.Errorf("there are %s workload endpoints, not 2", out)
			}
		})
	}
	l.sub("machine killed", func(l *lab) {
		deadline := time.Now().Add(10 * time.Second)
		for pids := l.processes("calico2"); len(pids) > 0; pids = l.processes("calico2") {
			for _, pid := range pids {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
			if time.Now().After(deadline) {
				l.t.Fatalf("calico2 can't be killed: %v", pids)
			}
		}
		l.has(l.fails("check"), "calico2 is stopped", "go tool mage start")
		l.ok("verify")
	})
}

// oneAtATime: of two runs the second says who is at work.
func oneAtATime(l *lab) {
	lock := filepath.Join(l.dir, ".lab", "lock")
	f, err := os.OpenFile(lock, os.O_RDWR, 0)
	if err != nil {
		l.t.Fatal(err)
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		l.t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("process 4711, `mage stop`, since 12:00:00\n"), 0); err != nil {
		l.t.Fatal(err)
	}
	l.has(l.fails("verify"), "another run works on this lab: process 4711, `mage stop`")
	// Looking is allowed at any time.
	l.ok("check")
	l.ok("status")
}

// interrupted: SIGINT and SIGTERM end a run within five seconds wherever it is, and the next one finishes the job.
func interrupted(l *lab) {
	l.ok("destroy")
	for _, c := range []struct {
		after string // line of output that the signal follows
		sig   syscall.Signal
		args  []string
	}{
		{"machines:", syscall.SIGTERM, []string{l.mage}},
		{"✓ up", syscall.SIGINT, []string{l.mage}},
		// Three processes; the signal reaches the first.
		{"… calico ", syscall.SIGTERM, []string{"go", "tool", "mage"}},
		// A kill leaves children at work; the next run must not trip over them.
		{"… calico ", syscall.SIGKILL, []string{l.mage}},
	} {
		l.sub(fmt.Sprintf("%s after %s", c.sig, c.after), func(l *lab) {
			cmd := l.start(context.Background(), append(c.args, "verify")...)
			out := &watched{want: c.after, seen: make(chan struct{})}
			cmd.Stdout, cmd.Stderr = out, out
			if err := cmd.Start(); err != nil {
				l.t.Fatal(err)
			}
			select {
			case <-out.seen:
			case <-time.After(5 * time.Minute):
				_ = cmd.Process.Kill()
				l.t.Fatalf("no %q in:\n%s", c.after, out)
			}
			start := time.Now()
			if err := cmd.Process.Signal(c.sig); err != nil {
				l.t.Fatal(err)
			}
			err := cmd.Wait() // also for the output's end: all three processes have it open
			// The go command's own exit status after SIGTERM is 0 (Go 1.26).
			if err == nil && c.args[0] == l.mage {
				l.t.Errorf("it ended as if nothing had been:\n%s", out)
			}
			if took := time.Since(start); took > 5*time.Second {
				l.t.Errorf("it took %s to end:\n%s", took, out)
			}
			if c.sig != syscall.SIGKILL {
				l.has(out.String(), "interrupted; run it again to finish")
			}
		})
	}
	l.ok("verify")

	l.sub("killed while the machines are made", func(l *lab) {
		l.ok("destroy")
		cmd := l.start(context.Background(), l.mage, "verify")
		out := &watched{want: "machines:", seen: make(chan struct{})}
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Start(); err != nil {
			l.t.Fatal(err)
		}
		<-out.seen
		if err := cmd.Process.Kill(); err != nil {
			l.t.Fatal(err)
		}
		_ = cmd.Wait()
		l.ok("verify")
	})
}

// watched collects output and tells when a text has come.
type watched struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	want string
	seen chan struct{}
	done bool
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf.Write(p)
	if !w.done && strings.Contains(w.buf.String(), w.want) {
		w.done = true
		close(w.seen)
	}
	return len(p), nil
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.String()
}

// processes are a machine's, found by its control group.
func (l *lab) processes(machine string) []int {
	l.t.Helper()
	var pids []int
	for _, root := range []string{"/sys/fs/cgroup/systemd", "/sys/fs/cgroup"} {
		_ = filepath.WalkDir(filepath.Join(root, "calico-cni-lab", l.name, machine), func(path string, _ os.DirEntry, err error) error {
			if err == nil && filepath.Base(path) == "cgroup.procs" {
				data, _ := os.ReadFile(path)
				for _, f := range strings.Fields(string(data)) {
					var pid int
					if _, err := fmt.Sscan(f, &pid); err == nil {
						pids = append(pids, pid)
					}
				}
			}
			return nil
		})
		if len(pids) > 0 {
			return pids
		}
	}
	return nil
}

// nothingLeft looks for everything that a lab makes on this computer.
func (l *lab) nothingLeft() {
	l.t.Helper()
	for _, pattern := range []string{
		l.home(), filepath.Join(l.dir, ".lab"), "/run/netns/" + l.name,
		"/sys/fs/cgroup/calico-cni-lab/" + l.name, "/sys/fs/cgroup/*/calico-cni-lab/" + l.name,
	} {
		if left, _ := filepath.Glob(pattern); len(left) > 0 {
			l.t.Errorf("left: %v", left)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		l.t.Fatal(err)
	}
	if strings.Contains(string(mounts), l.name) {
		l.t.Errorf("left mounted:\n%s", mounts)
	}
	processes, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range processes {
		if line, _ := os.ReadFile(p); bytes.Contains(line, []byte("/labs/"+l.name+"/")) {
			l.t.Errorf("left running: %s", bytes.ReplaceAll(line, []byte{0}, []byte{' '}))
		}
	}
}
