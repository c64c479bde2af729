package stage

import (
	"context"
	"strings"
	"testing"
	"time"
)

func TestMermaid(t *testing.T) {
	at := func(ms int) time.Time { return time.UnixMilli(1000 + int64(ms)) }
	trace := &Trace{spans: []span{ // as they end
		{"up", "check calico1", at(2), at(40)},
		{"up", "check", at(0), at(50)},
		{"etcd", "apply", at(50), at(1300)},
		{"up", "check again", at(60), at(60)},
	}}
	var b strings.Builder
	if err := trace.Mermaid(&b); err != nil {
		t.Fatal(err)
	}
	want := "```mermaid\ngantt\n    dateFormat x\n    axisFormat %M:%S\n" +
		"    section up\n    check (0.05 s) :0, 50\n    check calico1 (0.04 s) :2, 40\n    check again (0.00 s) :60, 61\n" +
		"    section etcd\n    apply (1.25 s) :50, 1300\n```\n"
	if b.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", b.String(), want)
	}
}

func TestTraced(t *testing.T) {
	trace := &Trace{}
	work := func(ctx context.Context) error {
		return onMachine(ctx, "calico1", func() error { return nil })
	}
	if err := Traced(t.Context(), "etcd", "check", work); err != nil || len(trace.spans) != 0 {
		t.Errorf("without a trace: %v, %v", err, trace.spans)
	}
	if err := Traced(WithTrace(t.Context(), trace), "etcd", "check", work); err != nil || len(trace.spans) != 2 ||
		trace.spans[0].what != "check calico1" || trace.spans[1].what != "check" || trace.spans[1].stage != "etcd" {
		t.Errorf("with one: %v, %v", err, trace.spans)
	}
}
