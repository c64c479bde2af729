package remote

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

func TestDial(t *testing.T) {
	t.Run("wrong host key is final", func(t *testing.T) {
		m, e := newMachine(t)
		m.listen(t, e.Keys[0].Signer.PublicKey())
		e.HostKey = signer(t).PublicKey()
		_, err := Dial(t.Context(), e, nil)
		if err == nil || !strings.Contains(err.Error(), "calico1 shows another SSH host key") {
			t.Errorf("error: %v", err)
		}
	})
	t.Run("waits for the machine", func(t *testing.T) {
		m, e := newMachine(t)
		time.AfterFunc(150*time.Millisecond, func() { m.listen(t, e.Keys[0].Signer.PublicKey()) })
		h, err := Dial(t.Context(), e, nil)
		if err != nil {
			t.Fatal(err)
		}
		h.Close()
	})
	t.Run("not for ever", func(t *testing.T) {
		_, e := newMachine(t)
		ctx, cancel := context.WithTimeoutCause(t.Context(), 150*time.Millisecond, errors.New("not after 150ms"))
		defer cancel()
		_, err := Dial(ctx, e, nil)
		if err == nil || !strings.Contains(err.Error(), "calico1 does not answer SSH") || !strings.Contains(err.Error(), "not after 150ms") {
			t.Errorf("error: %v", err)
		}
	})
	t.Run("a booted machine that doesn't listen yet is waited for", func(t *testing.T) {
		m, e := newMachine(t)
		time.AfterFunc(120*time.Millisecond, func() { m.listen(t, e.Keys[0].Signer.PublicKey()) })
		h, err := DialBooted(t.Context(), e, nil)
		if err != nil {
			t.Fatal(err)
		}
		h.Close()
	})
}

// TestDialRefused: a booting machine refuses logins for a while; one that has booted means it.
func TestDialRefused(t *testing.T) {
	t.Run("a key that is refused is tried again, ever more slowly", func(t *testing.T) {
		m, e := newMachine(t)
		m.listen(t, signer(t).PublicKey())
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errors.New("not after 1s"))
		defer cancel()
		_, err := Dial(ctx, e, nil)
		var refused *RefusedError
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), "not after 1s") {
			t.Errorf("error: %v", err)
		}
		// At 0, 50, 150, 350 and 750 ms; on a busy computer fewer.
		if n := m.dialled(); n < 2 || n > 5 {
			t.Errorf("%d attempts in a second", n)
		}
	})
	t.Run("a login that is refused while the machine boots", func(t *testing.T) {
		m, e := newMachine(t)
		m.booting.Store(true)
		m.listen(t, e.Keys[0].Signer.PublicKey())
		h, err := Dial(t.Context(), e, nil)
		if err != nil {
			t.Fatal(err)
		}
		h.Close()
		if n := m.dialled(); n < 2 {
			t.Errorf("%d attempts", n)
		}
	})
	t.Run("a refused key is final on a machine that has booted", func(t *testing.T) {
		m, e := newMachine(t)
		e.Keys = append(e.Keys, Key{File: "/home/me/.ssh/id_ed25519", Signer: signer(t)})
		m.listen(t, signer(t).PublicKey())
		_, err := DialBooted(t.Context(), e, nil)
		var refused *RefusedError
		if !errors.As(err, &refused) || m.dialled() != 1 {
			t.Fatalf("%d attempts, error: %v", m.dialled(), err)
		}
		for _, want := range []string{"calico1 refuses user vagrant", "(a key of the SSH agent, /home/me/.ssh/id_ed25519)", "~vagrant/.ssh/authorized_keys", "lab.yaml"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("no %q in: %v", want, err)
			}
		}
	})
}

func TestPause(t *testing.T) {
	for _, c := range []struct {
		name string
		ago  time.Duration
		err  error
		want []int // ms
	}{
		{"nobody listens yet", 0, os.ErrNotExist, []int{50, 50, 50, 50}},
		{"nobody listens for long", 6 * time.Second, os.ErrNotExist, []int{50, 75, 112, 168, 253, 379, 500, 500}},
		{"refused", 0, fmt.Errorf("x: %w", &RefusedError{}), []int{50, 100, 200, 400, 800, 1000, 1000}},
	} {
		p := newPause()
		p.start = p.start.Add(-c.ago)
		for i, want := range c.want {
			if got := p.after(c.err); got.Milliseconds() != int64(want) {
				t.Errorf("%s, pause %d: %s, want %d ms", c.name, i, got, want)
			}
		}
	}
}

// TestShownHostKey: a first contact works without any key of ours, and waits for a machine that is still booting.
func TestShownHostKey(t *testing.T) {
	m, e := newMachine(t)
	e.HostKey, e.Keys = nil, nil
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := ShownHostKey(ctx, e); err == nil || !strings.Contains(err.Error(), "calico1") {
		t.Errorf("nobody listens: %v", err)
	}
	m.listen(t, signer(t).PublicKey())
	key, err := ShownHostKey(t.Context(), e)
	if err != nil || string(key.Marshal()) != string(m.host.PublicKey().Marshal()) {
		t.Errorf("shown key: %v, %v", key, err)
	}
}
