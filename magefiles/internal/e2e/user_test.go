//go:build linux

package e2e

import (
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/calico-cni-lab/lab/magefiles/internal/run"
)

// TestUser: an ordinary user works in a terminal: home and umask let nobody else in, and sudo wants a password, once.
func TestUser(t *testing.T) {
	if testing.Short() {
		t.Skip("needs real machines")
	}
	t.Parallel()
	u := newUser(t, true)
	l := u.lab(t)
	l.sub("a release that isn't there", func(l *lab) {
		back := l.change("debian: bookworm", "debian: bookwurm")
		l.has(u.types(l.t, "~/mage verify", 1), "nspawn containers need root; sudo may ask for your password", `has no release "bookwurm"`)
		back()
	})
	l.sub("verify", func(l *lab) {
		l.has(u.types(l.t, "~/mage verify", 0), "loading the images into a Docker store", "the lab works: all ")
		l.has(u.types(l.t, "~/mage check", 0), "the lab works: all ")
		l.has(u.types(l.t, "~/mage plan", 0), "nothing to do")
		l.has(u.types(l.t, "~/mage ssh calico1 id -un; ssh -F .lab/ssh_config calico2 hostname", 0), "vagrant", "calico2")
		if brought := u.types(l.t, "~/mage ssh calico1 sudo ls /var/lib/calico-cni-lab", 0); strings.Contains(brought, "look-") {
			l.t.Errorf("the machine doesn't see the user's cache, what it needs was sent: %s", brought)
		}
		for _, path := range strings.Fields(u.types(l.t, "find "+u.trees()+" -maxdepth 1 '(' -writable -o ! -user root ')'", 0)) {
			l.t.Errorf("root works in %s, which the user can change", path)
		}
	})
	l.long("stop and start", func(l *lab) {
		u.types(l.t, "~/mage stop", 0)
		u.types(l.t, "~/mage start", 0)
		l.has(u.types(l.t, "~/mage check", 0), "the lab works: all ")
	})
	l.sub("Ctrl-C", func(l *lab) {
		l.has(u.types(l.t, "~/mage destroy", 0), "is gone")
		l.nothingLeft()
		l.saysInterrupted(u.interrupts(l.t, "~/mage verify", "machines:"))
		start := time.Now()
		for left := u.startedBySudo(l); len(left) > 0; left = u.startedBySudo(l) {
			if time.Sleep(100 * time.Millisecond); time.Since(start) > 30*time.Second {
				l.t.Fatalf("sudo's commands are still at work: %v", left)
			}
		}
		l.has(u.types(l.t, "~/mage verify", 0), "the lab works: all ")
	})
	l.sub("destroy and clean", func(l *lab) {
		l.has(u.types(l.t, "~/mage destroy", 0), "is gone")
		l.nothingLeft()
		l.has(u.types(l.t, "~/mage clean", 0), "the cache is empty")
		if left, _ := filepath.Glob(u.trees()); len(left) > 0 {
			l.t.Errorf("left: %v", left)
		}
		if u.asked != 1 {
			l.t.Errorf("sudo asked for the password %d times", u.asked)
		}
	})
	l.sub("proxy, mirror, root's cache", func(l *lab) {
		u.passes(l.t, "artifact", "Proxy|RootStore", "TestBootstrapThroughProxy", "TestRootStore")
	})
	l.sub("sudo ends what it started, and keeps its ticket", func(l *lab) {
		u.sudoers(l.t, ", timestamp_timeout=0.25") // minutes
		u.types(l.t, "sudo -v; export LAB_TEST_TICKET=15s", 0)
		u.passes(l.t, "command", "Root|Ends|Ticket", "TestRoot", "TestRunEnds/cancel_as_root", "TestCallerEnds", "TestTicket", "TestEndsWithoutTicket")
	})
}

// ordinary is a user at a terminal.
type ordinary struct {
	*user.User
	uid, gid int
	password string
	terminal *os.File
	asked    int // how often sudo wanted the password
}

// newUser makes a user, who may use sudo with a password or not at all, and lets them log in. Both end with the test.
func newUser(t *testing.T, sudo bool) *ordinary {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("it makes a user, and so has to be run by root")
	}
	if _, err := exec.LookPath("sudo"); err != nil && sudo {
		t.Skip("sudo is not installed")
	}
	name := fmt.Sprintf("lab-test-%d-%s", os.Getpid(), strings.ToLower(strings.TrimPrefix(t.Name(), "Test")))
	u := &ordinary{password: rand.Text()}
	must(t, "", "useradd", "--create-home", "--shell", "/bin/bash", name)
	t.Cleanup(func() {
		must(t, "", "userdel", "--remove", name)
		for _, path := range []string{u.sudoersFile(), "/run/sudo/ts/" + name, "/var/lib/sudo/lectured/" + name, u.trees()} {
			if err := os.RemoveAll(path); err != nil {
				t.Error(err)
			}
		}
	})
	must(t, name+":"+u.password, "chpasswd")
	var err error
	if u.User, err = user.Lookup(name); err != nil {
		t.Fatal(err)
	}
	u.uid, _ = strconv.Atoi(u.Uid)
	u.gid, _ = strconv.Atoi(u.Gid)
	if sudo {
		u.sudoers(t, "")
	}
	if err := os.Chmod(u.HomeDir, 0o700); err != nil {
		t.Fatal(err)
	}
	u.login(t)
	return u
}

