package observe

import (
	"crypto/ed25519"
	"crypto/rand"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
)

// server is an SSH server on a unix socket. What a command there prints, and its exit status, answer says.
type server struct {
	answer func(line string, stdin []byte) (stdout string, status uint32)
	talk   func(line string, ch io.ReadWriter) (status uint32) // instead of answer, while stdin is open

	mu    sync.Mutex
	lines []string // that it was asked to run
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

// serve starts a server for a machine, until the test ends.
func serve(t *testing.T, machine string, s *server) remote.Endpoint {
	t.Helper()
	dir, err := os.MkdirTemp("", "ssh") //nolint:usetesting // t.TempDir is too long for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	host := signer(t)
	cfg := &ssh.ServerConfig{PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return nil, nil }}
	cfg.AddHostKey(host)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go s.connection(c, cfg)
		}
	}()
	return remote.Endpoint{Machine: machine, Network: "unix", Address: l.Addr().String(), User: "vagrant", Keys: []remote.Key{{Signer: signer(t)}}, HostKey: host.PublicKey()}
}

func (s *server) connection(c net.Conn, cfg *ssh.ServerConfig) {
	_, chans, reqs, err := ssh.NewServerConn(c, cfg)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(reqs)
	for nc := range chans {
		ch, reqs, err := nc.Accept()
		if err != nil {
			return
		}
		go s.session(ch, reqs)
	}
}

func (s *server) session(ch ssh.Channel, reqs <-chan *ssh.Request) {
	defer ch.Close()
	for req := range reqs {
		if req.Type != "exec" {
			_ = req.Reply(false, nil)
			continue
		}
		var payload struct{ Line string }
		_ = ssh.Unmarshal(req.Payload, &payload)
		_ = req.Reply(true, nil)
		s.mu.Lock()
		s.lines = append(s.lines, payload.Line)
		s.mu.Unlock()
		var status uint32
		if s.talk != nil {
			status = s.talk(payload.Line, ch)
		} else {
			stdin, _ := io.ReadAll(ch)
			var stdout string
			stdout, status = s.answer(payload.Line, stdin)
			_, _ = io.WriteString(ch, stdout)
		}
		_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
		return
	}
}

// ran are the command lines that it was asked to run.
func (s *server) ran() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.lines)
}
