package remote

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
)

// hosts are connections to one machine; dials counts how often it was dialled.
func hosts(t *testing.T) (h *Hosts, m *machine, dial func(context.Context, Endpoint, *command.Log) (*Host, error), dials *atomic.Int32) {
	t.Helper()
	m, e := newMachine(t)
	m.listen(t, e.Keys[0].Signer.PublicKey())
	h = NewHosts(func() ([]Endpoint, error) { return []Endpoint{{Machine: "other"}, e}, nil }, func() *command.Log { return nil })
	t.Cleanup(h.Close)
	dials = &atomic.Int32{}
	return h, m, func(ctx context.Context, e Endpoint, log *command.Log) (*Host, error) {
		dials.Add(1)
		return Dial(ctx, e, log)
	}, dials
}

func TestHosts(t *testing.T) {
	h, _, dial, dials := hosts(t)
	first, err := h.Get(t.Context(), "calico1", dial)
	if err != nil {
		t.Fatal(err)
	}
	again, err := h.Get(t.Context(), "calico1", dial)
	if err != nil || again != first || dials.Load() != 1 {
		t.Errorf("again: another host %t, %d dials, %v", again != first, dials.Load(), err)
	}
	if out, err := again.Run(t.Context(), "echo", "here"); out != "here" || err != nil {
		t.Errorf("%q, %v", out, err)
	}
	h.Close()
	if _, err := first.Run(t.Context(), "true"); err == nil {
		t.Error("a closed connection still works")
	}
	next, err := h.Get(t.Context(), "calico1", dial)
	if err != nil || next == first || dials.Load() != 2 {
		t.Errorf("after Close: the same host %t, %d dials, %v", next == first, dials.Load(), err)
	}
	h.Close()
	h.Close() // there is nothing left to close
}

// TestHostsWait: who waits for another's dialling waits no longer than he has time.
func TestHostsWait(t *testing.T) {
	h, _, dial, _ := hosts(t)
	dialling, goOn := make(chan struct{}), make(chan struct{})
	var first sync.WaitGroup
	first.Go(func() {
		_, err := h.Get(t.Context(), "calico1", func(ctx context.Context, e Endpoint, log *command.Log) (*Host, error) {
			close(dialling)
			<-goOn
			return dial(ctx, e, log)
		})
		if err != nil {
			t.Error(err)
		}
	})
	<-dialling
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("no time"))
	if _, err := h.Get(ctx, "calico1", dial); err == nil || !strings.Contains(err.Error(), "calico1 does not answer SSH: no time") {
		t.Errorf("error: %v", err)
	}
	close(goOn)
	first.Wait()
}

// TestHostsAtOnce: however many ask at once, there is one connection.
func TestHostsAtOnce(t *testing.T) {
	h, m, dial, dials := hosts(t)
	var wg sync.WaitGroup
	got := make([]*Host, 20)
	errs := make([]error, len(got))
	for i := range got {
		wg.Go(func() { got[i], errs[i] = h.Get(t.Context(), "calico1", dial) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	for i := range got {
		if got[i] != got[0] {
			t.Errorf("%d has another connection", i)
		}
	}
	if dials.Load() != 1 || m.dialled() != 1 {
		t.Errorf("%d dials, %d connections", dials.Load(), m.dialled())
	}
}

// TestHostsLost: a connection that was lost, by a reboot say, is made again.
func TestHostsLost(t *testing.T) {
	m, e := newMachine(t)
	m.listen(t, e.Keys[0].Signer.PublicKey())
	h := NewHosts(func() ([]Endpoint, error) { return []Endpoint{e}, nil }, func() *command.Log { return nil })
	t.Cleanup(h.Close)
	first, err := h.Get(t.Context(), "calico1", Dial)
	if err != nil {
		t.Fatal(err)
	}
	m.stop()
	<-h.conns["calico1"].lost
	m.listen(t, e.Keys[0].Signer.PublicKey())
	next, err := h.Get(t.Context(), "calico1", Dial)
	if err != nil || next == first {
		t.Fatalf("the same host %t, %v", next == first, err)
	}
	if out, err := next.Run(t.Context(), "echo", "back"); out != "back" || err != nil {
		t.Errorf("%q, %v", out, err)
	}
}

// TestHostsFail: what can't be dialled now may be later.
func TestHostsFail(t *testing.T) {
	h, _, dial, dials := hosts(t)
	refuse := errors.New("refused")
	if _, err := h.Get(t.Context(), "calico1", func(context.Context, Endpoint, *command.Log) (*Host, error) { return nil, refuse }); !errors.Is(err, refuse) {
		t.Errorf("refused: %v", err)
	}
	if _, err := h.Get(t.Context(), "calico1", dial); err != nil || dials.Load() != 1 {
		t.Errorf("later: %v", err)
	}
	if _, err := h.Get(t.Context(), "calico9", dial); err == nil || !strings.Contains(err.Error(), "nothing says how to enter calico9") || dials.Load() != 1 {
		t.Errorf("unknown machine: %v", err)
	}
	none := NewHosts(func() ([]Endpoint, error) { return nil, refuse }, func() *command.Log { return nil })
	if _, err := none.Get(t.Context(), "calico1", dial); !errors.Is(err, refuse) {
		t.Errorf("no endpoints: %v", err)
	}
}

// TestHostsEach: each machine has its connection, and one that isn't reached doesn't hold up the others.
func TestHostsEach(t *testing.T) {
	h, _, dial, _ := hosts(t)
	dialling, end := make(chan struct{}), make(chan struct{})
	stuck := make(chan error, 1)
	go func() {
		_, err := h.Get(t.Context(), "other", func(context.Context, Endpoint, *command.Log) (*Host, error) {
			close(dialling)
			<-end
			return nil, errors.New("ended")
		})
		stuck <- err
	}()
	<-dialling
	if _, err := h.Get(t.Context(), "calico1", dial); err != nil {
		t.Error(err)
	}
	close(end)
	if err := <-stuck; err == nil {
		t.Error("the other was reached")
	}
}
