package view

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/explain"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact/recorded"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
)

const (
	wellFile = "../explain/testdata/arrives.facts.json.gz"
	toldFile = "../explain/testdata/arrives.story.json.gz"
)

// shown is a recorded lab, which a test can change.
type shown struct {
	Lab
	lab      *lab.Lab
	facts    atomic.Pointer[fact.Lab]
	conceals atomic.Pointer[string]
	looked   atomic.Int64
}

func record(t *testing.T) *shown {
	t.Helper()
	l, err := lab.Load("../stage/testdata/lab.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var then explain.Story
	recorded.Read(t, toldFile, &then)
	s := &shown{lab: l}
	s.facts.Store(recorded.Lab(t, wellFile))
	s.Lab = Lab{
		Name: l.Name,
		Look: func(context.Context) (Seen, error) {
			s.looked.Add(1)
			f := s.facts.Load().Clone()
			f.At = time.Now()
			return Seen{s.lab, f, check.Run(sessions(s.lab), &f)}, nil
		},
		Ask: func(ctx context.Context, words []string) (explain.Story, error) {
			trace := func(context.Context, map[string]fact.TraceRequest) map[string]fact.Seen[fact.Trace] {
				return then.Traces
			}
			topic, err := explain.Find(l, words)
			if err != nil {
				return explain.Story{}, err
			}
			return topic.Answer(ctx, &explain.Lab{Lab: l, Facts: s.facts.Load(), Trace: trace, Slow: 1}, words)
		},
		Conceal: func() string {
			if why := s.conceals.Load(); why != nil {
				return *why
			}
			return ""
		},
	}
	return s
}

// sessions are conditions on recorded facts.
func sessions(l *lab.Lab) (all []check.Condition) {
	for _, m := range l.ByRole(lab.RoleCalico) {
		all = append(all, check.Condition{
			ID: "bgp/" + m.Name, Stage: "calico", Machine: m.Name, Expected: "BGP of " + m.Name + " is Established with every other node",
			Try: "go tool mage ssh " + m.Name + " sudo calicoctl node status", Mend: "starts what was stopped",
			Test: func(f *fact.Lab) check.Finding {
				for _, p := range f.Machines[m.Name].BIRD.Value.Protocols {
					if p.Proto == "BGP" && !p.Established() {
						return check.Not("not Established with %s (%s %s)", p.Peer(), p.State, p.Info)
					}
				}
				return check.OK("Established")
			},
		})
	}
	return all
}

// cut is the recorded lab with its first BGP session down, and without the route that came by it.
func cut(t *testing.T) *fact.Lab {
	t.Helper()
	f := recorded.Lab(t, wellFile)
	for _, m := range f.Machines {
		for i, p := range m.BIRD.Value.Protocols {
			if p.Proto == "BGP" {
				m.BIRD.Value.Protocols[i].State, m.BIRD.Value.Protocols[i].Info = "start", "Active"
			}
		}
	}
	m := f.Machines["calico1"]
	m.Routes.Value = append(m.Routes.Value[:1:1], m.Routes.Value[2:]...)
	f.Machines["calico1"] = m
	return f
}

func TestGuard(t *testing.T) {
	const token = "secret"
	for _, c := range []struct {
		name, token, target, host string
		header                    http.Header
		want                      int
	}{
		{"this computer", "", "/", "127.0.0.1:5000", nil, 200},
		{"by its name", "", "/", "localhost:5000", nil, 200},
		{"IPv6", "", "/", "[::1]:5000", nil, 200},
		{"a name that is bound to this address", "", "/", "evil.example:5000", nil, 421},
		{"an address that isn't this computer's", "", "/", "192.0.2.7:5000", nil, 421},
		{"no host", "", "/", "", nil, 421},
		{"another page", "", "/events", "127.0.0.1:5000", http.Header{"Origin": {"http://evil.example"}}, 403},
		{"another port's page", "", "/", "127.0.0.1:5000", http.Header{"Origin": {"http://127.0.0.1:5001"}}, 403},
		{"another site's image", "", "/icon.svg", "127.0.0.1:5000", http.Header{"Sec-Fetch-Site": {"cross-site"}}, 403},
		{"another port's image", "", "/icon.svg", "127.0.0.1:5000", http.Header{"Sec-Fetch-Site": {"same-site"}}, 403},
		{"without the token", token, "/", "192.0.2.7:5000", nil, 401},
		{"a wrong token", token, "/?token=guess", "192.0.2.7:5000", nil, 401},
		{"the token", token, "/?token=secret", "192.0.2.7:5000", nil, 303},
		{"the cookie", token, "/", "192.0.2.7:5000", http.Header{"Cookie": {"lab-view=secret"}}, 200},
		{"a wrong cookie", token, "/events", "192.0.2.7:5000", http.Header{"Cookie": {"lab-view=guess"}}, 401},
		{"a name, with the cookie", token, "/", "evil.example:5000", http.Header{"Cookie": {"lab-view=secret"}}, 421},
	} {
		r := httptest.NewRequest(http.MethodGet, c.target, nil)
		r.Host = c.host
		if c.header != nil {
			r.Header = c.header
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // events end at once
		w := httptest.NewRecorder()
		New(record(t).Lab, c.token).Handler().ServeHTTP(w, r.WithContext(ctx))
		if w.Code != c.want {
			t.Errorf("%s: %d, want %d", c.name, w.Code, c.want)
		}
		if csp := w.Header().Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: %s", c.name, csp)
		}
	}
}

// TestPageFiles: nothing inline, nothing from elsewhere.
func TestPageFiles(t *testing.T) {
	for _, name := range []string{"index.html", "view.js", "view.css"} {
		data, err := page.ReadFile("page/" + name)
		if err != nil {
			t.Fatal(err)
		}
		for _, never := range []string{"https://", "<style", "style=", " onclick=\"", "innerHTML", "eval(", "@import", "url("} {
			if strings.Contains(string(data), never) {
				t.Errorf("%s has %q", name, never)
			}
		}
	}
}

func serve(t *testing.T, s *shown) (*httptest.Server, *Server) {
	t.Helper()
	v := New(s.Lab, "")
	server := httptest.NewServer(v.Handler())
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		v.looks.run(ctx)
	}()
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
		cancel()
		<-ended
	})
	return server, v
}

