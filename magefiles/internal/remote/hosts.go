package remote

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
)

// Hosts are the connections to a lab's machines, one each, made when it is first asked for and again when it was lost. It is
// safe for concurrent use.
type Hosts struct {
	endpoints func() ([]Endpoint, error)
	log       func() *command.Log
	id        string // of the run, in the marks of its commands

	mu    sync.Mutex
	all   []Endpoint // nil until they are asked for
	conns map[string]*conn
}

// known returns the endpoints, which are asked for once.
func (h *Hosts) known() (all []Endpoint, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.all == nil {
		h.all, err = h.endpoints()
	}
	return h.all, err
}

type conn struct {
	held chan struct{} // has an element while somebody has the rest for himself
	host *Host
	lost chan struct{} // closed when the connection has ended
}

func (c *conn) release() { <-c.held }

// Dialer connects to a machine: Dial, or DialBooted.
type Dialer func(context.Context, Endpoint, *command.Log) (*Host, error)

// NewHosts returns the connections to the machines at endpoints, which is asked when the first is made, and again after
// Close; log for each, as a run's log may begin later.
func NewHosts(endpoints func() ([]Endpoint, error), log func() *command.Log) *Hosts {
	return &Hosts{endpoints: endpoints, log: log, id: rand.Text(), conns: map[string]*conn{}}
}

// changing is what the marks of commands begin with that a run runs that has a log: it changes the lab, as one at a time may.
const changing = marked + "change-"

func (h *Hosts) mark() string {
	if h.log() == nil {
		return marked
	}
	return changing + h.id + "-"
}

// Alone says with what the marks of commands begin that runs run which change the lab, and those of this one; ok is false where this run
// only looks.
func (h *Hosts) Alone() (of, but string, ok bool) { return changing, h.mark(), h.log() != nil }

// Get returns the connection to a machine. dial is Dial, or DialBooted for a machine that isn't booting.
func (h *Hosts) Get(ctx context.Context, name string, dial Dialer) (*Host, error) {
	h.mu.Lock()
	c := h.conns[name]
	if c == nil {
		c = &conn{held: make(chan struct{}, 1)}
		h.conns[name] = c
	}
	h.mu.Unlock()
	select {
	case c.held <- struct{}{}:
		defer c.release()
	case <-ctx.Done(): // somebody else dials, and may have more time
		return nil, fmt.Errorf("%s does not answer SSH: %w", name, context.Cause(ctx))
	}
	if c.host != nil {
		select {
		case <-c.lost:
			c.host = nil
		default:
			return c.host, nil
		}
	}
	all, err := h.known()
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(all, func(e Endpoint) bool { return e.Machine == name })
	if i < 0 {
		return nil, fmt.Errorf("nothing says how to enter %s", name)
	}
	host, err := dial(ctx, all[i], h.log())
	if err != nil {
		return nil, err
	}
	host.mark = h.mark
	c.host, c.lost = host, make(chan struct{})
	go func(client interface{ Wait() error }, lost chan struct{}) {
		_ = client.Wait() // how it ended is what the session that it takes along says
		close(lost)
	}(host.client, c.lost)
	return host, nil
}

// Close ends all connections; the next Get makes a new one.
func (h *Hosts) Close() {
	h.mu.Lock()
	h.all = nil
	conns := slices.Collect(maps.Values(h.conns))
	h.mu.Unlock()
	for _, c := range conns {
		c.held <- struct{}{}
		if c.host != nil {
			c.host.Close()
			c.host = nil
		}
		c.release()
	}
}
