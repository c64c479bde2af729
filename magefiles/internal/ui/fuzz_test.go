package ui

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/progress"
)

// FuzzHostile: whatever a machine says, nothing that is printed has anything in it that a terminal obeys, but for the console's
// own colours.
func FuzzHostile(f *testing.F) {
	for _, s := range []string{"BIRD 1.6.8", "\x1b[2J\x1b[H\x1b]0;all is well\a", "\u009b2J", "\x9b2J", "a\r\n✓ plumb", "\x1b[32m", "\u202e\u2066", "\x00\x08\x7f", `{"a":"\u001b"}`, "|\x85|"} {
		f.Add(s, []byte(s), true)
	}
	f.Fuzz(func(t *testing.T, said string, result []byte, color bool) {
		var b bytes.Buffer
		c := terminal(&b, color, 80, 24)
		ctx := progress.In(t.Context(), c.Tasks)
		left := condition("plumb", "reach", "calico1", check.Not("%s", said))
		left.Left, left.Try = said, said
		r := report(
			condition("up", "machine", "etcd-node", check.OK("%s", said)), condition("up", "docker", "calico1", check.Not("%s", said)),
			condition("calico", "bird", "calico1", check.CantSee("%s", said)), left,
		)
		refused := report(condition("ipPool", "pool", "", check.Refuse("%s", said)))
		var w fact.Workload
		w.Container.NetworkSettings.SandboxKey, w.Attachment = said, fact.Attachment{IfName: said, Result: result}
		err := errors.New(said)
		c.Typed("LAB_FILE=x", "")
		for _, show := range []func(){
			func() { c.Report(r, true) }, func() { c.Report(r, false) }, func() { c.Plan([]string{"up", "plumb"}, nil, r) }, func() { c.Plan(nil, nil, refused) },
			func() { c.Plumbed("calico1", w, []netip.Prefix{{}}) },
			func() {
				c.Status("lab", "ssh", []machine.Status{{Machine: "calico1"}}, []string{"up", "plumb"}, r, [][2]string{{"next", said}})
			},
			func() { c.Started("up", said) }, func() { c.Done("up", said, time.Second) }, func() { c.Already("up", said) }, func() { c.Yours("up", said) },
			func() { c.Pending("up", said, time.Second) }, func() { c.Failed("up", err, time.Second) }, func() { c.Notice("%s", said) },
			func() {
				in, end := progress.Begin(ctx, progress.Stage, "up")
				in, done := progress.Begin(in, progress.Making, said)
				progress.Report(in, progress.Count{Done: 1, What: said})
				c.draw()
				done(nil)
				end(nil)
				c.draw()
			},
			func() { c.Table([]string{"a"}, [][]string{{said}}) }, func() { c.Finished(time.Second, said) },
			func() { (&Console{out: &b}).Cause(err) },
		} {
			show()
		}
		own := strings.NewReplacer("\x1b[32m", "", "\x1b[31m", "", "\x1b[2m", "", "\x1b[1m", "", "\x1b[0m", "", "\r\x1b[J", "", "\x1b[1A\r", "", "\x1b[2A\r", "")
		obeyed(t, own.Replace(b.String()))
		if !color && strings.Contains(b.String(), "\x1b[0m") {
			t.Errorf("colour: %q", b.String())
		}
		b.Reset()
		Markdown(&b, r)
		obeyed(t, b.String()+Error(err).Error())
		b.Reset()
		if err := JSON(&b, r); err != nil {
			t.Fatal(err)
		}
		obeyed(t, b.String())
		var again check.Report
		if err := json.Unmarshal(b.Bytes(), &again); err != nil || again.Results[0].Found != strings.ToValidUTF8(said, "\ufffd") && !strings.ContainsRune(again.Results[0].Found, '\ufffd') {
			t.Errorf("read again: %v, %q", err, again.Results[0].Found)
		}
	})
}

func obeyed(t *testing.T, text string) {
	t.Helper()
	if i := strings.IndexFunc(text, func(r rune) bool { return r != '\n' && r != '\t' && !unicode.IsPrint(r) }); i >= 0 {
		t.Errorf("%q", text[max(i-40, 0):min(i+20, len(text))])
	}
}
