// Package remote is one SSH connection to a machine: commands, files, and errors that tell what happened.
package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
)

// Endpoint is how a machine is reached. Nothing past this package knows over what.
type Endpoint struct {
	Machine string
	Network string // "tcp" or "unix"
	Address string // host:port, or the socket's path
	User    string
	Keys    []Key         // the user's
	HostKey ssh.PublicKey // the machine's; no other is accepted
	Shares  Shares        // directories of this computer that the machine sees too
}

// Key is a private key and the file it is in.
type Key struct {
	File   string
	Signer ssh.Signer
}

// ReadKey reads a private key that has no passphrase.
func ReadKey(file string) (Key, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return Key{}, err
	}
	signer, err := ssh.ParsePrivateKey(data)
	if err != nil {
		return Key{}, fmt.Errorf("private key %s: %w", file, err)
	}
	return Key{file, signer}, nil
}

// Share is a directory that this computer and a machine both see.
type Share struct{ Here, There string }

// Shares are all of a machine's.
type Shares []Share

// Path gives the path under which the machine itself sees a file of this computer.
func (all Shares) Path(path string) (string, bool) {
	for _, s := range all {
		if rel, err := filepath.Rel(s.Here, path); err == nil && filepath.IsLocal(rel) {
			return filepath.Join(s.There, rel), true
		}
	}
	return "", false
}

// Host is a machine with an open connection. It is safe for concurrent use.
type Host struct {
	Name     string
	user     string
	client   *ssh.Client
	log      *command.Log
	shares   Shares
	sessions chan struct{} // one token for each session that may be open

	mu    sync.Mutex
	login Login
}

// Login is the user that a machine is entered as.
type Login struct{ User, Group, Home string }

// Login asks the machine once.
func (h *Host) Login(ctx context.Context) (Login, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.login.Home != "" {
		return h.login, nil
	}
	out, err := h.Run(ctx, "sh", "-c", `id -gn && printf %s "$HOME"`)
	if err != nil {
		return Login{}, err
	}
	group, home, _ := strings.Cut(out, "\n")
	if !strings.HasPrefix(home, "/") {
		return Login{}, fmt.Errorf("%s: user %s has no home directory: %q", h.Name, h.user, home)
	}
	h.login = Login{h.user, group, home}
	return h.login, nil
}

// maxSessions stays under OpenSSH's default of ten sessions a connection (MaxSessions in sshd_config).
const maxSessions = 8

// commandTimeout ends a remote command whose context sets no earlier deadline.
const commandTimeout = 2 * time.Minute

// transferTimeout is commandTimeout for commands that are sent a file: 100 MB into a virtual machine whose CPU is
// emulated take more than a minute.
const transferTimeout = 10 * time.Minute

// Dial connects, and keeps trying until ctx ends: a machine that boots refuses connections at first,
// and logins a little longer (pam_nologin). A wrong host key is final.
func Dial(ctx context.Context, e Endpoint, log *command.Log) (*Host, error) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var last error // the last that says more than that time is over
	for {
		c, err := dial(ctx, e)
		if err == nil {
			log.Printf("connected to %s (%s)", e.Machine, e.Network)
			return newHost(e, c, log), nil
		}
		var wrongKey *hostKeyError
		if errors.As(err, &wrongKey) {
			return nil, err
		}
		var timeout net.Error
		if last == nil || ctx.Err() == nil && !(errors.As(err, &timeout) && timeout.Timeout()) {
			last = err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("%s does not answer SSH: %w (%w)", e.Machine, last, context.Cause(ctx))
		}
	}
}

func newHost(e Endpoint, c *ssh.Client, log *command.Log) *Host {
	return &Host{Name: e.Machine, user: e.User, client: c, log: log, shares: e.Shares, sessions: make(chan struct{}, maxSessions)}
}

type hostKeyError struct{ machine string }

func (e *hostKeyError) Error() string {
	return fmt.Sprintf("%s shows another SSH host key than the one it was created with; it is not the lab's machine. "+
		"If you replaced it yourself: go tool mage destroy, then go tool mage verify", e.machine)
}

func dial(ctx context.Context, e Endpoint) (*ssh.Client, error) {
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, e.Network, e.Address)
	if err != nil {
		return nil, err
	}
	// The handshake knows no context.
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	var signers []ssh.Signer
	for _, k := range e.Keys {
		signers = append(signers, k.Signer)
	}
	cfg := &ssh.ClientConfig{
		User: e.User,
		Auth: []ssh.AuthMethod{ssh.PublicKeys(signers...)},
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			if !bytes.Equal(key.Marshal(), e.HostKey.Marshal()) {
				return &hostKeyError{e.Machine}
			}
			return nil
		},
		HostKeyAlgorithms: algorithms(e.HostKey),
	}
	c, chans, reqs, err := ssh.NewClientConn(conn, e.Machine, cfg)
	if err != nil {
		conn.Close()
		return nil, err
	}
	_ = conn.SetDeadline(time.Time{})
	return ssh.NewClient(c, chans, reqs), nil
}

