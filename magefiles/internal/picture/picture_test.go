package picture

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/explain"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact/recorded"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func theLab(t *testing.T) *lab.Lab {
	t.Helper()
	l, err := lab.Load("../stage/testdata/lab.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// recording is the picture of a recorded lab, with a packet that was recorded too where story names one.
func recording(t *testing.T, facts, story string) Picture {
	t.Helper()
	p := Of(theLab(t), recorded.Lab(t, facts), nil)
	if story == "" {
		return p
	}
	l := &explain.Lab{Lab: theLab(t), Facts: recorded.Lab(t, facts), Slow: 1}
	var then explain.Story
	recorded.Read(t, story, &then)
	l.Trace = recordedTrace(then)
	words := strings.Fields(then.Question)
	topic, err := explain.Find(l.Lab, words)
	if err != nil {
		t.Fatal(err)
	}
	s, err := topic.Answer(t.Context(), l, words)
	if err != nil {
		t.Fatal(err)
	}
	p.Travel(s)
	return p
}

// TestGolden: what recorded labs look like. The drawings are for people: look at them before you believe them.
func TestGolden(t *testing.T) {
	const dir = "../explain/testdata/"
	pictures := map[string]Picture{
		"planned": Plan(theLab(t)),
		"arrives": recording(t, dir+"arrives.facts.json.gz", dir+"arrives.story.json.gz"),
		"denied":  recording(t, dir+"denied.facts.json.gz", dir+"denied.story.json.gz"),
		"no-bgp":  recording(t, "../stage/testdata/broken-bgp_calico1.json.gz", ""),
	}
	for name, p := range pictures {
		for _, w := range Questions() {
			for _, format := range Formats() {
				if format == "json" && w != Topology || w == Packet && p.Packet == nil || format == "svg" && name == "denied" && w != Packet {
					continue
				}
				t.Run(name+"-"+string(w)+"."+format, func(t *testing.T) {
					golden(t, fmt.Sprintf("%s-%s.%s", name, w, format), write(t, p, format, w))
				})
			}
		}
	}
}

func write(t *testing.T, p Picture, format string, w What) string {
	t.Helper()
	if format == "json" {
		data, err := json.MarshalIndent(p, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		return string(data) + "\n"
	}
	text, err := p.Write(format, w)
	if err != nil {
		t.Fatal(err)
	}
	if format == "svg" {
		wellFormed(t, text)
	}
	return text
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got); -update rewrites it:\n%s", file, diff)
	}
}

// wellFormed: it is XML, has no attribute that a strict content security policy forbids, and every id once.
func wellFormed(t *testing.T, svg string) {
	t.Helper()
	ids := map[string]bool{}
	d := xml.NewDecoder(strings.NewReader(svg))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		start, _ := token.(xml.StartElement)
		for _, a := range start.Attr {
			switch name := a.Name.Local; {
			case name == "style", strings.HasPrefix(name, "on"), name == "href":
				t.Errorf("<%s %s>", start.Name.Local, name)
			case name == "id" && ids[a.Value]:
				t.Errorf("two elements with id %s", a.Value)
			case name == "id":
				ids[a.Value] = true
			}
		}
	}
}

// TestStay: where things stand depends on what there is, not on how it is.
func TestStay(t *testing.T) {
	well := recording(t, "../explain/testdata/arrives.facts.json.gz", "")
	f := recorded.Lab(t, "../explain/testdata/arrives.facts.json.gz")
	delete(f.Machines, "calico2")
	f.Unreached = map[string]string{"calico2": "the machine is stopped"}
	ill := Of(theLab(t), f, nil)
	a, b := well.layout(), ill.layout()
	if diff := cmp.Diff(fmt.Sprint(a.cards), fmt.Sprint(b.cards)); diff != "" {
		t.Errorf("a machine that fell moved others (-before +after):\n%s", diff)
	}
	if m, _ := ill.Machine("calico2"); m.State != Bad || m.Why != "the machine is stopped" {
		t.Errorf("%+v", m)
	}
}

