package remote

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
)

// machine is a real SSH server on a unix socket. It runs command lines with bash, without sudo.
type machine struct {
	socket   string
	host     ssh.Signer
	listener net.Listener
	mu       sync.Mutex
	conns    []net.Conn
	open     int // sessions
	most     int
	booting  atomic.Bool // refuses the first login
	paths    *strings.Replacer
}

// dialled is how often somebody connected.
func (m *machine) dialled() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.conns)
}

func signer(t *testing.T) ssh.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// newMachine returns a server that doesn't listen yet, and its endpoint.
func newMachine(t *testing.T) (*machine, Endpoint) {
	t.Helper()
	dir, err := os.MkdirTemp("", "ssh") //nolint:usetesting // t.TempDir is too long for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	m := &machine{socket: filepath.Join(dir, "s"), host: signer(t)}
	t.Cleanup(m.stop)
	return m, Endpoint{Machine: "calico1", Network: "unix", Address: m.socket, User: "vagrant", Keys: []Key{{Signer: signer(t)}}, HostKey: m.host.PublicKey()}
}

func (m *machine) listen(t *testing.T, user ssh.PublicKey) {
	l, err := net.Listen("unix", m.socket)
	if err != nil {
		t.Error(err)
		return
	}
	cfg := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if m.booting.CompareAndSwap(true, false) || string(key.Marshal()) != string(user.Marshal()) {
			return nil, errors.New("not that key")
		}
		return nil, nil
	}}
	cfg.AddHostKey(m.host)
	m.mu.Lock()
	m.listener = l
	m.mu.Unlock()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			m.mu.Lock()
			m.conns = append(m.conns, c)
			m.mu.Unlock()
			go m.serve(c, cfg)
		}
	}()
}

func (m *machine) stop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.listener != nil {
		m.listener.Close()
	}
	for _, c := range m.conns {
		c.Close()
	}
}

func (m *machine) serve(c net.Conn, cfg *ssh.ServerConfig) {
	_, chans, reqs, err := ssh.NewServerConn(c, cfg)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(reqs)
	for nc := range chans {
		m.mu.Lock()
		m.open++
		m.most = max(m.most, m.open)
		over := m.open > 10 // OpenSSH's default
		m.mu.Unlock()
		if over {
			_ = nc.Reject(ssh.ResourceShortage, "too many sessions")
			continue
		}
		ch, reqs, err := nc.Accept()
		if err != nil {
			return
		}
		go m.session(ch, reqs)
	}
}

func (m *machine) session(ch ssh.Channel, reqs <-chan *ssh.Request) {
	defer func() {
		m.mu.Lock()
		m.open--
		m.mu.Unlock()
		ch.Close()
	}()
	for req := range reqs {
		if req.Type != "exec" {
			_ = req.Reply(false, nil)
			continue
		}
		var payload struct{ Line string }
		_ = ssh.Unmarshal(req.Payload, &payload)
		_ = req.Reply(true, nil)
		line := strings.TrimPrefix(payload.Line, "sudo -n ")
		if m.paths != nil {
			line = m.paths.Replace(line)
		}
		cmd := exec.Command("bash", "-c", line)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = ch, ch, ch.Stderr()
		status := 0
		if err := cmd.Start(); err != nil {
			status = 127
		} else {
			stop := make(chan struct{})
			go func() { // the client's side is closed, or a signal comes
				for range reqs {
					_ = cmd.Process.Kill()
				}
				close(stop)
			}()
			if cmd.Wait() != nil {
				status = cmd.ProcessState.ExitCode()
			}
		}
		_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{uint32(status)}))
		return
	}
}

