package remote

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
)

// Endpoint is how a machine is reached. Nothing past this package knows over what.
type Endpoint struct {
	Machine string
	Network string // "tcp", "unix", or "" where there is a Proxy
	Address string // host:port, or the socket's path
	// Proxy is a command whose standard input and output are the connection, as ssh_config's ProxyCommand.
	Proxy   []string
	User    string
	Keys    []Key         // the user's
	HostKey ssh.PublicKey // the machine's; no other is accepted
	Shares  Shares        // directories of this computer that the machine sees too
	// Handshake is how long an attempt to log in may take; 0 is 10 s, which a slow machine may exceed each time anew.
	Handshake time.Duration
	// OtherKey is what to do about a machine that shows another host key; "" is to make it anew.
	OtherKey string
	Err      error // why nobody can log in, from here; Dial returns it
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

// Path returns the path under which the machine itself sees a file of this computer.
func (all Shares) Path(path string) (string, bool) {
	for _, s := range all {
		if rel, err := filepath.Rel(s.Here, path); err == nil && filepath.IsLocal(rel) {
			return filepath.Join(s.There, rel), true
		}
	}
	return "", false
}

// Dial connects to a machine that may still be booting, and keeps trying until ctx ends: at first such a machine refuses
// connections, then logins (pam_nologin). A wrong host key is final.
func Dial(ctx context.Context, e Endpoint, log *command.Log) (*Host, error) {
	return keepDialing(ctx, e, log, func(err error) bool {
		var wrongKey *hostKeyError
		return errors.As(err, &wrongKey)
	})
}

// DialBooted is Dial for a machine that has long booted: there a refused key is final too, a *RefusedError. A machine that
// doesn't answer at all is still tried until ctx ends.
func DialBooted(ctx context.Context, e Endpoint, log *command.Log) (*Host, error) {
	return keepDialing(ctx, e, log, func(err error) bool {
		var wrongKey *hostKeyError
		var refused *RefusedError
		return errors.As(err, &wrongKey) || errors.As(err, &refused)
	})
}

func keepDialing(ctx context.Context, e Endpoint, log *command.Log, final func(error) bool) (*Host, error) {
	if e.Err != nil {
		return nil, e.Err
	}
	pause := newPause()
	var last error // the last that says more than that time is over
	for {
		c, err := dial(ctx, e)
		if err == nil {
			log.Printf("connected to %s (%s)", e.Machine, cmp.Or(e.Network, "proxy"))
			return newHost(e, c, log), nil
		}
		if final(err) {
			return nil, err
		}
		var timeout net.Error
		if last == nil || ctx.Err() == nil && !(errors.As(err, &timeout) && timeout.Timeout()) {
			last = err
		}
		timer := time.NewTimer(pause.after(err))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			var refused *RefusedError
			if errors.As(last, &refused) {
				return nil, fmt.Errorf("%w (%w)", last, context.Cause(ctx))
			}
			return nil, fmt.Errorf("%s does not answer SSH: %w (%w)", e.Machine, last, context.Cause(ctx))
		}
	}
}

// pause is how long to wait before a machine is dialled again.
type pause struct {
	start           time.Time
	absent, refused wait.Backoff
}

const (
	firstPause = 50 * time.Millisecond
	// A machine that boots answers within seconds; to look for it costs next to nothing, so that is done often at first.
	eagerTime = 5 * time.Second
)

func newPause() *pause {
	return &pause{
		start:  time.Now(),
		absent: wait.Backoff{Duration: firstPause, Factor: 1.5, Steps: 20, Cap: 500 * time.Millisecond},
		// A refused login costs the machine CPU time that it needs for booting, and from OpenSSH 9.8 on it counts
		// towards a penalty for the address that it comes from (PerSourcePenalties).
		refused: wait.Backoff{Duration: firstPause, Factor: 2, Steps: 20, Cap: time.Second},
	}
}

func (p *pause) after(err error) time.Duration {
	var refused *RefusedError
	switch {
	case errors.As(err, &refused):
		return p.refused.Step()
	case time.Since(p.start) < eagerTime:
		return firstPause
	}
	return p.absent.Step()
}

// RefusedError is a machine that lets the user in with none of the keys.
type RefusedError struct {
	Machine, User string
	Keys          []string // files; "a key of the SSH agent" for one that is in no file
	Err           error
}

func (e *RefusedError) Error() string {
	keys := strings.Join(e.Keys, ", ")
	if keys == "" {
		return fmt.Sprintf("%s refuses user %s: there is no key to try; name one in lab.yaml (machines: ssh: key)", e.Machine, e.User)
	}
	return fmt.Sprintf("%s refuses user %s with every key that was tried (%s); add the public half of one to ~%s/.ssh/authorized_keys there, "+
		"or name another user or key in lab.yaml (machines: ssh: user, key)", e.Machine, e.User, keys, e.User)
}

func (e *RefusedError) Unwrap() error { return e.Err }

func refused(e Endpoint, err error) error {
	// x/crypto/ssh has no type for it.
	if !strings.Contains(err.Error(), "ssh: unable to authenticate") {
		return err
	}
	re := &RefusedError{Machine: e.Machine, User: e.User, Err: err}
	for _, k := range e.Keys {
		name := k.File
		if name == "" {
			name = "a key of the SSH agent"
		}
		re.Keys = append(re.Keys, name)
	}
	return re
}

type hostKeyError struct{ machine, remedy string }

func (e *hostKeyError) Error() string {
	return fmt.Sprintf("%s shows another SSH host key than the one it was created with; it is not the lab's machine. %s",
		e.machine, cmp.Or(e.remedy, "If you replaced it yourself: go tool mage destroy, then go tool mage verify"))
}

func dial(ctx context.Context, e Endpoint) (*ssh.Client, error) {
	conn, err := e.connect(ctx)
	if err != nil {
		return nil, err
	}
	// The handshake takes no context.
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	_ = conn.SetDeadline(time.Now().Add(cmp.Or(e.Handshake, 10*time.Second)))
	var signers []ssh.Signer
	for _, k := range e.Keys {
		signers = append(signers, k.Signer)
	}
	cfg := &ssh.ClientConfig{
		User: e.User,
		Auth: []ssh.AuthMethod{ssh.PublicKeys(signers...)},
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			if !bytes.Equal(key.Marshal(), e.HostKey.Marshal()) {
				return &hostKeyError{e.Machine, e.OtherKey}
			}
			return nil
		},
		HostKeyAlgorithms: algorithms(e.HostKey),
	}
	c, chans, reqs, err := ssh.NewClientConn(conn, e.Machine, cfg)
	if err != nil {
		conn.Close()
		if p, ok := conn.(*proxied); ok {
			err = p.explain(err)
		}
		return nil, refused(e, err)
	}
	_ = conn.SetDeadline(time.Time{})
	return ssh.NewClient(c, chans, reqs), nil
}

// connect opens the byte stream that SSH goes over.
func (e Endpoint) connect(ctx context.Context) (net.Conn, error) {
	if len(e.Proxy) > 0 {
		return proxy(e.Proxy)
	}
	return (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, e.Network, e.Address)
}

// dialTimeout is for one attempt to connect.
const dialTimeout = 5 * time.Second

// algorithms are the signatures that a host key can make: RSA keys make newer ones than their type's name says.
func algorithms(key ssh.PublicKey) []string {
	if key.Type() == ssh.KeyAlgoRSA {
		return []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
	}
	return []string{key.Type()}
}

// ShownHostKey returns the host key that a machine shows, for a first contact. It keeps trying until ctx ends.
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
	conn, err := e.connect(ctx)
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
