package lesson

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

const chapter = `# A title

Before.

## First

Text with ` + "`code`" + `.

> **Predict:** how many
> of them?

` + "```console" + `
calico1$ cat >file <<EOF
> one
>
> two
> EOF
calico1$ ip route
default via {gateway}
> is no continuation here
$ go tool mage check
` + "```" + `

<details><summary>Answer</summary>

` + "`3`" + `: because.

</details>

` + "```yaml" + `
# no heading
kind: IPPool
` + "```" + `

` + "```check" + `
route calico1 10.0.0.0/8

still works
` + "```" + `

## Undo
`

func TestParse(t *testing.T) {
	got, err := Parse("docs/07-the-route.md", chapter)
	if err != nil {
		t.Fatal(err)
	}
	want := Chapter{Dir: "docs", File: "07-the-route.md", Name: "the-route", Title: "A title", Steps: []Step{
		{Blocks: []Block{{Kind: Text, Line: 3, Text: "Before."}}},
		{Title: "First", Blocks: []Block{
			{Kind: Text, Line: 7, Text: "Text with `code`."},
			{Kind: Predict, Line: 9, Text: "how many\nof them?"},
			{Kind: Console, Line: 12, Commands: []Command{
				{Line: 13, Machine: "calico1", Command: "cat >file <<EOF\none\n\ntwo\nEOF"},
				{Line: 18, Machine: "calico1", Command: "ip route", Output: []string{"default via {gateway}", "> is no continuation here"}},
				{Line: 21, Command: "go tool mage check"},
			}},
			{Kind: Answer, Line: 24, Text: "`3`: because.", Key: "3"},
			{Kind: Text, Line: 30, Text: "```yaml\n# no heading\nkind: IPPool\n```"},
			{Kind: Check, Line: 35, Checks: []Expect{{Line: 36, Predicate: "route calico1 10.0.0.0/8"}, {Line: 38, Still: true, Predicate: "works"}}},
		}},
		{Title: "Undo"},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestExperiment: what an experiment says about where it can be done.
func TestExperiment(t *testing.T) {
	got, err := Parse("docs/experiments/11-reflectors.md", "# R\n\nGoal.\n\nLab: [labs/reflectors.yaml](../../labs/reflectors.yaml), four nodes.\n\n"+
		"```needs\nthe program nft: calico1$ command -v nft\n```\n\n## One\n\nLab: [labs/none.yaml](x)\n")
	if err != nil {
		t.Fatal(err)
	}
	if got.Lab != "labs/reflectors.yaml" || got.Number() != "11" || got.Path() != "docs/experiments/11-reflectors.md" {
		t.Errorf("%+v", got)
	}
	want := []Command{{Line: 8, What: "the program nft", Machine: "calico1", Command: "command -v nft"}}
	if diff := cmp.Diff(want, got.Steps[0].Blocks[1].Commands); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestParseFaults(t *testing.T) {
	for _, c := range []struct{ file, text, want string }{
		{"readme.md", "# T\n", "NN-name.md"},
		{"01-a.md", "text\n", "01-a.md:1: there is no title"},
		{"01-a.md", "# T\n```console\nls\n```\n", "01-a.md:3: a console block begins with a prompt"},
		{"01-a.md", "# T\n```console\n$ ls\n", "01-a.md:2: the block is never closed"},
		{"01-a.md", "# T\n<details>\n", "01-a.md:2: <details> is never closed"},
		{"01-a.md", "# T\n```console\n$ ls\n{a} {a}\n```\n", "01-a.md:4: {a} stands twice"},
		{"01-a.md", "# T\n```needs\nnft\n```\n", "01-a.md:3: a need is written so"},
	} {
		if _, err := Parse(c.file, c.text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v; want %q", c.text, err, c.want)
		}
	}
}

func TestRead(t *testing.T) {
	all, err := Read(fstest.MapFS{
		"x/01-c.md": {Data: []byte("# C\n")},
		"t/02-b.md": {Data: []byte("# B\n")}, "t/01-a.md": {Data: []byte("# A\n")}, "t/README.md": {Data: []byte("no chapter")},
	}, "t", "x")
	var paths []string
	for _, c := range all {
		paths = append(paths, c.Path())
	}
	if diff := cmp.Diff([]string{"t/01-a.md", "t/02-b.md", "x/01-c.md"}, paths); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	_, err = Read(fstest.MapFS{"t/01-a.md": {Data: []byte("# A\n")}, "x/02-a.md": {Data: []byte("none")}}, "t", "x")
	if err == nil || !strings.Contains(err.Error(), "x/02-a.md: the chapter's name is that of t/01-a.md") || !strings.Contains(err.Error(), "no title") {
		t.Errorf("%v; want both mistakes", err)
	}
}

func TestRewrite(t *testing.T) {
	c, err := Parse("01-a.md", chapter)
	if err != nil {
		t.Fatal(err)
	}
	commands := c.Steps[1].Blocks[2].Commands
	got := Rewrite(chapter, []Printed{{commands[0], []string{"made"}}, {commands[2], []string{"ok", "done"}}, {commands[1], nil}})
	want := strings.Replace(chapter, "> EOF\n", "> EOF\nmade\n", 1)
	want = strings.Replace(want, "default via {gateway}\n> is no continuation here\n", "", 1)
	want = strings.Replace(want, "mage check\n", "mage check\nok\ndone\n", 1)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
