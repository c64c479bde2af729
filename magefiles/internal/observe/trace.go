package observe

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
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
	ready *firstLine
	done  chan struct{}
	out   []byte // and err, once done is closed
	err   error
}

func (o *Observer) trace(ctx context.Context, limit time.Duration, name string, r fact.TraceRequest) *tracing {
	in, stdin := io.Pipe()
	t := &tracing{stdin: stdin, ready: &firstLine{is: make(chan struct{})}, done: make(chan struct{})}
	go func() {
		defer close(t.done)
		defer in.Close() // whoever writes then is told
		h, err := o.Host(ctx, name)
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
		t.out, t.err = h.Talk(ctx, limit, in, t.ready, there, "trace")
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
	case <-t.ready.is:
		return true
	case <-t.done:
		return false
	case <-ctx.Done():
		return false
	}
}

// result is what the session said; all says whether the captures of all machines were open.
func (t *tracing) result(all bool) fact.Seen[fact.Trace] {
	opened, data, _ := bytes.Cut(t.out, []byte("\n"))
	switch {
	case t.err != nil && (all || string(opened) != fact.Ready):
		return fact.Unknown[fact.Trace](t.err.Error())
	case !all:
		return fact.Unknown[fact.Trace]("nothing was sent: the capture on another machine failed")
	}
	var trace fact.Trace
	err := json.Unmarshal(data, &trace)
	return fact.See(trace, err)
}

// firstLine tells when fact.Ready was written.
type firstLine struct {
	text []byte
	is   chan struct{} // closed then
}

func (f *firstLine) Write(p []byte) (int, error) {
	const want = fact.Ready + "\n"
	if left := len(want) - len(f.text); left > 0 {
		if f.text = append(f.text, p[:min(left, len(p))]...); string(f.text) == want {
			close(f.is)
		}
	}
	return len(p), nil
}
