package challenge

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/calico-cni-lab/lab/magefiles/internal/baseline"
	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact/recorded"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
)

// theLab is the project's, as it was when everything worked.
func theLab(t *testing.T) (*Lab, *fact.Lab) {
	t.Helper()
	l, err := lab.Load("../../../lab.yaml")
	if err != nil {
		t.Fatal(err)
	}
	f := recorded.Lab(t, "../baseline/testdata/healthy.json.gz")
	b, err := baseline.New(f, "definition", l.Network, false)
	if err != nil {
		t.Fatal(err)
	}
	return &Lab{Lab: l, Baseline: b, Slow: 1}, f
}

// opened is a challenge with a seed, on facts.
func opened(t *testing.T, l *Lab, f *fact.Lab, name string, seed uint64) *Case {
	t.Helper()
	c, err := Open(l, New(name, seed))
	if err != nil {
		t.Fatal(err)
	}
	c.facts = *f
	return c
}

// TestSeeds: every way to break the lab, on every node, is what some seed means; and the same one always.
func TestSeeds(t *testing.T) {
	l, f := theLab(t)
	for _, c := range All() {
		got := map[string]uint64{}
		for seed := range uint64(40) {
			k := opened(t, l, f, c.Name, seed)
			if _, ok := got[k.Way()]; !ok {
				got[k.Way()] = seed
			}
			if again := opened(t, l, f, c.Name, seed); again.Way() != k.Way() || k.node.Name == k.other.Name {
				t.Errorf("%s: seed %d is %s and %s", c.Name, seed, k.Way(), again.Way())
			}
		}
		if want := 2 * len(c.variants); len(got) != want {
			t.Errorf("%s: %d ways, not %d: %v", c.Name, len(got), want, got)
		}
	}
}

