package stage

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
)

// scripted is a stage whose checks answer in turn.
type scripted struct {
	checks   []bool
	errCheck error
	errApply error
	log      []string
}

func (s *scripted) Name() string { return "scripted" }

func (s *scripted) Check(context.Context) (bool, string, error) {
	s.log = append(s.log, "check")
	if s.errCheck != nil {
		return false, "", s.errCheck
	}
	done := s.checks[0]
	s.checks = s.checks[1:]
	return done, map[bool]string{true: "all there", false: "x is missing"}[done], nil
}

func (s *scripted) Apply(context.Context) error {
	s.log = append(s.log, "apply")
	return s.errApply
}

func (s *scripted) Already(_, text string)               { s.log = append(s.log, "already: "+text) }
func (s *scripted) Started(_, why string)                { s.log = append(s.log, "started: "+why) }
func (s *scripted) Done(_, text string, _ time.Duration) { s.log = append(s.log, "done: "+text) }
func (s *scripted) Failed(_ string, e error, _ time.Duration) {
	s.log = append(s.log, "failed: "+e.Error())
}

func TestRun(t *testing.T) {
	no := errors.New("no")
	for _, c := range []struct {
		name  string
		stage scripted
		want  string
		err   string
	}{
		{"done already", scripted{checks: []bool{true}}, "check|already: all there", ""},
		{"applied", scripted{checks: []bool{false, true}}, "check|started: x is missing|apply|check|done: all there", ""},
		{"applied in vain", scripted{checks: []bool{false, false}},
			"check|started: x is missing|apply|check|failed: still not done after it was applied: x is missing", "x is missing"},
		{"check fails", scripted{errCheck: no}, "check|failed: no", "no"},
		{"apply fails", scripted{checks: []bool{false}, errApply: no}, "check|started: x is missing|apply|failed: no", "no"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := Run(t.Context(), &c.stage, &c.stage)
			if got := strings.Join(c.stage.log, "|"); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("error: %v", err)
			}
		})
	}
}

func TestGrouped(t *testing.T) {
	machines := []lab.Machine{{Name: "a"}, {Name: "b"}, {Name: "c"}, {Name: "d"}}
	got := grouped(machines, map[string]string{"d": "no y", "a": "no x", "c": "no x"})
	if want := "a, c: no x; d: no y"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestUntil(t *testing.T) {
	n := 0
	err := until(t.Context(), "it works", time.Minute, func(context.Context) (string, error) {
		n++
		return map[bool]string{true: "not yet", false: ""}[n < 3], nil
	})
	if err != nil || n != 3 {
		t.Errorf("%d looks, %v", n, err)
	}
	err = until(t.Context(), "it works", 50*time.Millisecond, func(context.Context) (string, error) { return "", errors.New("broken") })
	if err == nil || err.Error() != "it works: not after 50ms; last seen: broken" {
		t.Errorf("error: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err = until(ctx, "it works", time.Minute, func(context.Context) (string, error) { cancel(); return "not yet", nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error: %v", err)
	}
}

// TestSpec: whatever changes how a container is started changes its spec.
func TestSpec(t *testing.T) {
	base := container{part: "p", name: "n", image: artifact.Image{Ref: "r", ID: "sha256:1"}, flags: []string{"--net", "host"}, cmd: []string{"run"}}
	seen := map[string]bool{base.spec(): true}
	for _, change := range []func(*container){
		func(c *container) { c.name = "m" },
		func(c *container) { c.image.ID = "sha256:2" },
		func(c *container) { c.flags = []string{"--net host"} },
		func(c *container) { c.cmd = []string{"run", "x"} },
	} {
		c := base
		change(&c)
		seen[c.spec()] = true
	}
	if len(seen) != 5 {
		t.Errorf("%d specs of 5 containers", len(seen))
	}
}

func TestRender(t *testing.T) {
	got, err := render("cni.conflist.tmpl", map[string]string{"Network": "net", "EtcdURL": "http://e:2379"})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"name": "net"`, `"etcd_endpoints": "http://e:2379"`} {
		if !strings.Contains(string(got), want) {
			t.Errorf("no %s in:\n%s", want, got)
		}
	}
	if _, err := render("cni.conflist.tmpl", map[string]string{}); err == nil {
		t.Error("rendered without its values")
	}
}
