package command

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestQuote: what a shell makes of the quoted line is what was quoted.
func TestQuote(t *testing.T) {
	args := []string{"", "plain", "with space", "it's", `"$HOME" \n`, "a;b|c&d", "`id`", "line\nbreak", "ünïcode", "*?[x]", "~", "!x", "#x"}
	out, err := exec.Command("bash", "-c", `printf '%s\0' `+Quote(args...)).Output()
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	if diff := cmp.Diff(args, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := Quote("docker", "run", "--name=x"); got != "docker run --name=x" {
		t.Errorf("needless quotes: %s", got)
	}
}

func TestLine(t *testing.T) {
	if got := Line("sudo", "bash", "-c", "set -e\nrm x", "put-files.sh", "a b"); got != "sudo put-files.sh 'a b'" {
		t.Errorf("Line: %s", got)
	}
	if got := Line("bash", "-c", "true", "x"); got != "bash -c true x" {
		t.Errorf("Line: %s", got)
	}
}

func TestError(t *testing.T) {
	var stderr strings.Builder
	for i := range 12 {
		stderr.WriteString("line " + strconv.Itoa(i) + "\n\n")
	}
	err := &Error{Where: "calico1", Line: "docker run x", Status: 125, Stderr: stderr.String(), Log: "/lab/.lab/logs/x.log"}
	want := `on calico1: docker run x
  exit status 125
  | line 4
  | line 5
  | line 6
  | line 7
  | line 8
  | line 9
  | line 10
  | line 11
  full log: /lab/.lab/logs/x.log`
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func runner(t *testing.T) (*Runner, string) {
	path := filepath.Join(t.TempDir(), "run.log")
	log, err := OpenLog(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	return &Runner{Log: log}, path
}

func TestRun(t *testing.T) {
	r, path := runner(t)
	out, err := r.Run(t.Context(), Cmd{Args: []string{"cat"}, Stdin: strings.NewReader("a secret")})
	if out != "a secret" || err != nil {
		t.Errorf("cat: %q, %v", out, err)
	}
	out, err = r.Run(t.Context(), Cmd{Args: []string{"bash", "-c", "echo out; echo err >&2; exit 3"}, Hint: "do this"})
	var ce *Error
	if !errors.As(err, &ce) || ce.Status != 3 || Status(err) != 3 || ce.Stderr != "err\n" || ce.Where != Here || out != "out\n" {
		t.Errorf("exit 3: %q, %v", out, err)
	}
	if !strings.Contains(err.Error(), "what to do: do this") || !strings.Contains(err.Error(), path) {
		t.Errorf("error says neither what to do nor where the log is: %v", err)
	}
	if _, err := r.Run(t.Context(), Cmd{Args: []string{"no-such-program"}}); !errors.Is(err, exec.ErrNotFound) || Status(err) != -1 {
		t.Errorf("no such program: %v", err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"this computer$ cat", "out| out", "err| err", "exit status 3"} {
		if !strings.Contains(string(data), want) {
			t.Errorf("no %q in the log:\n%s", want, data)
		}
	}
	// cat's output is logged; what went in is not logged as such.
	if strings.Count(string(data), "a secret") != 1 {
		t.Errorf("the log has standard input:\n%s", data)
	}
}

// TestRunEnds: a command that is cancelled or takes too long ends with its children, also those that don't listen, and says why.
func TestRunEnds(t *testing.T) {
	why := errors.New("interrupted")
	for _, c := range []struct {
		name  string
		root  bool
		limit time.Duration
		want  string
	}{
		{"timeout", false, 3 * time.Second, "not done after 3s"},
		{"cancel", false, time.Minute, "interrupted"},
		{"timeout as root", true, 3 * time.Second, "not done after 3s"},
		{"cancel as root", true, time.Minute, "interrupted"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r, _ := runner(t)
			if _, err := r.Run(t.Context(), Cmd{Args: []string{"true"}, Root: c.root}); err != nil {
				t.Skipf("commands can't be run as root: %v", err)
			}
			file := filepath.Join(t.TempDir(), "pid")
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			if c.want == "interrupted" {
				go func() {
					poll(t, func() bool { return readPid(file) > 0 })
					cancel(why)
				}()
			}
			_, err := r.Run(ctx, Cmd{Args: []string{"bash", "-c", `(trap "" INT TERM; exec sleep 300) & echo $! >"$1"; wait`, "bash", file}, Timeout: c.limit, Grace: 500 * time.Millisecond, Root: c.root})
			if err == nil || !strings.Contains(err.Error(), c.want) || Status(err) != -1 {
				t.Errorf("error: %v", err)
			}
			pid := readPid(file)
			poll(t, func() bool { return gone(pid) })
		})
	}
}

// TestRoot: root's commands have root's umask and the variables that they need, and their input and output go through pipes.
func TestRoot(t *testing.T) {
	r, path := runner(t)
	if _, err := r.Root(t.Context(), "true"); err != nil {
		t.Skipf("commands can't be run as root: %v", err)
	}
	t.Setenv("HTTPS_PROXY", "http://user:hidden@proxy.example:3128")
	defer syscall.Umask(syscall.Umask(0o077))
	var out strings.Builder
	in := strings.Repeat("x", 1<<17) // more than a pipe holds
	_, err := r.Run(t.Context(), Cmd{
		Args: []string{"bash", "-c", `umask; echo "$A|$https_proxy|$HTTPS_PROXY|$LC_ALL"; sha256sum; ! [ -e /proc/self/fd/9 ]`},
		Env:  []string{"A=a b\nc"}, Stdin: strings.NewReader(in), Stdout: &out, Root: true,
	})
	const proxy = "http://user:hidden@proxy.example:3128"
	sum := sha256.Sum256([]byte(in))
	want := "0022\na b\nc|" + proxy + "|" + proxy + "|C.UTF-8\n" + hex.EncodeToString(sum[:]) + "  -\n"
	if err != nil || out.String() != want {
		t.Errorf("%v\n%s", err, out.String())
	}
	// A command may end before it has read everything.
	_, err = r.Run(t.Context(), Cmd{Args: []string{"bash", "-c", "exit 3"}, Stdin: strings.NewReader(in), Root: true})
	if Status(err) != 3 || strings.Contains(err.Error(), "as-root.sh") {
		t.Errorf("exit 3: %v", err)
	}
	if _, err := r.Root(t.Context(), "no-such-program"); Status(err) != 127 {
		t.Errorf("no such program: %v", err)
	}
	if log, err := os.ReadFile(path); err != nil || strings.Contains(string(log), "hidden") {
		t.Errorf("the log has a proxy's password (%v):\n%s", err, log)
	}
}

func readPid(file string) int {
	data, _ := os.ReadFile(file)
	pid, _ := strconv.Atoi(strings.TrimSpace(string(data)))
	return pid
}

// gone: a zombie whose parent has not looked yet is gone, too.
func gone(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err != nil && syscall.Kill(pid, 0) != nil || strings.Contains(string(stat), ") Z ")
}

func poll(t *testing.T, done func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Error("not in 10 s")
			return
		}
	}
}

// TestLogMasks: what a run writes down is for its user alone, and no secret is in it, though lines of it are left out.
func TestLogMasks(t *testing.T) {
	r, path := runner(t)
	const begin, end = "-----BEGIN PRIVATE " + "KEY-----", "-----END PRIVATE " + "KEY-----"
	key := begin + strings.Repeat("\n"+strings.Repeat("c2VjcmV0", 8), 250) + "\n" + end + "\nafter\n"
	_, err := r.Run(t.Context(), Cmd{Args: []string{"sh", "-c", "cat; echo $0 >&2", "A_PASSWORD=hunter2"}, Stdin: strings.NewReader(key)})
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, gone := range []string{"c2VjcmV0", "hunter2"} {
		if strings.Contains(string(data), gone) {
			t.Errorf("%s is in the log", gone)
		}
	}
	if !strings.Contains(string(data), "out| after") {
		t.Errorf("what is harmless is gone:\n%s", data)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

// TestCallerEnds: root's commands end with the process that started them, however it ends.
func TestCallerEnds(t *testing.T) {
	const variable = "LAB_TEST_PID_FILE"
	const script = `sleep 300 & echo $! >"$1"; wait`
	if file := os.Getenv(variable); file != "" { // this is the caller
		_, err := new(Runner).Root(t.Context(), "bash", "-c", script, "bash", file)
		t.Fatalf("it has ended: %v", err)
	}
	r, _ := runner(t)
	if _, err := r.Root(t.Context(), "true"); err != nil {
		t.Skipf("commands can't be run as root: %v", err)
	}
	file := filepath.Join(t.TempDir(), "pid")
	caller := exec.Command(os.Args[0], "-test.run=^TestCallerEnds$")
	caller.Env = append(os.Environ(), variable+"="+file)
	if err := caller.Start(); err != nil {
		t.Fatal(err)
	}
	poll(t, func() bool { return readPid(file) > 0 })
	if err := caller.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = caller.Wait()
	pid := readPid(file)
	poll(t, func() bool { return gone(pid) })
}

// ticket is after how long sudo forgets the password, in a test that e2e's TestUser starts.
func ticket(t *testing.T) time.Duration {
	limit, err := time.ParseDuration(os.Getenv("LAB_TEST_TICKET"))
	if err != nil {
		t.Skip("needs a sudo that forgets the password soon; TestUser in e2e has one")
	}
	return limit
}

// TestTicket: while nothing is done as root, sudo's ticket is kept.
func TestTicket(t *testing.T) {
	limit := ticket(t)
	r, _ := runner(t)
	r.keepRoot(t.Context(), limit/6)
	<-time.After(2 * limit)
	if _, err := r.Root(t.Context(), "true"); err != nil {
		t.Errorf("the ticket is gone: %v", err)
	}
}

// TestEndsWithoutTicket: root's command is ended when sudo would want a password for another.
func TestEndsWithoutTicket(t *testing.T) {
	ticket(t)
	r, _ := runner(t)
	file := filepath.Join(t.TempDir(), "pid")
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		poll(t, func() bool { return readPid(file) > 0 })
		if out, err := exec.Command("sudo", "-k").CombinedOutput(); err != nil {
			t.Errorf("sudo -k: %v: %s", err, out)
		}
		cancel()
	}()
	if _, err := r.Root(ctx, "bash", "-c", `sleep 300 & echo $! >"$1"; wait`, "bash", file); err == nil {
		t.Error("no error")
	}
	if _, err := r.Root(t.Context(), "true"); err == nil {
		t.Error("sudo wants no password")
	}
	pid := readPid(file)
	poll(t, func() bool { return gone(pid) })
}