// must runs a command as root, and returns what it writes.
func must(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return string(out)
}

func (u *ordinary) sudoersFile() string { return "/etc/sudoers.d/" + u.Username }

// trees is where root keeps what the user's machines are made from.
func (u *ordinary) trees() string { return "/var/lib/calico-cni-lab/cache/" + u.Uid }

func (u *ordinary) sudoers(t *testing.T, more string) {
	t.Helper()
	text := fmt.Sprintf("Defaults:%[1]s use_pty, lecture=never%s\n%[1]s ALL=(ALL) ALL\n", u.Username, more)
	must(t, text, "install", "-m", "0440", "/dev/stdin", u.sudoersFile())
}

// prompt is the shell's: with the exit status of the last command.
var prompt = regexp.MustCompile(`@(\d+)@ $`)

// login starts a shell in a new terminal.
func (u *ordinary) login(t *testing.T) {
	t.Helper()
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Fatal(err)
	}
	env := []string{"HOME=" + u.HomeDir, "USER=" + u.Username, "LOGNAME=" + u.Username, "TERM=dumb", "PATH=" + filepath.Dir(goTool) + ":/usr/local/bin:/usr/bin:/bin"}
	for _, name := range []string{"GOPROXY", "GOSUMDB", "GONOSUMDB"} {
		env = append(env, name+"="+strings.TrimSpace(must(t, "", "go", "env", name)))
	}
	shell := exec.Command("setpriv", "--reuid="+u.Uid, "--regid="+u.Gid, "--init-groups", "bash", "--noprofile", "--norc", "--noediting")
	shell.Env, shell.Dir = append(env, "PS1=@$?@ "), u.HomeDir
	if u.terminal, err = pty.StartWithSize(shell, &pty.Winsize{Rows: 50, Cols: 200}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = u.terminal.Close() // hangs up
		_ = shell.Wait()
	})
	u.reads(t, func(out string) bool { return prompt.MatchString(out) })
	u.types(t, "stty -echo; umask 077", 0)
}

