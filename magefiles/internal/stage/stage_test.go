package stage

import (
	"context"
	"encoding/json"
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

// TestOtherwise: whatever is not as it should be in a container is named. Docker 20.10 writes capabilities as they
// were given, newer ones with CAP_.
func TestOtherwise(t *testing.T) {
	want := container{
		part: "calico-node", name: "node", image: artifact.Image{Ref: "node:v1", ID: "sha256:1"}, network: "host", sysWrite: true,
		env: []string{"NODENAME=calico1"}, caps: []string{"NET_RAW", "NET_ADMIN"}, volumes: []string{"data:/data", "/lib:/lib:ro"}, cmd: []string{"run"},
	}
	const real = `{"Name": "/node", "State": {"Status": "running"},
		"Config": {"Hostname": "calico1", "Env": ["NODENAME=calico1", "PATH=/bin"], "Cmd": ["run"], "Labels": {"calico-cni-lab.image": "sha256:1"}},
		"HostConfig": {"NetworkMode": "host", "RestartPolicy": {"Name": "unless-stopped"}, "Binds": ["/lib:/lib:ro", "data:/data:rw"],
			"CapAdd": ["CAP_NET_ADMIN", "NET_RAW"], "SecurityOpt": ["seccomp=unconfined"], "MaskedPaths": [], "Init": null}}`
	for name, c := range map[string]func(*container){
		"":                func(*container) {},
		"name":            func(c *container) { c.name = "other" },
		"image":           func(c *container) { c.image.ID = "sha256:2" },
		"command":         func(c *container) { c.cmd = []string{"run", "x"} },
		"environment":     func(c *container) { c.env = []string{"NODENAME=calico2"} },
		"volumes":         func(c *container) { c.volumes = c.volumes[:1] },
		"capabilities":    func(c *container) { c.caps = append(c.caps, "SYS_MODULE") },
		"seccomp profile": func(c *container) { c.seccomp = true },
		"system paths":    func(c *container) { c.sysWrite = false },
		"network":         func(c *container) { c.network = "none" },
		"host name":       func(c *container) { c.hostname = "workload" },
		"init":            func(c *container) { c.init = true },
		"stop timeout":    func(c *container) { c.grace = 1 },
	} {
		var is inspected
		if err := json.Unmarshal([]byte(real), &is); err != nil {
			t.Fatal(err)
		}
		changed := want
		c(&changed)
		if got := strings.Join(changed.otherwise(is), ", "); got != name {
			t.Errorf("%q is named, not %q", got, name)
		}
	}
}

func TestContainerRun(t *testing.T) {
	c := container{
		part: "workload", name: "w", image: artifact.Image{Ref: "w:1", ID: "sha256:1"}, network: "none", hostname: "h", seccomp: true, init: true, grace: 1,
		env: []string{"A=b"}, cmd: []string{"socat", "x y"},
	}
	want := "docker run --detach --name w --label calico-cni-lab.part=workload --label calico-cni-lab.image=sha256:1 --restart unless-stopped " +
		"--net none --hostname h --env A=b --init --stop-timeout 1 w:1 socat x y"
	if got := strings.Join(c.run(), " "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
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
