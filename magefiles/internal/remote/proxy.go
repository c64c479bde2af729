package remote

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
)

// proxied is a connection over a command's standard input and output.
type proxied struct {
	net.Conn // this process' end of a socket pair, which has deadlines as any other connection
	args     []string
	cmd      *exec.Cmd
	stderr   tail
	ended    chan struct{}
	closing  sync.Once
}

// proxyGrace is how long a proxy may take to end when its input has.
const proxyGrace = 2 * time.Second

// proxy starts a command as a connection. It ends with the connection.
func proxy(args []string) (net.Conn, error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	defer ours.Close() // net.FileConn has a copy
	conn, err := net.FileConn(ours)
	if err != nil {
		return nil, err
	}
	p := &proxied{Conn: conn, args: args, cmd: exec.Command(args[0], args[1:]...), ended: make(chan struct{})}
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = theirs, theirs, &p.stderr
	// Ctrl-C at a terminal is for this process, which may still have something to say to the machine.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.WaitDelay = proxyGrace
	if err := p.cmd.Start(); err != nil {
		conn.Close()
		return nil, err
	}
	go func() {
		_ = p.cmd.Wait() // how it ended is seen by who reads from it
		close(p.ended)
	}()
	return p, nil
}

// socketPair returns two ends that no other process inherits.
func socketPair() (ours, theirs *os.File, err error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	for _, fd := range fds {
		syscall.CloseOnExec(fd)
	}
	return os.NewFile(uintptr(fds[0]), "proxy"), os.NewFile(uintptr(fds[1]), "proxy"), nil
}

// Close ends the command.
func (p *proxied) Close() error {
	var err error
	p.closing.Do(func() {
		err = p.Conn.Close()
		timer := time.NewTimer(proxyGrace)
		defer timer.Stop()
		select {
		case <-p.ended:
		case <-timer.C:
			_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
			<-p.ended
		}
	})
	return err
}

// explain adds to the error of a handshake over a closed connection what its command said. Close comes first.
func (p *proxied) explain(err error) error {
	if said := p.stderr.String(); said != "" {
		return fmt.Errorf("%s: %s (%w)", command.Line(p.args...), said, err)
	}
	return err
}

// tail keeps the end of what is written.
type tail struct {
	mu   sync.Mutex
	text []byte
}

// tailSize is enough for what went wrong.
const tailSize = 2 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b...)
	t.text = t.text[max(0, len(t.text)-tailSize):]
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.text))
}
