package stage

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func names(stages []Stage) []string {
	var all []string
	for _, s := range stages {
		all = append(all, s.Name)
	}
	return all
}

// TestAll: each stage comes after the ones that it needs, so there is no cycle.
func TestAll(t *testing.T) {
	before := map[string]bool{}
	for _, s := range All() {
		if before[s.Name] {
			t.Errorf("two stages %s", s.Name)
		}
		for _, need := range s.Needs {
			if !before[need] {
				t.Errorf("%s needs %s, which doesn't come before", s.Name, need)
			}
		}
		before[s.Name] = true
		if s.Conditions == nil || s.Done == nil || s.Apply == nil {
			t.Errorf("%s lacks something", s.Name)
		}
		if len(s.Needs) == 0 && s.Name != Up {
			t.Errorf("%s doesn't even need machines", s.Name)
		}
	}
}

func TestClosure(t *testing.T) {
	for _, c := range []struct {
		of   []string
		want string
	}{
		{[]string{Up}, "up"},
		{[]string{Etcd}, "up etcd"},
		{[]string{Calico}, "up etcd calico"},
		{[]string{Golang}, "up golang"},
		{[]string{CNIPlugins}, "up golang cniPlugins"},
		{[]string{Cnitool}, "up golang cnitool"},
		{[]string{IPPool}, "up etcd calico ipPool"},
		{[]string{Plumb}, "up etcd calico golang cniPlugins cnitool ipPool plumb"},
		{[]string{Cnitool, Etcd}, "up etcd golang cnitool"},
		{nil, ""},
	} {
		if got := strings.Join(names(Closure(c.of...)), " "); got != c.want {
			t.Errorf("%v: %s, want %s", c.of, got, c.want)
		}
	}
}

// edges are those of the flowchart of a Markdown text that has some line in it.
func edges(t *testing.T, text, line string) map[string]bool {
	t.Helper()
	for _, chart := range regexp.MustCompile("(?s)```mermaid\nflowchart.*?\n(.*?)```").FindAllStringSubmatch(text, -1) {
		if !strings.Contains(chart[1], line) {
			continue
		}
		all := map[string]bool{}
		for line := range strings.Lines(chart[1]) {
			chain := strings.Split(strings.TrimSpace(line), " --> ")
			for i := 1; i < len(chain); i++ {
				for from := range strings.SplitSeq(chain[i-1], " & ") {
					for to := range strings.SplitSeq(chain[i], " & ") {
						all[from+" --> "+to] = true
					}
				}
			}
		}
		return all
	}
	t.Fatalf("no flowchart with %q", line)
	return nil
}

// TestPicture: the documented picture of the stages is what the stages need. verify is no stage: it is all of them.
func TestPicture(t *testing.T) {
	page, err := os.ReadFile("../../../docs/how-it-works.md")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{"plumb --> verify": true}
	for _, s := range All() {
		for _, need := range s.Needs {
			want[need+" --> "+s.Name] = true
		}
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(edges(t, string(page), "up --> etcd")))); diff != "" {
		t.Errorf("-stages +docs/how-it-works.md:\n%s", diff)
	}
}
