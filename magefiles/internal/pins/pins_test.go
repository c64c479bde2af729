package pins

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-version"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
)

// goVersions is what `go list -m -versions go` printed on 2026-11-24, cut.
const goVersions = "go 1.25.14 1.26rc1 1.26.0 1.26.7 1.26.8 1.26.9 1.26.10 1.26.11 1.27.0 1.27.4"

// tags is in the form that `git ls-remote --tags` prints: lightweight tags, and an annotated one with its commit.
const tags = `1111111111111111111111111111111111111111	refs/tags/v7
2222222222222222222222222222222222222222	refs/tags/v7.0.0
3333333333333333333333333333333333333333	refs/tags/v7.0.1
4444444444444444444444444444444444444444	refs/tags/v7.0.1^{}
5555555555555555555555555555555555555555	refs/tags/nightly
6666666666666666666666666666666666666666	refs/heads/main
`

func ver(t *testing.T, s string) *version.Version {
	t.Helper()
	v, err := version.NewVersion(s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestLook(t *testing.T) {
	constraint, err := version.NewConstraint("~> 1.26.0")
	if err != nil {
		t.Fatal(err)
	}
	recorded := func(context.Context) ([]*version.Version, error) { return parse(strings.Fields(goVersions)), nil }
	for _, c := range []struct {
		name         string
		pin          Pin
		newest, best string
		behind       bool
	}{
		{"a newer one is allowed", Pin{Have: ver(t, "1.26.8"), Allowed: constraint, releases: recorded}, "1.27.4", "1.26.11", true},
		{"newest that is allowed", Pin{Have: ver(t, "1.26.11"), Allowed: constraint, releases: recorded}, "1.27.4", "1.26.11", false},
		{"everything is allowed", Pin{Have: ver(t, "1.26.8"), releases: recorded}, "1.27.4", "1.27.4", true},
		{"no source", Pin{Note: "made here"}, "", "", false},
		{"source can't be reached", Pin{Have: ver(t, "1.26.8"), releases: func(context.Context) ([]*version.Version, error) {
			return nil, errors.New("can't be reached")
		}}, "", "", false},
	} {
		o := Look(t.Context(), []Pin{c.pin})[0]
		text := func(v *version.Version) string {
			if v == nil {
				return ""
			}
			return v.String()
		}
		if text(o.Newest) != c.newest || text(o.Best) != c.best || o.Behind() != c.behind {
			t.Errorf("%s: newest %v, best %v, behind %t", c.name, o.Newest, o.Best, o.Behind())
		}
	}
}

func TestParseTags(t *testing.T) {
	want := map[string]string{
		"v7": strings.Repeat("1", 40), "v7.0.0": strings.Repeat("2", 40), "v7.0.1": strings.Repeat("4", 40), "nightly": strings.Repeat("5", 40),
	}
	if diff := cmp.Diff(want, parseTags(tags)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestPinAction(t *testing.T) {
	before := "      - uses: actions/checkout@" + strings.Repeat("a", 40) + " # v7.0.0\n      - uses: actions/cache/save@" + strings.Repeat("b", 40) + " # v6.1.0\n"
	after := "      - uses: actions/checkout@" + strings.Repeat("4", 40) + " # v7.0.1\n      - uses: actions/cache/save@" + strings.Repeat("b", 40) + " # v6.1.0\n"
	if got := string(pinAction([]byte(before), "actions/checkout", strings.Repeat("4", 40), "7.0.1")); got != after {
		t.Errorf("got:\n%s", got)
	}
	if got := string(pinAction([]byte(before), "actions/cache", strings.Repeat("c", 40), "6.2.0")); !strings.Contains(got, "actions/cache/save@"+strings.Repeat("c", 40)+" # v6.2.0\n") {
		t.Errorf("got:\n%s", got)
	}
}

func TestPinPseudo(t *testing.T) {
	const old, pseudo = "v0.0.0-20251021213802-b1f3c43f8437", "v0.0.0-20260101000000-0123456789ab"
	before := "require github.com/projectcalico/calico " + old + " // indirect; v3.31.0\n\nrequire (\n" +
		"\tgithub.com/projectcalico/calico/lib/std v0.0.0-00010101000000-000000000000 // indirect\n" +
		"\tgithub.com/projectcalico/go-json " + old + " // indirect\n)\n\nreplace (\n" +
		"\tgithub.com/projectcalico/calico/lib/std => github.com/projectcalico/calico/lib/std " + old + "\n)\n"
	want := strings.Replace(before, "calico "+old+" // indirect; v3.31.0", "calico "+pseudo+" // indirect; v3.31.1", 1)
	want = strings.Replace(want, "=> github.com/projectcalico/calico/lib/std "+old, "=> github.com/projectcalico/calico/lib/std "+pseudo, 1)
	if diff := cmp.Diff(want, string(pinPseudo([]byte(before), "github.com/projectcalico/calico", pseudo, "v3.31.1"))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// project is a copy of what pins stand in.
func project(t *testing.T) Book {
	t.Helper()
	root := t.TempDir()
	for _, name := range []string{
		"lab.yaml", "go.mod", "go.sum", "components/calico/go.mod", "components/etcd/go.mod", "components/cni/go.mod", "components/cni/go.sum",
		"components/lint/go.mod", "components/actionlint/go.mod", "components/debian/Dockerfile", artifact.PublishedFile, "action.yml", ".github/workflows/ci.yml", ".github/workflows/pins.yml", ".github/workflows/release.yml", ".github/workflows/vagrant.yml",
	} {
		data, err := os.ReadFile(filepath.Join("../../..", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(root, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	l, err := lab.Load(filepath.Join(root, "lab.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return Book{Root: root, Lab: l, Run: &command.Runner{}}
}

func TestPins(t *testing.T) {
	all, err := project(t).Pins()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range all {
		names = append(names, p.Name)
		if (p.Have == nil) != (p.Note != "") {
			t.Errorf("%s: %v, %q", p.Name, p.Have, p.Note)
		}
	}
	want := []string{
		"calico", "etcd", "cnitool", "plugins", "mage", "golangci-lint", "actionlint", "govulncheck", "go", "box", "debian-image",
		"actions/attest-build-provenance", "actions/cache", "actions/checkout", "actions/download-artifact", "actions/setup-go", "actions/upload-artifact",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestBumpRefuses(t *testing.T) {
	b := project(t)
	for _, c := range []struct{ name, release, want string }{
		{"ectd", "3.6.16", `no pin "ectd"; there are calico, etcd`},
		{"etcd", "newest", "go tool mage dev:bump etcd 3.6.16"},
		{"etcd", "99.0.0", "for etcd (allowed.etcd); change that first"},
		{"box", "1.0.0", "made here"},
	} {
		if err := b.Bump(t.Context(), c.name, c.release); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("bump %s %s: %v", c.name, c.release, err)
		}
	}
}

func TestBumpGo(t *testing.T) {
	b := project(t)
	before, err := os.ReadFile(b.Lab.Files[0])
	if err != nil {
		t.Fatal(err)
	}
	have := b.Lab.Versions.Go
	next := fmt.Sprintf("%d.%d.%d", have.Segments()[0], have.Segments()[1], have.Segments()[2]+1)
	if err := b.Bump(t.Context(), "go", "v"+next); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(b.Lab.Files[0])
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Replace(string(before), "  go: "+have.String()+" ", "  go: "+next+" ", 1)
	if diff := cmp.Diff(want, string(after)); diff != "" || want == string(before) {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if all, err := artifact.ReadPins(b.Root); err != nil || all.Compiler != "go"+next {
		t.Errorf("what compiles is %s (%v)", all.Compiler, err)
	}
}

// TestCompiler: one release of Go compiles what is put on the machines, and is put on them.
func TestCompiler(t *testing.T) {
	b := project(t)
	if all, err := artifact.ReadPins(b.Root); err != nil || all.Compiler != "go"+b.Lab.Versions.Go.String() {
		t.Errorf("go.mod says %s (%v), lab.yaml %s", all.Compiler, err, b.Lab.Versions.Go)
	}
}

// TestBumpExtended: a lab file without pins of its own has them where they stand changed.
func TestBumpExtended(t *testing.T) {
	b := project(t)
	own := filepath.Join(b.Root, "own.yaml")
	if err := os.WriteFile(own, []byte("extends: lab.yaml\nname: own\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var err error
	if b.Lab, err = lab.Load(own); err != nil {
		t.Fatal(err)
	}
	if err := b.Bump(t.Context(), "go", "1.26.99"); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]bool{"own.yaml": false, "lab.yaml": true} {
		data, err := os.ReadFile(filepath.Join(b.Root, file))
		if err != nil || strings.Contains(string(data), "  go: 1.26.99") != want {
			t.Errorf("%s: %v\n%s", file, err, data)
		}
	}
}

// TestBumpModule asks the module proxy, and changes a real go.mod and its go.sum.
func TestBumpModule(t *testing.T) {
	if testing.Short() {
		t.Skip("needs the module proxy")
	}
	b := project(t)
	p, err := b.Find("plugins")
	if err != nil {
		t.Fatal(err)
	}
	if o := p.look(t.Context()); o.Err != nil || o.Newest.LessThan(ver(t, "1.9.1")) {
		t.Errorf("the proxy: newest %v, %v", o.Newest, o.Err)
	}
	if err := b.Bump(t.Context(), "plugins", "1.9.0"); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{"go.mod": "\tgithub.com/containernetworking/plugins v1.9.0 ", "go.sum": "github.com/containernetworking/plugins v1.9.0 h1:"} {
		data, err := os.ReadFile(filepath.Join(b.Root, "components/cni", file))
		if err != nil || !strings.Contains(string(data), want) || strings.Contains(string(data), "plugins v1.9.1") {
			t.Errorf("%s: %v\n%s", file, err, data)
		}
	}
	lock, err := os.ReadFile(filepath.Join(b.Root, artifact.PublishedFile))
	if err != nil {
		t.Fatal(err)
	}
	for part, want := range map[string]bool{
		"compile  https://github.com/containernetworking/plugins/releases/download/v1.9.0/cni-plugins-linux-arm64-v1.9.0.tgz\n": true,
		"/v1.9.1/": false, "compile  https://github.com/projectcalico/calico": false,
	} {
		if strings.Contains(string(lock), part) != want {
			t.Errorf("%s: %t\n%s", part, !want, lock)
		}
	}
}
