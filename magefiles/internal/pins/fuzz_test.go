package pins

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"
)

// FuzzTags: of `git ls-remote --tags`, whatever a repository's tags are called, each tag has a commit that a line named.
func FuzzTags(f *testing.F) {
	for _, s := range []string{"1 refs/tags/v1.0.0\n2 refs/tags/v1.0.0^{}\n", "1 refs/tags/\n", "1 refs/heads/v1\n", "x\trefs/tags/^{}\n", "1 refs/tags/v1^{}^{}\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, out string) {
		words := strings.Fields(out)
		for tag, commit := range parseTags(out) {
			if !slices.Contains(words, commit) || !strings.Contains(out, "refs/tags/"+tag) {
				t.Errorf("%q is %q", tag, commit)
			}
		}
		parse(words)
	})
}

// FuzzAction: a pin is changed in a workflow where it stands, and nothing else is; what was changed is found again.
func FuzzAction(f *testing.F) {
	data, err := os.ReadFile("../../../.github/workflows/ci.yml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	const old, commit, release = "0123456789abcdef0123456789abcdef01234567", "ffffffffffffffffffffffffffffffffffffffff", "99.0.0"
	f.Add([]byte("uses: actions/checkout@" + old + " # v1\nuses: " + old + "/" + old + "@" + old + " # v1\n"))
	f.Add([]byte("uses: actions/checkout/" + old + "@" + old + " # v1.0.0\n"))
	f.Fuzz(func(t *testing.T, workflow []byte) {
		for _, m := range action.FindAllSubmatch(workflow, -1) {
			name := string(m[1])
			changed := pinAction(workflow, name, commit, release)
			before, after := action.FindAllSubmatch(workflow, -1), action.FindAllSubmatch(changed, -1)
			if len(before) != len(after) || bytes.Count(before[0][0], []byte("\n")) != bytes.Count(after[0][0], []byte("\n")) {
				t.Fatalf("%d pins, then %d:\n%s", len(before), len(after), changed)
			}
			for i := range after {
				same := bytes.Equal(before[i][0], after[i][0])
				if mine := string(before[i][1]) == name; mine && (string(after[i][1]) != name || string(after[i][2]) != commit || string(after[i][3]) != release) || !mine && !same {
					t.Errorf("%q became %q", before[i][0], after[i][0])
				}
			}
		}
	})
}

// FuzzPseudo: a go.mod whose pin is changed is a go.mod, with as many lines and requirements.
func FuzzPseudo(f *testing.F) {
	for _, file := range []string{"../../../go.mod", "../../../components/calico/go.mod"} {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte("require github.com/projectcalico/api v0.0.0-20251022175904-f2ab03771208 // indirect; v3.31.0\n"))
	f.Fuzz(func(t *testing.T, gomod []byte) {
		before, err := modfile.Parse("go.mod", gomod, nil)
		if err != nil {
			return
		}
		changed := pinPseudo(gomod, "github.com/projectcalico/api", "v0.0.0-20261022175904-aaaaaaaaaaaa", "v3.99.0")
		after, err := modfile.Parse("go.mod", changed, nil)
		if err != nil {
			t.Fatalf("%v:\n%s", err, changed)
		}
		if len(before.Require) != len(after.Require) || len(before.Replace) != len(after.Replace) || bytes.Count(gomod, []byte("\n")) != bytes.Count(changed, []byte("\n")) {
			t.Errorf("from:\n%s\nto:\n%s", gomod, changed)
		}
	})
}