// TestConditions: the colours are the conditions'.
func TestConditions(t *testing.T) {
	f := recorded.Lab(t, "../explain/testdata/arrives.facts.json.gz")
	r := check.Report{Results: []check.Result{
		{ID: "link/calico1", Machine: "calico1", State: check.Holds},
		{ID: "felix/calico1", Machine: "calico1", State: check.Broken, Found: "it isn't ready\nsays it"},
		{ID: "go/calico2", Machine: "calico2", State: check.Unknown, Found: "no answer"},
	}}
	p := Of(theLab(t), f, &r)
	for name, want := range map[string]State{"etcd-node": OK, "calico1": Bad, "calico2": Unknown} {
		if m, ok := p.Machine(name); !ok || m.State != want {
			t.Errorf("%s is %s, want %s", name, m.State, want)
		}
	}
	m, _ := p.Machine("calico1")
	if m.Parts[0].State != Bad || m.Parts[0].Says != "it isn't ready" || m.Parts[2].State != OK || *p.Conds != (Condition{3, 2}) {
		t.Errorf("%+v, %+v", m.Parts, p.Conds)
	}
}

// apart wants every machine to have a place of its own.
func apart(t *testing.T, s *scene) {
	t.Helper()
	for a, x := range s.cards {
		for b, y := range s.cards {
			if a != b && x.x < y.x+y.w && y.x < x.x+x.w && x.y < y.y+y.h && y.y < x.y+x.h {
				t.Errorf("%s and %s overlap", a, b)
			}
		}
		if x.x < 0 || x.y < 0 || x.x+x.w > s.w || x.y+x.h > s.h {
			t.Errorf("%s isn't in the drawing", a)
		}
	}
}

// TestMembers: each member of etcd has a place of its own, and what Calico keeps there is drawn once.
func TestMembers(t *testing.T) {
	for _, n := range []int{3, 5} {
		l := theLab(t)
		first := l.Machines[0]
		for i := 2; i <= n; i++ {
			m := first
			m.Name = fmt.Sprintf("etcd%d", i)
			l.Machines = append(l.Machines, m)
		}
		p := Plan(l)
		apart(t, p.layout())
		svg := write(t, p, "svg", Topology)
		for text, want := range map[string]int{"what Calico keeps there": 1, ">etcd-node<": 1, ">etcd2<": 1, fmt.Sprintf(">etcd%d<", n): 1, ">my.ippool-1<": 1} {
			if got := strings.Count(svg, text); got != want {
				t.Errorf("%d members: %q stands %d times, not %d", n, text, got, want)
			}
		}
		if dir := os.Getenv("LAB_TEST_PICTURES"); dir != "" {
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("members-%d.svg", n)), []byte(svg), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestFifty: fifty nodes have fifty places, which don't touch each other.
func TestFifty(t *testing.T) {
	l, f := recorded.Grown(theLab(t), recorded.Lab(t, "../explain/testdata/arrives.facts.json.gz"), 50)
	p := Of(l, f, nil)
	if n, up := len(p.Sessions), p.established(); n != 1225 || up != n {
		t.Errorf("%d of %d sessions are Established", up, n)
	}
	apart(t, p.layout())
	for _, w := range []What{Topology, BGP, Blocks} {
		svg := write(t, p, "svg", w)
		if len(svg) > 700<<10 {
			t.Errorf("%s: %d kB", w, len(svg)>>10)
		}
		if dir := os.Getenv("LAB_TEST_PICTURES"); dir != "" {
			if err := os.WriteFile(filepath.Join(dir, "fifty-"+string(w)+".svg"), []byte(svg), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestQuoting(t *testing.T) {
	p := Plan(theLab(t))
	p.Machines[1].Name = `<b onload="x">&`
	p.Pools[0].Name = `"]<script>`
	p.Pools[0].Blocks = []Block{{CIDR: netip.MustParsePrefix("10.1.0.0/26"), Free: 64}}
	for _, w := range []What{Topology, BGP, Blocks} {
		svg := write(t, p, "svg", w)
		if strings.Contains(svg, "<script") || strings.Contains(svg, "<b ") {
			t.Errorf("%s: %s", w, svg)
		}
	}
	if text := write(t, p, "mermaid", Blocks); strings.Contains(text, "<script") || strings.Contains(text, `""]`) {
		t.Error(text)
	}
	if _, err := p.Write("svg", Packet); err == nil {
		t.Error("a packet that was never sent was drawn")
	}
	if _, err := p.Write("png", Topology); err == nil {
		t.Error("png")
	}
}