func dialled(t *testing.T) (*Host, *machine) {
	t.Helper()
	m, e := newMachine(t)
	m.listen(t, e.Keys[0].Signer.PublicKey())
	h, err := Dial(t.Context(), e, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h, m
}

func TestRun(t *testing.T) {
	h, _ := dialled(t)
	for _, args := range [][]string{{"it's", "a b", "$HOME", "x\ny"}, {"*", "`id`", `"`}} {
		out, err := h.Run(t.Context(), append([]string{"printf", "%s|"}, args...)...)
		if want := strings.Join(args, "|") + "|"; out != want || err != nil {
			t.Errorf("Run: %q, %v; want %q", out, err, want)
		}
	}
	out, err := h.Feed(t.Context(), strings.NewReader("input"), "cat")
	if out != "input" || err != nil {
		t.Errorf("Feed: %q, %v", out, err)
	}
	if out, err := h.Script(t.Context(), "echo $2-$1", "a", "b c"); out != "b c-a" || err != nil {
		t.Errorf("Script: %q, %v", out, err)
	}
	_, err = h.Run(t.Context(), "bash", "-c", "echo why >&2; exit 9")
	var ce *command.Error
	if !errors.As(err, &ce) || ce.Status != 9 || ce.Where != "calico1" || ce.Stderr != "why\n" {
		t.Errorf("exit 9: %v", err)
	}
}

// TestManySessions: however many commands run at once, the machine never sees more sessions than it allows.
func TestManySessions(t *testing.T) {
	h, m := dialled(t)
	var wg sync.WaitGroup
	errs := make([]error, 40)
	for i := range errs {
		wg.Go(func() { _, errs[i] = h.Run(t.Context(), "true") })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
	if m.most > 10 {
		t.Errorf("%d sessions at once", m.most)
	}
}

func TestCancel(t *testing.T) {
	h, _ := dialled(t)
	ctx, cancel := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, errors.New("enough"))
	defer cancel()
	if _, err := h.Run(ctx, "sleep", "60"); err == nil || !strings.Contains(err.Error(), "enough") {
		t.Errorf("error: %v", err)
	}
	if out, err := h.Run(t.Context(), "echo", "still there"); out != "still there" || err != nil {
		t.Errorf("the connection is gone: %q, %v", out, err)
	}
}

// TestDeadlineThere: the machine ends a command whose deadline is over, whether it hears from here or not.
func TestDeadlineThere(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	line := call{args: []string{"sleep", "1 0"}, root: true, limit: time.Minute}.line(ctx, "mark")
	if !strings.HasPrefix(line, "sudo -n timeout --kill-after=1 ") || !strings.HasSuffix(line, " sleep '1 0'") || strings.Contains(line, "3601") {
		t.Errorf("line: %s", line)
	}
	if line := (call{args: []string{"true"}, limit: 2 * time.Minute}).line(t.Context(), "mark"); !strings.HasPrefix(line, "timeout --kill-after=1 120.000 sh -c ") {
		t.Errorf("line without a deadline: %s", line)
	}
}

// TestGivenUp: a command that is given up is ended on the machine, with its children, and what the machine makes has root's umask.
func TestGivenUp(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	h, _ := dialled(t)
	if out, err := h.Sudo(t.Context(), "bash", "-c", "umask"); out != "0022" || err != nil {
		t.Errorf("umask: %q, %v", out, err)
	}
	file := filepath.Join(t.TempDir(), "pid")
	ctx, cancel := context.WithCancel(t.Context())
	running := func() bool { return exec.Command("pgrep", "--pidfile", file).Run() == nil }
	go func() {
		for ctx.Err() == nil && !running() {
			runtime.Gosched()
		}
		cancel()
	}()
	if _, err := h.Sudo(ctx, "bash", "-c", `sleep 300 & echo $! >"$1"; wait`, "bash", file); !errors.Is(err, context.Canceled) {
		t.Errorf("error: %v", err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for running() {
		if time.Now().After(deadline) {
			t.Fatal("its child is still at work after 10 s")
		}
	}
}

// TestEnder: a command is ended also where its ender's process comes before it in /proc, as 100 comes before 98.
func TestEnder(t *testing.T) {
	const mark = "the-mark"
	target, end := call{args: []string{"sleep", "300"}, limit: 5 * time.Second}, ender(mark, false)
	cmd := exec.CommandContext(t.Context(), "unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child", "bash", "-c", `
		if ! echo 97 >/proc/sys/kernel/ns_last_pid; then exit 77; fi
		eval "exec $1" & target=$!
		until grep -q ^timeout "/proc/$target/cmdline"; do :; done
		eval "$2"
		printf "process $target: its ender ended with $?, "
		wait $target
		echo "itself with $?"`, "bash", target.line(t.Context(), mark), end.line(t.Context(), "end"))
	cmd.Stdin = end.stdin
	out, err := cmd.CombinedOutput()
	if err != nil && len(out) > 0 && !strings.Contains(string(out), "ended with") {
		t.Skipf("no PID namespaces here: %s", out)
	}
	if want := "process 98: its ender ended with 0, itself with 143\n"; string(out) != want || err != nil { // 128 and SIGTERM
		t.Errorf("%v\n%s, not %s", err, out, want)
	}
}

// TestExec: the output comes as it is, and the log has little of it.
func TestExec(t *testing.T) {
	h, _ := dialled(t)
	path := filepath.Join(t.TempDir(), "log")
	log, err := command.OpenLog(path)
	if err != nil {
		t.Fatal(err)
	}
	h.log = log
	out, err := h.Exec(t.Context(), time.Minute, strings.NewReader(strings.Repeat("x", 100_000)+" \n"), "cat")
	if len(out) != 100_002 || err != nil {
		t.Errorf("Exec: %d bytes, %v", len(out), err)
	}
	if data, err := os.ReadFile(path); err != nil || len(data) > 500 || !strings.Contains(string(data), "xxx... (100002 bytes)") {
		t.Errorf("log: %d bytes, %v", len(data), err)
	}
	if _, err := h.Exec(t.Context(), 50*time.Millisecond, nil, "sleep", "10"); err == nil || !strings.Contains(err.Error(), "not done after 50ms") {
		t.Errorf("too long: %v", err)
	}
}

// TestFlood: a machine that writes without end is an error, and what it writes is not kept.
func TestFlood(t *testing.T) {
	h, _ := dialled(t)
	out, err := h.Exec(t.Context(), time.Minute, nil, "head", "-c", "70000000", "/dev/zero")
	if err == nil || !strings.Contains(err.Error(), "more than 64 MB") || len(out) > mostOutput {
		t.Errorf("%d bytes, %v", len(out), err)
	}
	if out, err := h.Run(t.Context(), "echo", "there"); out != "there" || err != nil {
		t.Errorf("afterwards: %q, %v", out, err)
	}
}

func TestConnectionLost(t *testing.T) {
	h, m := dialled(t)
	var err error
	done := make(chan struct{})
	go func() { _, err = h.Run(t.Context(), "sleep", "60"); close(done) }()
	for {
		m.mu.Lock()
		open := m.open
		m.mu.Unlock()
		if open > 0 {
			break
		}
	}
	m.stop()
	<-done
	if err == nil || !strings.Contains(err.Error(), "connection") || !strings.Contains(err.Error(), "go tool mage status") {
		t.Errorf("error: %v", err)
	}
}

func TestShared(t *testing.T) {
	shares := Shares{{Here: "/cache/a", There: "/run/lab-share"}}
	for path, want := range map[string]string{
		"/cache/a/go-1/go.tar": "/run/lab-share/go-1/go.tar",
		"/cache/ab/go.tar":     "",
		"/etc/passwd":          "",
		"/cache/a/../x":        "",
	} {
		if got, ok := shares.Path(path); got != want || ok != (want != "") {
			t.Errorf("Path(%s) = %q, %t", path, got, ok)
		}
	}
}
