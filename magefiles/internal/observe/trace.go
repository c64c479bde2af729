package observe

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
)

// traceTime is how long a trace may take beside the sending.
const traceTime = 20 * time.Second

// Trace captures on machines, by their names, while one of them sends: its request says what. Nothing is sent before all
// captures are open. The look before has brought the program to the machines.
func (o *Observer) Trace(ctx context.Context, requests map[string]fact.TraceRequest) map[string]fact.Seen[fact.Trace] {
	limit := traceTime * time.Duration(o.Slow)
	for _, r := range requests {
		if r.Send != nil {
			limit += r.Send.Within
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not done after %s", limit))
	defer cancel()
	sessions := map[string]*tracing{}
	for name, r := range requests {
		sessions[name] = o.trace(ctx, limit, name, r)
	}
	ready := true
	for _, s := range sessions {
		ready = s.wait(ctx) && ready
	}
	// The one that sends first: when it is done, so is everybody.
	for name, s := range sessions {
		if requests[name].Send != nil && ready {
			s.say("go\n")
			<-s.done
		}
	}
	all := map[string]fact.Seen[fact.Trace]{}
	for name, s := range sessions {
		s.stdin.Close() //nolint:errcheck // of a pipe
		<-s.done
		all[name] = s.result(ready)
	}
	return all
}

// tracing is a session with `look trace`.
type tracing struct {
	stdin *io.PipeWriter
	out   *untilReady
	done  chan struct{}
	err   error // once done is closed
}

func (o *Observer) trace(ctx context.Context, limit time.Duration, name string, r fact.TraceRequest) *tracing {
	in, stdin := io.Pipe()
	t := &tracing{stdin: stdin, out: &untilReady{ready: make(chan struct{})}, done: make(chan struct{})}
	go func() {
		defer close(t.done)
		defer in.Close() //nolint:errcheck // whoever writes then is told
		h, err := o.Hosts.Get(ctx, name, remote.DialBooted)
		if err != nil {
			t.err = err
			return
		}
		file, sum, err := o.Program(ctx)
		if err != nil {
			t.err = err
			return
		}
		there, _ := where(h, file, sum)
		t.err = h.Talk(ctx, limit, in, t.out, there, "trace")
	}()
	go func() {
		line, err := json.Marshal(r)
		if err != nil {
			_ = stdin.CloseWithError(err)
			return
		}
		t.say(string(line) + "\n")
	}()
	return t
}

func (t *tracing) say(line string) { _, _ = io.WriteString(t.stdin, line) } // one that has ended says itself why

// wait returns whether the captures are open.
func (t *tracing) wait(ctx context.Context) bool {
	select {
	case <-t.out.ready:
		return true
	case <-t.done:
		return false
	case <-ctx.Done():
		return false
	}
}

func (t *tracing) result(ready bool) fact.Seen[fact.Trace] {
	switch {
	case t.err != nil && ready || t.err != nil && !t.out.is():
		return fact.Unknown[fact.Trace](t.err.Error())
	case !ready:
		return fact.Unknown[fact.Trace]("nothing was sent: the capture on another machine failed")
	}
	_, data, _ := bytes.Cut(t.out.bytes(), []byte("\n"))
	var trace fact.Trace
	err := json.Unmarshal(data, &trace)
	return fact.See(trace, err)
}

// untilReady keeps what is written, and tells of the first line, which is fact.Ready.
type untilReady struct {
	mu    sync.Mutex
	all   []byte
	ready chan struct{}
	told  bool
}

func (u *untilReady) Write(p []byte) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.all = append(u.all, p...)
	if !u.told && bytes.HasPrefix(u.all, []byte(fact.Ready+"\n")) {
		u.told = true
		close(u.ready)
	}
	return len(p), nil
}

func (u *untilReady) bytes() []byte {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.all
}

func (u *untilReady) is() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.told
}
