package nspawn

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/computer"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/scripts"
)

func provider(name string) *Provider {
	return New(machine.Options{StateDir: "/project/.lab", Plan: machine.Plan{
		Name: name, Underlay: lab.Underlay{Subnet: netip.MustParsePrefix("192.168.4.0/24")}, Gateway: netip.MustParseAddr("192.168.4.1"),
		Machines: []machine.Planned{
			{Name: "etcd-node", Role: lab.RoleEtcd, Address: netip.MustParseAddr("192.168.4.7")},
			{Name: "calico1", Role: lab.RoleCalico, Address: netip.MustParseAddr("192.168.4.5")},
		},
	}})
}

func TestSocketPath(t *testing.T) {
	if err := provider(strings.Repeat("x", 30)).checkSocketPaths(); err != nil {
		t.Errorf("a lab name that lab.yaml may have: %v", err)
	}
	if err := provider(strings.Repeat("x", 80)).checkSocketPaths(); err == nil || !strings.Contains(err.Error(), "shorten the lab's name") {
		t.Errorf("no fault: %v", err)
	}
}

// TestGroup: a group that is not there has no processes.
func TestGroup(t *testing.T) {
	g := provider("no-such-lab").group("calico1")
	if g.path != "calico-cni-lab/no-such-lab/calico1" {
		t.Errorf("group: %s", g.path)
	}
	if pids, err := g.pids(); len(pids) > 0 || err != nil {
		t.Errorf("processes: %v, %v", pids, err)
	}
	if _, err := g.init(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("init: %v", err)
	}
}

// TestKill: with cgroup v2 a group is killed by the kernel. The process is in no v1 group, where processes are looked for one by
// one on a computer that has both.
func TestKill(t *testing.T) {
	p := provider(fmt.Sprintf("test-kill-%d", os.Getpid()))
	p.Run = &command.Runner{}
	g := p.labGroup()
	root := "/sys/fs/cgroup/unified"
	if !computer.Exists(root) {
		root = "/sys/fs/cgroup"
	}
	dir := filepath.Join(root, g.path, "calico1")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Skip("needs root and cgroup v2: ", err)
	}
	defer func() {
		for d := dir; d != root; d = filepath.Dir(d) {
			_ = os.Remove(d) // the group of all labs may be in use
		}
	}()
	if g.killFile() == "" {
		t.Skip("no cgroup v2 that can kill")
	}
	child := exec.Command("sh", "-c", "sleep 60; exit 0")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(child.Process.Pid)), 0); err != nil {
		t.Fatal(errors.Join(err, child.Process.Kill()))
	}
	if err := p.kill(t.Context(), "the test", g); err != nil {
		t.Error(err)
	}
	if err := child.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Errorf("the process ended with %v", err)
	}
	if err := p.kill(t.Context(), "the test", g); err != nil {
		t.Errorf("an empty group: %v", err)
	}
}

// TestUsersInRange: all ranges are in systemd's for containers.
func TestUsersInRange(t *testing.T) {
	if firstUser < 0x80000 || firstUser+ranges*usersAMachine-1 > 0x6fffffff || firstUser%usersAMachine != 0 {
		t.Errorf("from %d to %d", firstUser, firstUser+ranges*usersAMachine)
	}
}