func TestOtherLabs(t *testing.T) {
	l, _ := theLab(t)
	for name, change := range map[string]func(*lab.Lab){
		"one node":   func(l *lab.Lab) { l.Machines = l.Machines[:2] },
		"reflectors": func(l *lab.Lab) { l.BGP.Reflectors = []string{"calico1"} },
		"VXLAN":      func(l *lab.Lab) { l.Pool.VXLANMode = lab.VXLANAlways },
	} {
		other := *l.Lab
		change(&other)
		if _, err := Open(&Lab{Lab: &other, Baseline: l.Baseline}, New("mute", 1)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// unexpanded is a word in braces that nothing was put in the place of.
var unexpanded = regexp.MustCompile(`\{[a-z][a-z-]*\}`)

// TestTexts: whatever is shown is about this lab, and fits on a terminal.
func TestTexts(t *testing.T) {
	l, f := theLab(t)
	names := map[string]bool{}
	for _, c := range All() {
		if names[c.Name] {
			t.Errorf("two are called %s", c.Name)
		}
		names[c.Name] = true
		for _, v := range c.variants {
			k := opened(t, l, f, c.Name, 1)
			k.variant = v
			texts := []string{k.Story(), k.Why()}
			for n := range MostHints {
				texts = append(texts, k.Hint(n+1))
			}
			for _, text := range texts {
				for line := range strings.SplitSeq(text, "\n") {
					if len(line) > width && !strings.HasPrefix(line, " ") {
						t.Errorf("%s: %d characters: %s", c.Name, len(line), line)
					}
				}
			}
			commands := k.Fix()
			if len(commands) == 0 || len(v.evidence) == 0 {
				t.Errorf("%s: no way out, or no evidence", c.Name)
			}
			for _, e := range v.evidence {
				commands = append(commands, k.shown(e))
			}
			for _, s := range commands {
				if _, ok := l.Machine(s.Machine); !ok {
					t.Errorf("%s: %q is no machine", c.Name, s.Machine)
				}
				texts = append(texts, strings.ReplaceAll(s.Command, "{ reject; }", ""))
			}
			for _, text := range texts {
				if word := unexpanded.FindString(text); word != "" {
					t.Errorf("%s: %s in %s", c.Name, word, text)
				}
			}
		}
	}
}

func TestExpand(t *testing.T) {
	l, f := theLab(t)
	c := opened(t, l, f, "mute", 1)
	got := c.expand("{node} {other} {etcd} {workload} {peer} {node-block} {network} {underlay} {default-route} {leaked} {passive} {calico-node}")
	want := "calico2 calico1 etcd-node 10.1.86.64 10.1.127.192 10.1.86.64/26 test-calico host0 default via 192.168.4.1 dev host0 proto static metric 100 10.1.86.{65..127} calico1 calico-release-v3.31"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestFold(t *testing.T) {
	long := strings.Repeat("0123456789 ", 9)
	for _, c := range []struct{ text, want string }{
		{"one\ntwo", "one two"},
		{"one\n\n  two\n  three\nfour\nfive", "one\n\n  two\n  three\nfour five"},
		{long, strings.TrimSpace(strings.Repeat("0123456789 ", 7)) + "\n0123456789 0123456789"},
	} {
		if got := fold(c.text); got != c.want {
			t.Errorf("%q: %q", c.text, got)
		}
	}
}

// TestState: what is kept is found again, says neither node nor cause, and isn't taken for what it isn't.
func TestState(t *testing.T) {
	dir := t.TempDir()
	if _, there, err := Read(dir); there || err != nil {
		t.Errorf("nothing is there: %v, %v", there, err)
	}
	s := New("small-talk", 7)
	s.Begun, s.Hints, s.Unmet = time.Now().Round(0), 2, []string{s.digest("pool")}
	s.Scars = []scar{{s.digest("ippools/my.ippool-1"), s.digest("disableBGPExport")}}
	if err := s.Write(dir); err != nil {
		t.Fatal(err)
	}
	got, there, err := Read(dir)
	if diff := cmp.Diff(s, got); diff != "" || !there || err != nil {
		t.Errorf("%v, %v (-want +got):\n%s", there, err, diff)
	}
	data, err := os.ReadFile(filepath.Join(dir, stateFile))
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"calico1", "calico2", "pool", "BGP", "ip"} {
		if strings.Contains(string(data), word) {
			t.Errorf("%q is in %s", word, data)
		}
	}
	for what, text := range map[string]string{
		"another version": `{"version":2,"challenge":"mute","seed":1}`, "no challenge": `{"version":1,"challenge":"loud","seed":1}`, "nothing": "",
	} {
		if err := os.WriteFile(filepath.Join(dir, stateFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, there, err := Read(dir); !there || err == nil || !strings.Contains(err.Error(), "go tool mage reset") {
			t.Errorf("%s: %v, %v", what, there, err)
		}
	}
	if err := End(dir); err != nil {
		t.Error(err)
	}
	if err := End(dir); err != nil {
		t.Errorf("again: %v", err)
	}
}

// TestSheet: the best of several times stays.
func TestSheet(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	at := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	for _, step := range []struct {
		hints int
		told  bool
		took  time.Duration
		want  string
	}{
		{1, true, time.Minute, "solved in 1m, with the answer"},
		{3, false, time.Hour, "solved in 1h00m, 3 hints"},
		{1, false, 2 * time.Hour, "solved in 2h00m, 1 hint"},
		{1, false, 3 * time.Hour, "solved in 2h00m, 1 hint"},
		{0, true, time.Second, "solved in 2h00m, 1 hint"},
		{0, false, 42 * time.Second, "solved in 42s, no hint"},
	} {
		s := New("mute", 1)
		s.Begun, s.Hints, s.Told = at.Add(-step.took), step.hints, step.told
		if err := KeepSolved(s, at); err != nil {
			t.Fatal(err)
		}
		if all, err := ReadSheet(); err != nil || all["mute"].String() != step.want {
			t.Errorf("%+v: %q, not %q (%v)", step, all["mute"], step.want, err)
		}
	}
	for range 2 {
		if err := KeepGivenUp(New("islands", 1)); err != nil {
			t.Fatal(err)
		}
	}
	all, err := ReadSheet()
	if err != nil {
		t.Fatal(err)
	}
	lines := all.Lines("islands")
	want := []string{"✓ mute         One node's workloads are mute (solved in 42s, no hint)", "… islands      The nodes don't see each other (given up twice, on)"}
	if diff := cmp.Diff(want, lines[:2]); diff != "" || all.Next() != "islands" || all.Summary() != "1 of 10 challenges solved" {
		t.Errorf("%s, %s (-want +got):\n%s", all.Next(), all.Summary(), diff)
	}
}

// edited are facts with something changed on a machine.
func edited(f *fact.Lab, machine string, change func(*fact.Machine)) *fact.Lab {
	c := f.Clone()
	m := c.Machines[machine]
	change(&m)
	c.Machines[machine] = m
	return &c
}

// TestCompare: what is the challenge's is told from what is the learner's.
func TestCompare(t *testing.T) {
	l, healthy := theLab(t)
	isDefault := func(r fact.Route) bool { return r.To.Bits() == 0 }
	broken := edited(healthy, "calico2", func(m *fact.Machine) {
		m.Routes.Value = slices.DeleteFunc(slices.Clone(m.Routes.Value), isDefault)
	})
	add := func(f *fact.Lab, r fact.Route) *fact.Lab {
		return edited(f, "calico2", func(m *fact.Machine) { m.Routes.Value = append(slices.Clone(m.Routes.Value), r) })
	}
	static := fact.Route{To: netip.MustParsePrefix("10.9.0.0/16"), Via: netip.MustParseAddr("192.168.4.5"), Dev: "host0", Protocol: "static"}
	fixed := fact.Route{To: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("192.168.4.1"), Dev: "host0"}
	elsewhere := fixed
	elsewhere.Via = netip.MustParseAddr("192.168.4.5")
	unmet := func(ids ...string) (r check.Report) {
		for _, id := range ids {
			r.Results = append(r.Results, check.Result{ID: id, State: check.Broken})
		}
		return r
	}
	begun := opened(t, l, broken, "mute", 1)
	for _, d := range baseline.Differences(l.Baseline, broken) {
		begun.State.Scars = append(begun.State.Scars, begun.scar(d))
	}
	begun.State.Unmet = []string{begun.State.digest("default-route/calico2")}
	for _, c := range []struct {
		name   string
		facts  *fact.Lab
		report check.Report
		want   Verdict
	}{
		{"nothing done", broken, unmet("default-route/calico2"), Verdict{Left: true, Late: true}},
		{"something else done", add(broken, static), unmet(), Verdict{Left: true, Changed: []string{"calico2 has route 10.9.0.0/16 via 192.168.4.5 dev host0 proto static, which wasn't there"}}},
		{"a default route to nowhere", add(broken, elsewhere), unmet(), Verdict{Left: true, Changed: []string{"calico2 has route default via 192.168.4.5 dev host0, which wasn't there"}}},
		{"another metric", add(broken, fixed), unmet(), Verdict{}},
		{"as it was", healthy, unmet(), Verdict{}},
		{"something else broken", healthy, unmet("felix/calico1"), Verdict{Unmet: []string{"felix/calico1"}}},
		{"a container of his own", edited(healthy, "calico1", func(m *fact.Machine) {
			own := fact.Container{Name: "/mine"}
			m.Docker.Value.Containers = append(slices.Clone(m.Docker.Value.Containers), own)
		}), unmet(), Verdict{}},
	} {
		k := *begun
		k.facts = *c.facts
		got := k.compare(baseline.Differences(l.Baseline, c.facts), c.report)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

// TestStays: a policy of the scene may get another order, and nothing else.
func TestStays(t *testing.T) {
	l, f := theLab(t)
	k := opened(t, l, f, "closed-door", 1)
	policies := func(specs ...string) []baseline.Difference {
		var all []baseline.Difference
		for i, s := range specs {
			if s != "" {
				all = append(all, baseline.Difference{Key: k.stays[i], How: baseline.Extra, Is: baseline.Item{Key: k.stays[i], Value: `{"spec":` + s + `}`}})
			}
		}
		return all
	}
	for _, d := range policies(`{"order":200,"selector":"all()"}`, `{"order":100}`) {
		k.State.Scars = append(k.State.Scars, k.scar(d))
	}
	const web, lock = "globalnetworkpolicies/default.allow-web", "globalnetworkpolicies/default.lock-down"
	for _, c := range []struct {
		allow, deny string
		removed     []string
	}{
		{`{"order":200,"selector":"all()"}`, `{"order":100}`, nil},
		{`{"order":50,"selector":"all()","tier":"default"}`, `{"order":100}`, nil},
		{`{"selector":"all()"}`, `{"order":1.5}`, nil},
		{`{"order":200,"selector":"all()"}`, "", []string{lock}},
		{"", "", []string{web, lock}},
		{`{"order":50,"selector":"has(x)"}`, `{"order":100}`, []string{web}},
		{`{"order":200,"selector":"all()"}`, `{"order":300,"tier":"other"}`, []string{lock}},
	} {
		if got := k.compare(policies(c.allow, c.deny), check.Report{}).Removed; !slices.Equal(got, c.removed) {
			t.Errorf("%s %s: %v", c.allow, c.deny, got)
		}
	}
}

// TestLines: a verdict gives nothing away that the learner didn't do himself.
func TestLines(t *testing.T) {
	for _, c := range []struct {
		v    Verdict
		want string
	}{
		{Verdict{Symptom: []string{"no reply"}, Left: true, Late: true, Unmet: []string{"bgp/calico1"}}, "✗ still so: no reply"},
		{Verdict{Left: true, Late: true}, "✗ the symptom is gone, but its cause isn't: what was broken still is"},
		{Verdict{Changed: []string{"calico1 has x"}, Left: true}, "✗ calico1 has x\n✗ the symptom is gone, but its cause isn't: what was broken still is"},
		{Verdict{Unmet: []string{"bgp/calico1"}}, "✗ and now this doesn't hold, which did before: bgp/calico1"},
	} {
		if got := strings.Join(c.v.Lines(), "\n"); got != c.want || c.v.Solved() {
			t.Errorf("%+v:\n%s\nnot\n%s", c.v, got, c.want)
		}
	}
}

// TestLeak: a block is full afterwards, and every address has a handle.
func TestLeak(t *testing.T) {
	l, f := theLab(t)
	k := opened(t, l, f, "full-house", 1)
	ops, err := leak(f.Machines["etcd-node"].Datastore.Value, k.block(k.node), k.node.Name, l.Network, 1)
	if err != nil {
		t.Fatal(err)
	}
	var all []fact.KeyValue
	for _, op := range ops {
		all = append(all, op.KeyValue)
	}
	d, err := fact.ParseDatastore(all)
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Blocks) != 1 || d.Blocks[0].Free != 0 || len(d.Blocks[0].Used) != 64 || d.Blocks[0].Node != "calico2" || len(d.Handles) != 63 {
		t.Errorf("%+v, %d handles", d.Blocks, len(d.Handles))
	}
	resources, err := fact.ParseResources(all)
	handles := map[string]bool{}
	for _, a := range resources.Allocations {
		handles[a.Handle] = true
	}
	if err != nil || len(handles) != 64 {
		t.Errorf("%d handles: %v", len(handles), err)
	}
	k.facts.Datastore.Value.Blocks = d.Blocks
	if !leaked(k) {
		t.Error("nothing is leaked")
	}
	if k.facts = *f; leaked(k) {
		t.Error("the healthy lab leaks")
	}
}

func TestMeshOn(t *testing.T) {
	for spec, want := range map[string]bool{
		`{}`: true, `{"nodeToNodeMeshEnabled":true}`: true, `{"nodeToNodeMeshEnabled":false}`: false, `{"nodeToNodeMeshEnabled":true,"asNumber":64999}`: false,
	} {
		d := baseline.Difference{How: baseline.Extra, Is: baseline.Item{Value: `{"spec":` + spec + `}`}}
		if got := meshOn(d); got != want {
			t.Errorf("%s: %t", spec, got)
		}
	}
}

func TestSameConflist(t *testing.T) {
	l, f := theLab(t)
	k := opened(t, l, f, "newcomers", 1)
	text := func(content string) string {
		data, err := json.Marshal(fact.Text{Mode: "644", Content: content})
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	key := baseline.Key{Kind: baseline.Path, Machine: "calico2", Name: k.conflist()}
	was := baseline.Item{Key: key, Raw: text(`{"name": "a", "plugins": [{"type": "calico"}]}`)}
	for content, want := range map[string]bool{
		`{"plugins":[{"type":"calico"}],"name":"a"}`: true, `{"plugins":[{"type":"calico","nodename":"x"}],"name":"a"}`: false, `no JSON`: false,
	} {
		d := baseline.Difference{Key: key, How: baseline.Changed, Was: was, Is: baseline.Item{Key: key, Raw: text(content)}}
		if got := sameConflist(k, d); got != want {
			t.Errorf("%s: %t", content, got)
		}
	}
}
