package report

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact/recorded"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/picture"
)

// TestWrite: a page needs nothing else, tells what was found, and what machines say is no markup in it.
func TestWrite(t *testing.T) {
	l, err := lab.Load("../stage/testdata/lab.yaml")
	if err != nil {
		t.Fatal(err)
	}
	r := &check.Report{Lab: l.Name, Results: []check.Result{
		{ID: "link/calico1", Stage: "up", Machine: "calico1", State: check.Holds, Expected: "a link", Found: "host0"},
		{ID: "felix/calico1", Stage: "calico", Machine: "calico1", State: check.Broken, Expected: "Felix is ready", Found: "<script>alert(1)</script>\x1b[2J", Try: "go tool mage ssh calico1 true"},
	}}
	p := Page{
		Picture: picture.Of(l, recorded.Lab(t, "../explain/testdata/arrives.facts.json.gz"), r), Report: r, Versions: [][2]string{{"Calico", "3.31.0"}},
		Timeline: []Span{{"up: look", 0, time.Second}, {"etcd: apply", time.Second, 3 * time.Second}}, Traced: "today",
	}
	var b strings.Builder
	if err := p.Write(&b); err != nil {
		t.Fatal(err)
	}
	html := b.String()
	for _, want := range []string{"1 of 2 conditions doesn&#39;t hold", "go tool mage ssh calico1 true", "10.1.127.192", "3.31.0", "etcd: apply", "&lt;script&gt;alert(1)&lt;/script&gt;\\x1b[2J", `id="topology-machine-calico1"`} {
		if !strings.Contains(html, want) {
			t.Errorf("no %q", want)
		}
	}
	for _, never := range []string{"<script", "<link", "src=", "url(", "@import", "ZgotmplZ"} {
		if strings.Contains(html, never) {
			t.Errorf("there is %q", never)
		}
	}
	if file := os.Getenv("LAB_TEST_PICTURES"); file != "" {
		if err := os.WriteFile(file+"/report.html", []byte(html), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPlanned(t *testing.T) {
	l, err := lab.Load("../stage/testdata/lab.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	p := Page{Picture: picture.Plan(l)}
	if err := p.Write(&b); err != nil || !strings.Contains(b.String(), "as lab.yaml has it") {
		t.Errorf("%v: %s", err, b.String())
	}
}

func TestTimeline(t *testing.T) {
	const chart = "```mermaid\ngantt\n    dateFormat x\n    axisFormat %M:%S\n    section up\n    look (0.50 s) :0, 500\n    section plumb\n    apply calico1 (a) (1.25 s) :500, 1750\n    odd (1 s) :x, 2\n```\n"
	want := []Span{{"up: look", 0, 500 * time.Millisecond}, {"plumb: apply calico1 (a)", 500 * time.Millisecond, 1250 * time.Millisecond}}
	if diff := cmp.Diff(want, Timeline(chart)); diff != "" {
		t.Error(diff)
	}
}