// reads returns what comes on the terminal until it is enough. It gives sudo the password.
func (u *ordinary) reads(t *testing.T, enough func(string) bool) string {
	t.Helper()
	if err := u.terminal.SetReadDeadline(time.Now().Add(25 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	buf := make([]byte, 1<<16)
	for !enough(out.String()) {
		n, err := u.terminal.Read(buf)
		if err != nil {
			t.Fatalf("%v after:\n%s", err, out.String())
		}
		out.WriteString(strings.ReplaceAll(string(buf[:n]), "\r", ""))
		if strings.HasSuffix(out.String(), "[sudo] password for "+u.Username+": ") {
			u.asked++
			out.WriteString("\n")
			u.sends(t, u.password+"\n")
		}
	}
	return out.String()
}

func (u *ordinary) sends(t *testing.T, text string) {
	t.Helper()
	if _, err := u.terminal.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

// types types a command line, which has to end with a status, and returns what it writes.
func (u *ordinary) types(t *testing.T, line string, status int) string {
	t.Helper()
	start := time.Now()
	u.sends(t, line+"\n")
	out := u.reads(t, func(out string) bool { return prompt.MatchString(out) })
	end := prompt.FindStringSubmatchIndex(out)
	t.Logf("%s: %.1fs", line, time.Since(start).Seconds())
	if got := out[end[2]:end[3]]; got != strconv.Itoa(status) {
		t.Fatalf("%s: exit status %s, not %d\n%s", line, got, status, out)
	}
	return out[:end[0]]
}

// passes runs tests of a package, which must not be left out.
func (u *ordinary) passes(t *testing.T, pkg, pattern string, tests ...string) {
	t.Helper()
	out := u.types(t, fmt.Sprintf("~/%s.test -test.v -test.run '%s'", pkg, pattern), 0)
	for _, name := range tests {
		if !strings.Contains(out, "--- PASS: "+name+" ") {
			t.Errorf("%s did not pass:\n%s", name, out)
		}
	}
}

// interrupts types a command line, and Ctrl-C once it has written a text.
func (u *ordinary) interrupts(t *testing.T, line, after string) string {
	t.Helper()
	u.sends(t, line+"\n")
	out := u.reads(t, func(out string) bool { return strings.Contains(out, after) })
	start := time.Now()
	u.sends(t, "\x03")
	out += u.reads(t, func(out string) bool { return prompt.MatchString(out) })
	if took := time.Since(start); took > ending {
		t.Errorf("it took %s to end:\n%s", took, out)
	}
	return out
}

// startedBySudo are root's processes that this user started, but for the lab's machines and what runs on them: there, too, somebody with
// this user's number calls sudo, and a command that a run has left at work is waited for by the next.
func (u *ordinary) startedBySudo(l *lab) []string {
	var found []string
	here, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		l.t.Fatal(err)
	}
	all, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, file := range all {
		if pids, _ := os.Readlink(filepath.Join(filepath.Dir(file), "ns", "pid")); pids != here {
			continue
		}
		env, _ := os.ReadFile(file)
		line, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
		if strings.Contains("\x00"+string(env), "\x00SUDO_UID="+u.Uid+"\x00") && len(line) > 0 && !strings.Contains(string(line), l.home()+"/") {
			found = append(found, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return found
}

// checkout gives the user a checkout of what is tested here, and the compiled targets.
func (u *ordinary) checkout(t *testing.T, hardware string) *lab {
	t.Helper()
	l := newLab(t, hardware)
	l.name, l.dir = l.name+"-user", filepath.Join(u.HomeDir, "lab")
	l.copyTo(l.dir, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(u.uid), Gid: uint32(u.gid)}})
	yaml, err := os.ReadFile(filepath.Join(l.dir, "lab.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	l.write(strings.Replace(string(yaml), "name: calico-cni-lab", "name: "+l.name, 1))
	must(t, "", "install", "-m", "0755", l.mage, filepath.Join(u.HomeDir, "mage"))
	u.types(t, "cd ~/lab", 0)
	return l
}

// copyTo makes a directory with the files of the checkout that is tested, as somebody.
func (l *lab) copyTo(dir string, as *syscall.SysProcAttr) {
	l.t.Helper()
	checkout := exec.Command("bash", "-c", `umask 077; mkdir "$1" && tar --extract --directory="$1"`, "bash", dir)
	files := exec.Command("bash", "-c", "git ls-files -z --cached --others --exclude-standard | xargs -0 ls -d 2>/dev/null | tar --create --files-from=-")
	checkout.SysProcAttr, files.Dir = as, l.root
	pipe, err := files.StdoutPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	checkout.Stdin = pipe
	if err := files.Start(); err != nil {
		l.t.Fatal(err)
	}
	if out, err := checkout.CombinedOutput(); err != nil {
		l.t.Fatalf("%v\n%s", err, out)
	}
	if err := files.Wait(); err != nil {
		l.t.Fatal(err)
	}
}

// lab is a checkout with what this computer's caches have; of root's only the box, and in the long round without the look program: the user
// makes the rest.
func (u *ordinary) lab(t *testing.T) *lab {
	t.Helper()
	l := u.checkout(t, "nspawn")
	for _, pkg := range []string{"artifact", "command"} {
		binary := filepath.Join(t.TempDir(), pkg+".test")
		build := exec.Command("go", "test", "-c", "-o", binary, "./magefiles/internal/"+pkg)
		build.Dir = l.root
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		must(t, "", "install", "-m", "0755", binary, u.HomeDir)
	}
	u.copyCaches(t, true)
	t.Cleanup(func() {
		if _, err := os.Stat(l.home()); err == nil {
			u.types(t, "~/mage destroy", 0)
		}
	})
	return l
}

// copyCaches links the files of root's caches, and gives the user the directories of the one that is theirs. trees says whether the box
// of nspawn containers is wanted, too; in the long round the look program is compiled anew then.
func (u *ordinary) copyCaches(t *testing.T, trees bool) {
	t.Helper()
	const script = `set -euo pipefail
		install -d -o "$2" -g "$3" -m 0700 "$1"
		find "$1/calico-cni-lab" -type d -exec chown "$2:$3" {} +
		if [ "$5" = false ]; then exit; fi
		if [ "$6" = long ]; then rm -rf "$1"/calico-cni-lab/look-*; fi
		mkdir -p "$4"
		for box in /var/lib/calico-cni-lab/cache/0/box-????????????????; do
			if [ -d "$box/root" ]; then cp -al "$box" "$4/" 2>/dev/null || cp -a "$box" "$4/"; fi
		done`
	cache := filepath.Join(u.HomeDir, ".cache")
	linkCache(t, filepath.Join(cache, "calico-cni-lab"))
	must(t, "", "bash", "-c", script, "bash", cache, u.Uid, u.Gid, u.trees(), strconv.FormatBool(trees), round)
}

// linkCache gives a new cache the files that the user's has who runs the tests.
func linkCache(t *testing.T, to string) {
	t.Helper()
	cache, err := run.CacheDir()
	if err != nil {
		t.Fatal(err)
	}
	// What isn't finished may be gone in a moment.
	const script = `set -euo pipefail
		mkdir -p "$1" "$2"
		how=-a # another file system, or another mount of the same
		if ln "$1/CACHEDIR.TAG" "$2/linked" 2>/dev/null; then how=-al; rm "$2/linked"; fi
		find "$1" -mindepth 1 -maxdepth 1 -type d ! -name '*.part-*' -exec cp "$how" -t "$2" -- {} +`
	must(t, "", "bash", "-c", script, "bash", cache, to)
}