// algorithms are the signatures that a host key can make: RSA keys make newer ones than their type's name says.
func algorithms(key ssh.PublicKey) []string {
	if key.Type() == ssh.KeyAlgoRSA {
		return []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
	}
	return []string{key.Type()}
}

// ShownHostKey gives the host key that a machine shows, for a first contact. It keeps trying until ctx ends.
func ShownHostKey(ctx context.Context, e Endpoint) (ssh.PublicKey, error) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		key, err := shownHostKey(ctx, e)
		if err == nil {
			return key, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("%s shows no SSH host key: %w (%w)", e.Machine, err, context.Cause(ctx))
		}
	}
}

func shownHostKey(ctx context.Context, e Endpoint) (shown ssh.PublicKey, err error) {
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, e.Network, e.Address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	// The handshake is given up as soon as the key is known: nobody logs in.
	errSeen := errors.New("seen")
	_, _, _, err = ssh.NewClientConn(conn, e.Machine, &ssh.ClientConfig{
		User:              e.User,
		HostKeyAlgorithms: []string{ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoRSASHA512},
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			shown = key
			return errSeen
		},
	})
	if shown != nil {
		return shown, nil
	}
	return nil, err
}

// Close ends the connection and every session on it.
func (h *Host) Close() error { return h.client.Close() }

// Run runs a command as the login user and gives its standard output without the space around it.
func (h *Host) Run(ctx context.Context, args ...string) (string, error) {
	out, err := h.exec(ctx, commandTimeout, nil, args)
	return strings.TrimSpace(out), err
}

// Sudo is Run as root.
func (h *Host) Sudo(ctx context.Context, args ...string) (string, error) {
	return h.Run(ctx, append([]string{"sudo", "-n"}, args...)...)
}

// Script runs a shell script as root, with args as $1 and on.
func (h *Host) Script(ctx context.Context, script string, args ...string) (string, error) {
	out, err := h.exec(ctx, commandTimeout, strings.NewReader(script), append([]string{"sudo", "-n", "bash", "-s", "--"}, args...))
	return strings.TrimSpace(out), err
}

// Feed runs a command as root with stdin as its standard input.
func (h *Host) Feed(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	out, err := h.exec(ctx, transferTimeout, stdin, append([]string{"sudo", "-n"}, args...))
	return strings.TrimSpace(out), err
}

func (h *Host) exec(ctx context.Context, limit time.Duration, stdin io.Reader, args []string) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not done after %s", limit))
	defer cancel()
	var stdout, stderr bytes.Buffer
	start := time.Now()
	err := h.session(ctx, bounded(ctx, args), stdin, &stdout, &stderr)
	h.log.Command(h.Name, args, time.Since(start), stdout.String(), stderr.String(), err)
	if err == nil {
		return stdout.String(), nil
	}
	ce := &command.Error{Where: h.Name, Line: command.Line(args...), Status: -1, Stderr: stderr.String(), Log: h.log.Path(), Err: err}
	var exit *ssh.ExitError
	if ctx.Err() != nil {
		ce.Err = context.Cause(ctx)
	} else if errors.As(err, &exit) && exit.Signal() == "" {
		ce.Status = exit.ExitStatus()
	}
	return stdout.String(), ce
}

// bounded is the command line, with ctx's deadline known to the machine too: a session that is closed from here ends
// no command there, and one that waits for ever would stay.
func bounded(ctx context.Context, args []string) string {
	limit := commandTimeout
	if deadline, ok := ctx.Deadline(); ok {
		limit = time.Until(deadline)
	}
	return command.Quote(append([]string{"timeout", "--kill-after=1", fmt.Sprintf("%.3f", max(limit.Seconds(), 0.001))}, args...)...)
}

func (h *Host) session(ctx context.Context, line string, stdin io.Reader, stdout, stderr io.Writer) error {
	select {
	case h.sessions <- struct{}{}:
		defer func() { <-h.sessions }()
	case <-ctx.Done():
		return ctx.Err()
	}
	// A machine that hangs answers nothing, not even the opening of a session: wait beside ctx.
	done := make(chan error, 1)
	opened := make(chan *ssh.Session, 1)
	go func() {
		s, err := h.client.NewSession()
		if err != nil {
			done <- err
			return
		}
		defer s.Close()
		opened <- s
		s.Stdin, s.Stdout, s.Stderr = stdin, stdout, stderr
		done <- s.Run(line)
	}()
	select {
	case err := <-done:
		var exit *ssh.ExitError
		if err != nil && !errors.As(err, &exit) {
			return fmt.Errorf("the SSH connection was lost (%w); see: go tool mage status", err)
		}
		return err
	case <-ctx.Done():
		select {
		case s := <-opened:
			_ = s.Signal(ssh.SIGKILL)
			_ = s.Close()
			// After Close nobody writes to stdout and stderr any more.
			select {
			case <-done:
			case <-time.After(time.Second):
				_ = h.client.Close()
				<-done
			}
		default:
			_ = h.client.Close()
			<-done
		}
		return ctx.Err()
	}
}
