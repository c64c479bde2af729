package stage

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
)

// Trace keeps when each stage did what on which machine.
type Trace struct {
	mu    sync.Mutex
	spans []span
}

type span struct {
	stage, what string
	start, end  time.Time
}

type traceKey struct{}

// doing is what a context says of who works: into which trace, in which stage, doing what.
type doing struct {
	trace       *Trace
	stage, what string
}

// WithTrace has everything that is done in the context kept in a trace.
func WithTrace(ctx context.Context, t *Trace) context.Context {
	return context.WithValue(ctx, traceKey{}, doing{trace: t})
}

// Traced does f as a part of a stage: "check", "apply".
func Traced(ctx context.Context, stage, what string, f func(context.Context) error) error {
	d, ok := ctx.Value(traceKey{}).(doing)
	if !ok {
		return f(ctx)
	}
	d.stage, d.what = stage, what
	defer d.keep("", time.Now())
	return f(context.WithValue(ctx, traceKey{}, d))
}

// onMachine does f as the part that concerns a machine.
func onMachine(ctx context.Context, machine string, f func() error) error {
	if d, ok := ctx.Value(traceKey{}).(doing); ok {
		defer d.keep(" "+machine, time.Now())
	}
	return f()
}

func (d doing) keep(suffix string, start time.Time) {
	d.trace.mu.Lock()
	defer d.trace.mu.Unlock()
	d.trace.spans = append(d.trace.spans, span{d.stage, d.what + suffix, start, time.Now()})
}

// Mermaid writes the trace as a Gantt chart, a section for each stage in the order of their beginning; times are from
// the first beginning on (https://mermaid.js.org/syntax/gantt.html).
func (t *Trace) Mermaid(w io.Writer) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	spans := slices.Clone(t.spans)
	slices.SortStableFunc(spans, func(a, b span) int { return cmp.Or(a.start.Compare(b.start), -a.end.Compare(b.end)) })
	var order []string
	sections := map[string]*strings.Builder{}
	for _, s := range spans {
		b := sections[s.stage]
		if b == nil {
			b = &strings.Builder{}
			sections[s.stage] = b
			order = append(order, s.stage)
		}
		ms := func(at time.Time) int64 { return at.Sub(spans[0].start).Milliseconds() }
		fmt.Fprintf(b, "    %s (%.2f s) :%d, %d\n", s.what, s.end.Sub(s.start).Seconds(), ms(s.start), max(ms(s.end), ms(s.start)+1))
	}
	if _, err := fmt.Fprint(w, "```mermaid\ngantt\n    dateFormat x\n    axisFormat %M:%S\n"); err != nil {
		return err
	}
	for _, name := range order {
		if _, err := fmt.Fprintf(w, "    section %s\n%s", name, sections[name]); err != nil {
			return err
		}
	}
	_, err := fmt.Fprint(w, "```\n")
	return err
}