// TestUsers: machines whose names lead to the same range share none, nor do they with this computer's users and what those may map;
// and a machine keeps its own.
func TestUsers(t *testing.T) {
	dir := t.TempDir()
	etc := filepath.Join(dir, "etc")
	labs := filepath.Join(dir, "labs")
	const first, size, most, machines = 1000, 100, 64, 60
	writeAll(t, map[string]string{
		etc + "/passwd": "root:x:0:0:root:/root:/bin/sh\nada:x:1250:100::/:/bin/sh\n", // the third range
		etc + "/group":  "root:x:0:\nstaff:x:1399:\n",                                 // the fourth
		etc + "/subuid": "# mine\nada:1450:100\n",                                     // the fifth and the sixth
	})
	users := func(machine string, wanted int) (string, error) {
		out, err := exec.CommandContext(t.Context(), "bash", "-c", scripts.Text("nspawn-users.sh"), "nspawn-users.sh", filepath.Join(labs, machine), etc,
			fmt.Sprint(first), fmt.Sprint(size), fmt.Sprint(most), fmt.Sprint(wanted)).CombinedOutput()
		return strings.TrimSpace(string(out)), err
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	seen := map[string]string{"1200": "ada", "1300": "staff", "1400": "subuid", "1500": "subuid"}
	for i := range machines {
		m := fmt.Sprintf("lab%d/calico%d", i%2, i)
		if err := os.MkdirAll(filepath.Join(labs, m), 0o755); err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			n, err := users(m, most-2)
			again, err2 := users(m, 7)
			mu.Lock()
			defer mu.Unlock()
			if err != nil || err2 != nil || again != n || seen[n] != "" {
				t.Errorf("%s: %s, then %s; %v, %v; it is %s's", m, n, again, err, err2, seen[n])
			}
			seen[n] = m
		})
	}
	wg.Wait()
	if len(seen) != most || seen["1000"] == "" || seen["7300"] == "" {
		t.Errorf("%d ranges: %v", len(seen), seen)
	}
	if err := os.MkdirAll(filepath.Join(labs, "lab0", "more"), 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := users("lab0/more", 0); err == nil || !strings.Contains(out, "no 100 users in a row are left from 1000 on") {
		t.Errorf("one more: %s, %v", out, err)
	}
}

