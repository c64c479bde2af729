package target

import (
	"strings"
	"testing"

	"github.com/calico-cni-lab/lab/magefiles/internal/learn/lesson"
)

func TestChapterNamed(t *testing.T) {
	for line, want := range map[string]string{
		"mage learn":                    "",
		"mage learn -play":              "",
		"mage learn the-lab":            "the-lab",
		"mage -v Learn -play the-lab":   "the-lab",
		"learn learn -update=true bgp":  "bgp",
		"mage learn the-lab -play":      "error: -play stands behind the chapter's name; type: go tool mage learn -play the-lab",
		"mage learn -play bgp -update":  "error: -update stands behind the chapter's name; type: go tool mage learn -play -update bgp",
		"mage learn the-lab the-route":  "error: learn takes one chapter, not 2; type: go tool mage learn the-lab",
		"mage learn -play bgp verify x": "error: learn takes one chapter, not 3; type: go tool mage learn -play bgp",
	} {
		got, err := Chapter(strings.Fields(line))
		if err != nil {
			got = "error: " + err.Error()
		}
		if got != want {
			t.Errorf("%s: %q, not %q", line, got, want)
		}
	}
}

func TestChapter(t *testing.T) {
	all := []lesson.Chapter{
		{Dir: tutorial, File: "01-the-lab.md", Name: "the-lab"}, {Dir: tutorial, File: "11-bgp.md", Name: "bgp"},
		{Dir: experiments, File: "01-a-wire.md", Name: "a-wire"},
	}
	for name, want := range map[string]string{"the-lab": "the-lab", "1": "the-lab", "01": "the-lab", "11": "bgp", "e1": "a-wire", "E1": "a-wire"} {
		if c, err := chapter(all, name); c.Name != want || err != nil {
			t.Errorf("%s: %q, %v", name, c.Name, err)
		}
	}
	for name, want := range map[string]string{"the-lub": "did you mean the-lab?", "quantum": "there are the-lab, bgp, a-wire"} {
		if _, err := chapter(all, name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, without %q", name, err, want)
		}
	}
}
