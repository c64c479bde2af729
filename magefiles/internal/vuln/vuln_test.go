package vuln

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// report is in the form of `govulncheck -format json`: one called, one imported, one only required.
const report = `{"config": {"protocol_version": "v1.0.0"}}
{"osv": {"id": "GO-2026-0001", "summary": "Panic in a parser"}}
{"osv": {"id": "GO-2026-0002", "summary": "Slow in another"}}
{"finding": {"osv": "GO-2026-0002", "trace": [{"module": "example.com/b", "version": "v1.0.0"}]}}
{"finding": {"osv": "GO-2026-0002", "trace": [{"module": "example.com/b", "version": "v1.0.0", "package": "example.com/b/p"}]}}
{"finding": {"osv": "GO-2026-0001", "fixed_version": "v1.2.4", "trace": [{"module": "example.com/a", "version": "v1.2.3", "package": "example.com/a"}]}}
{"finding": {"osv": "GO-2026-0001", "fixed_version": "v1.2.4", "trace": [{"module": "example.com/a", "version": "v1.2.3", "package": "example.com/a", "function": "Parse"}]}}
{"finding": {"osv": "GO-2026-0003", "trace": [{"module": "example.com/c", "version": "v1.0.0"}]}}
`

func TestParse(t *testing.T) {
	for level, want := range map[Level]string{Imported: "GO-2026-0001 GO-2026-0002", Called: "GO-2026-0001"} {
		found, err := Parse(strings.NewReader(report), level)
		var ids []string
		for _, f := range found {
			ids = append(ids, f.ID)
		}
		if err != nil || strings.Join(ids, " ") != want {
			t.Errorf("level %d: %v, %v", level, ids, err)
		}
	}
	if _, err := Parse(strings.NewReader("govulncheck: no"), Called); err == nil {
		t.Error("something else was read as a report")
	}
}

func TestFaults(t *testing.T) {
	found, err := Parse(strings.NewReader(report), Imported)
	if err != nil {
		t.Fatal(err)
	}
	today := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	file := filepath.Join(t.TempDir(), "vulnerabilities.yaml")
	faults := func(yaml string) string {
		t.Helper()
		if err := os.WriteFile(file, []byte(yaml), 0o644); err != nil {
			t.Fatal(err)
		}
		exceptions, err := ReadExceptions(file)
		if err != nil {
			return err.Error()
		}
		var lines []string
		for _, f := range Faults(found, exceptions, today) {
			lines = append(lines, f.Error())
		}
		return strings.Join(lines, "\n")
	}
	both := "- {id: GO-2026-0001, module: example.com/a, reason: r, until: 2026-11-25}\n- {id: GO-2026-0002, module: example.com/b, reason: r, until: 2026-12-31}\n"
	for yaml, want := range map[string]string{
		"[]": "GO-2026-0001 in example.com/a v1.2.3: Panic in a parser; fixed in v1.2.4\nGO-2026-0002 in example.com/b v1.0.0: Slow in another",
		both: "",
		strings.Replace(both, "11-25", "11-24", 1):                               "GO-2026-0001 in example.com/a v1.2.3: Panic in a parser; fixed in v1.2.4; its exception ended on 2026-11-24",
		both + "- {id: GO-2026-0009, module: m, reason: r, until: 2026-12-31}\n": "GO-2026-0009 in m is excepted, but not found any more; remove the exception",
		"- {id: GO-2026-0001, module: m, reason: r}\n":                           "entry 1 needs id, module, reason and until",
	} {
		if got := faults(yaml); got != want && !(strings.Contains(want, "needs") && strings.HasSuffix(got, want)) {
			t.Errorf("with\n%s\ngot  %s\nwant %s", yaml, got, want)
		}
	}
}

func TestProjectExceptions(t *testing.T) {
	if _, err := ReadExceptions("../../../components/lint/vulnerabilities.yaml"); err != nil {
		t.Error(err)
	}
}
