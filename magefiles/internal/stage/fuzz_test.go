package stage

import (
	"encoding/json"
	"maps"
	"path/filepath"
	"slices"
	"testing"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
)

// FuzzFacts: whatever a machine says, every condition of every stage comes to a finding, and so does everything else that is
// made of facts before anything is done. Recorded facts of whole labs have one value exchanged, or one list or object.
func FuzzFacts(f *testing.F) {
	files, err := filepath.Glob("testdata/*.json.gz")
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for i := range files {
		f.Add(uint8(i), uint16(i*97), []string{`null`, `"\u001b[2J\u009b"`, `[null]`, `{}`}[i%4])
	}
	envs, trees := map[string]*Env{}, map[string]any{}
	f.Fuzz(func(t *testing.T, which uint8, at uint16, value string) {
		file := files[int(which)%len(files)]
		if envs[file] == nil {
			recorded := recording(t, file)
			envs[file], trees[file] = envOf(t, recorded, ""), tree(t, recorded)
		}
		e := envs[file]
		var v any
		if json.Unmarshal([]byte(value), &v) != nil {
			v = value
		}
		data, err := json.Marshal(exchanged(trees[file], &at, v))
		if err != nil {
			t.Fatal(err)
		}
		seen, err := fact.Read(data)
		if err != nil {
			return // what the look at a machine printed is no facts, which is an error with the machine's name
		}
		stages := All()
		r := check.Run(Conditions(e, stages), &seen)
		for _, res := range r.Results {
			if res.State == "" || res.Found == "" && res.State != check.Holds {
				t.Errorf("%s is %q: %q", res.ID, res.State, res.Found)
			}
		}
		_, _ = check.Summary(r.Unmet()), check.Grouped(r.Unmet())
		ofFacts(e, stages, &seen, r)
	})
}

// ofFacts makes what the stages make of facts: texts, what is waited for, and scripts.
func ofFacts(e *Env, stages []Stage, seen *fact.Lab, r check.Report) {
	for _, s := range stages {
		s.Done(e, seen)
		for _, m := range s.machines(e.Lab) {
			if s.Until != nil {
				s.Until(e, m, seen)
			}
		}
		part := r.Of(s.Name)
		j := Job{Facts: seen, Unmet: part.Unmet()}
		e.toPlumb(j)
		lost(j)
	}
	for _, m := range e.Lab.Machines {
		is := seen.Machines[m.Name]
		var s script
		for _, c := range e.Containers(m) {
			s.ensure(c, is.Docker.Value)
		}
		detach(&s, e, is, every)
		e.plumbing(m, is, Job{Facts: seen})
		oldConflists(e, is)
		differing(e.CalicoctlFiles(), is)
		if m.Role == lab.RoleCalico {
			differing(e.CnitoolFiles(), is)
		}
	}
}

// tree is recorded facts as JSON that can be walked.
func tree(t *testing.T, f *fact.Lab) (v any) {
	t.Helper()
	data, err := f.Write()
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// exchanged is a copy of a JSON value in which the one at a place, counted from the outside in, is another.
func exchanged(v any, at *uint16, by any) any {
	if *at == 0 {
		*at--
		return by
	}
	*at--
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for _, key := range slices.Sorted(maps.Keys(v)) {
			out[key] = exchanged(v[key], at, by)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = exchanged(v[i], at, by)
		}
		return out
	}
	return v
}