// next reads frames until one is as it is to be.
func next(t *testing.T, lines *bufio.Scanner, ok func(frame) bool) frame {
	t.Helper()
	var f frame
	for lines.Scan() {
		data, is := strings.CutPrefix(lines.Text(), "data: ")
		if !is {
			continue
		}
		f = frame{}
		if err := json.Unmarshal([]byte(data), &f); err != nil {
			t.Fatal(err)
		}
		if ok(f) {
			return f
		}
	}
	t.Fatalf("the events ended: %v", lines.Err())
	return f
}

func listen(t *testing.T, url string) (*bufio.Scanner, func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 4<<20)
	return lines, func() {
		cancel()
		_ = response.Body.Close()
	}
}

// TestEvents: looks are shared, drawings are sent once, changes are told, and nobody looks while nobody watches.
func TestEvents(t *testing.T) {
	s := record(t)
	server, v := serve(t, s)
	if n := s.looked.Load(); n != 0 {
		t.Errorf("%d looks for nobody", n)
	}
	one, leaveOne := listen(t, server.URL)
	two, leaveTwo := listen(t, server.URL)
	any := func(frame) bool { return true }
	if f := next(t, one, any); !f.OK || len(f.Drawings) != 3 || len(f.Machines) != 3 || len(f.Fresh) != 0 {
		t.Errorf("first: %+v", f.Verdict)
	}
	if f := next(t, two, any); len(f.Drawings) != 3 {
		t.Errorf("the second watcher has %d drawings", len(f.Drawings))
	}
	if f := next(t, one, any); len(f.Drawings) != 0 {
		t.Errorf("%d drawings were sent again", len(f.Drawings))
	}
	s.facts.Store(cut(t))
	for _, lines := range []*bufio.Scanner{one, two} {
		f := next(t, lines, func(f frame) bool { return !f.OK })
		if len(f.Stages[0].Unmet) != 2 || f.Changes[0].State != "bad" || !strings.Contains(f.Changes[0].Text, "not Established with 192.168.4.6") || len(f.Fresh) == 0 || len(f.Drawings) != 2 {
			t.Errorf("%+v, %d drawings", f.Changes, len(f.Drawings))
		}
	}
	leaveOne()
	leaveTwo()
	for deadline := time.Now().Add(5 * time.Second); v.looks.watched(); {
		if time.Now().After(deadline) {
			t.Fatal("who left is still watching")
		}
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(pause / 10) // a look that has begun
	n := s.looked.Load()
	time.Sleep(2 * pause)
	if now := s.looked.Load(); now > n+1 {
		t.Errorf("%d looks while nobody watched", now-n)
	}
}

// TestConceal: while a challenge is on, neither a verdict nor a finding nor an explanation leaves the server.
func TestConceal(t *testing.T) {
	s := record(t)
	s.facts.Store(cut(t))
	why := "a challenge is on: find it yourself"
	s.conceals.Store(&why)
	server, _ := serve(t, s)
	lines, leave := listen(t, server.URL)
	defer leave()
	f := next(t, lines, func(frame) bool { return true })
	data, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	if f.Concealed != why || f.Verdict != "" || len(f.Stages) != 0 {
		t.Errorf("%+v", f)
	}
	for _, never := range []string{"Established", "Active", `\"glyph bad`, `"state":"bad"`, `"state":"ok"`, "bad-text"} {
		if strings.Contains(string(data), never) {
			t.Errorf("there is %q", never)
		}
	}
	if a := post(t, server.URL, `["packet","calico1/workload","calico2/workload"]`); a.Error != why || a.Story != nil {
		t.Errorf("%+v", a)
	}
}

func post(t *testing.T, url, body string) (a answer) {
	t.Helper()
	response, err := http.Post(url+"/explain", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&a); err != nil {
		t.Fatal(err)
	}
	return a
}

func TestExplain(t *testing.T) {
	s := record(t)
	server, _ := serve(t, s)
	lines, leave := listen(t, server.URL)
	defer leave()
	next(t, lines, func(frame) bool { return true })
	if a := post(t, server.URL, `["packet","calico1/workload","calico2/workload"]`); a.Error != "" || len(a.Journey.Hops) != 12 || len(a.Journey.Hops[3].Points) < 4 || !strings.HasPrefix(a.Story.Answer, "It arrives") || a.Story.Traces != nil {
		t.Errorf("%+v", a)
	}
	if a := post(t, server.URL, `["address","calico7/workload"]`); a.Error == "" {
		t.Error("there is no such workload")
	}
	for body, want := range map[string]int{`["verify"]`: 400, `{`: 400, `[]`: 400} {
		response, err := http.Post(server.URL+"/explain", "application/json", strings.NewReader(body))
		if err != nil || response.StatusCode != want {
			t.Errorf("%s: %v, %v", body, response, err)
		}
		_ = response.Body.Close()
	}
	response, err := http.Post(server.URL+"/explain", "text/plain", strings.NewReader(`["packet","a","b"]`))
	if err != nil || response.StatusCode != http.StatusUnsupportedMediaType {
		t.Errorf("a form of another page can send this: %v, %v", response, err)
	}
	_ = response.Body.Close()
}

// TestBlind: a look that fails is said, and the last picture stays.
func TestBlind(t *testing.T) {
	s := record(t)
	look := s.Look
	var broken atomic.Bool
	s.Look = func(ctx context.Context) (Seen, error) {
		if broken.Load() {
			return Seen{}, errors.New("no lab")
		}
		return look(ctx)
	}
	server, _ := serve(t, s)
	lines, leave := listen(t, server.URL)
	defer leave()
	next(t, lines, func(f frame) bool { return f.Error == "" })
	broken.Store(true)
	if f := next(t, lines, func(f frame) bool { return f.Error != "" }); f.Error != "no lab" || len(f.Machines) != 3 {
		t.Errorf("%+v", f)
	}
}