func writeAll(t *testing.T, files map[string]string) {
	t.Helper()
	for path, content := range files {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
}

// openDir is a directory that others may enter, unlike t.TempDir.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "calico-cni-lab-test.") //nolint:usetesting // see above
	if err != nil || os.Chmod(dir, 0o755) != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// nobody runs a command as a user without rights, if root runs the test.
func nobody(t *testing.T, args ...string) error {
	t.Helper()
	return exec.CommandContext(t.Context(), "setpriv", append([]string{"--reuid=54321", "--regid=54321", "--clear-groups", "--"}, args...)...).Run()
}

// TestConsole: what a machine writes at boot its user reads, and nobody else, also on a machine of an older version.
func TestConsole(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	dir := filepath.Join(openDir(t), "calico1")
	writeAll(t, map[string]string{dir + "/console.log": "old\n", dir + "/boot.lock": ""})
	if err := errors.Join(os.Mkdir(dir+"/run", 0o750), os.Chown(dir+"/run", 1234567, 4711)); err != nil {
		t.Fatal(err)
	}
	if err := nobody(t, "cat", dir+"/console.log"); err != nil {
		t.Fatalf("nothing to mend: %v", err)
	}
	start := exec.CommandContext(t.Context(), "bash", "-c", startDetached, "start-detached", dir+"/boot.sh", dir+"/console.log")
	start.Stdin = strings.NewReader("#!/bin/sh\necho new\n")
	if out, err := start.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, file := range []string{"console.log", "boot.lock"} {
		if nobody(t, "cat", filepath.Join(dir, file)) == nil {
			t.Errorf("another user can open %s", file)
		}
	}
	var text string
	for range 500 {
		out, err := exec.CommandContext(t.Context(), "setpriv", "--reuid=4711", "--regid=4711", "--clear-groups", "cat", dir+"/console.log").CombinedOutput()
		if err != nil {
			t.Fatalf("the user: %v: %s", err, out)
		}
		if text = string(out); text == "old\nnew\n" {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	info, err := os.Stat(dir + "/console.log")
	if err != nil || info.Mode().Perm() != 0o640 || text != "old\nnew\n" {
		t.Errorf("%v, %v, %q", info.Mode(), err, text)
	}
}

func TestEndpointsBeforeUp(t *testing.T) {
	p := provider("no-such-lab")
	p.StateDir = t.TempDir()
	if _, err := p.Endpoints(); !errors.Is(err, machine.ErrNotUp) {
		t.Errorf("error: %v", err)
	}
}

// TestEndpointsOfSome: those that are made can be entered while another one isn't yet.
func TestEndpointsOfSome(t *testing.T) {
	p := provider("no-such-lab")
	p.StateDir = t.TempDir()
	made := p.Plan.Machines[0].Name
	_, public, err := machine.NewKey(made)
	if err == nil {
		_, err = machine.UserKey(p.StateDir)
	}
	if err == nil {
		err = machine.SaveHostKey(p.StateDir, made, public)
	}
	if err != nil {
		t.Fatal(err)
	}
	all, err := p.Endpoints()
	if err != nil || len(all) != 1 || all[0].Machine != made || len(p.Plan.Machines) < 2 {
		t.Errorf("of %d machines: %v, %v", len(p.Plan.Machines), all, err)
	}
}

// TestSameDir: a machine is believed to see a directory only if it was booted with that very one.
func TestSameDir(t *testing.T) {
	dir := t.TempDir()
	cache := filepath.Join(dir, "cache")
	if err := os.Mkdir(cache, 0o755); err != nil {
		t.Fatal(err)
	}
	noted, err := exec.CommandContext(t.Context(), "stat", "--format=%d:%i", "--", cache).Output() // as in nspawn-boot.sh
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{cache: true, dir: false, filepath.Join(dir, "none"): false} {
		if got := sameDir(string(noted), name); got != want {
			t.Errorf("%s: %t", name, got)
		}
	}
	held, err := os.Open(cache) // as the machine's mount holds it
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if err := errors.Join(os.Remove(cache), os.Mkdir(cache, 0o755)); err != nil {
		t.Fatal(err)
	}
	if sameDir(string(noted), cache) {
		t.Error("a directory that was removed and made anew")
	}
}

// TestWithoutLab: machines aren't made without lab.yaml, and those that are there can be entered.
func TestWithoutLab(t *testing.T) {
	p := provider("no-such-lab")
	p.StateDir = t.TempDir()
	if err := p.Up(t.Context()); !errors.Is(err, machine.ErrNoLab) {
		t.Errorf("Up: %v", err)
	}
	_, public, err := machine.NewKey("x")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range p.Plan.Machines {
		if err := machine.SaveHostKey(p.StateDir, m.Name, public); err != nil {
			t.Fatal(err)
		}
	}
	if all, err := p.Endpoints(); err != nil || len(all) != 2 || all[0].Machine != "etcd-node" || len(all[0].Shares) != 0 {
		t.Errorf("endpoints: %+v, %v", all, err)
	}
	if all, err := p.Status(t.Context()); err != nil || len(all) != 2 || all[1].State != machine.Absent {
		t.Errorf("status: %+v, %v", all, err)
	}
}

func TestPoll(t *testing.T) {
	failed, late := errors.New("failed"), errors.New("gave up")
	after := func(n int, err error) func(context.Context) (bool, error) {
		return func(context.Context) (bool, error) { n--; return n <= 0 && err == nil, err }
	}
	for _, c := range []struct {
		name   string
		done   func(context.Context) (bool, error)
		detail func() string
		want   string
	}{
		{"at once", after(1, nil), nil, "<nil>"},
		{"the third time", after(3, nil), nil, "<nil>"},
		{"an error", after(1, failed), func() string { return "no detail of its own" }, "failed"},
		{"never", after(1000, nil), nil, "gave up"},
		{"never, with detail", after(1000, nil), func() string { return "; its console" }, "gave up; its console"},
	} {
		synctest.Test(t, func(t *testing.T) { // time passes at once
			ctx, cancel := context.WithTimeoutCause(t.Context(), 10*pollInterval, late)
			defer cancel()
			start := time.Now()
			if err := poll(ctx, c.done, c.detail); fmt.Sprint(err) != c.want {
				t.Errorf("%s: %v", c.name, err)
			}
			if took := time.Since(start); took > 10*pollInterval {
				t.Errorf("%s: took %s", c.name, took)
			}
		})
	}
}
