//go:build linux

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/fault"
	"github.com/calico-cni-lab/lab/magefiles/internal/stage"
)

// brokenAndMended: check names first what is broken and then only what follows from it, and one verify mends it or says whose it is. Of each
// stage it is one fault that verify mends, in the long round all.
func brokenAndMended(l *lab) {
	stageOf := map[string]string{}
	for _, res := range l.report().Results {
		stageOf[res.ID] = res.Stage
	}
	broken := map[string]bool{}
	for _, f := range fault.All() {
		of := stageOf[f.First]
		if f.Rare || round != "long" && (of == "" || broken[of] || f.Left != "") {
			continue
		}
		broken[of] = true
		l.part(f.Name, func(l *lab) {
			faulty := l.faulty()
			faulty.Seen = func(f fault.Fault, _ []check.Result) { l.record(f.First) }
			o := faulty.Round(l.t.Context(), f)
			for _, err := range o.Errs {
				l.t.Error(err)
			}
			l.t.Logf("mended in %.1f s", o.Mending.Seconds())
		})
	}
	for _, name := range stages() {
		if !broken[name] {
			l.t.Errorf("stage %s was not broken", name)
		}
	}
	l.sub("every condition has a fault", everyCondition)
}

// record keeps the facts of a broken lab as a fixture of package stage's tests, in the directory that
// LAB_TEST_RECORD names.
func (l *lab) record(id string) {
	l.t.Helper()
	dir := os.Getenv("LAB_TEST_RECORD")
	if dir == "" || id == "" {
		return
	}
	name := filepath.Join(dir, "broken-"+strings.ReplaceAll(id, "/", "_")+".json")
	if _, err := os.Stat(name); err == nil {
		return // of another fault that it names first, too
	}
	if err := os.WriteFile(name, l.facts(), 0o644); err != nil {
		l.t.Fatal(err)
	}
}

// facts are what a look sees now, as the logs' archive has them.
func (l *lab) facts() []byte {
	l.t.Helper()
	file, _, _ := strings.Cut(l.ok("logs"), ".tar.gz")
	facts, err := exec.Command("tar", "-xzOf", strings.TrimSpace(file)+".tar.gz", "--wildcards", "*/facts.json").Output()
	if err != nil {
		l.t.Fatalf("%s: %v", file, err)
	}
	return facts
}

// everyCondition: a condition that no break breaks could be one that can't fail.
func everyCondition(l *lab) {
	broken := fault.Kinds(fault.All())
	broken["old-network"] = true // poolAndNetwork
	for _, res := range l.report().Results {
		if kind, _, _ := strings.Cut(res.ID, "/"); !broken[kind] {
			l.t.Errorf("nothing breaks %s", res.ID)
		}
		if !slices.Contains(stages(), res.Stage) {
			l.t.Errorf("%s belongs to no stage: %q", res.ID, res.Stage)
		}
	}
	if len(stage.All()) != 8 {
		l.t.Errorf("%d stages", len(stage.All()))
	}
}
