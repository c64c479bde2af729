// Package pins knows every release that is pinned: where it stands, what is newer, and how it is changed.
package pins

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-version"
	"golang.org/x/mod/modfile"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
)

// Pin is one release that is pinned.
type Pin struct {
	Name    string
	Have    *version.Version    // nil: there is nothing to compare
	Allowed version.Constraints // nil: everything
	Note    string              // where Have is nil: why

	releases func(context.Context) ([]*version.Version, error)
	change   func(context.Context, *version.Version) error
}

// Book is where the pins stand.
type Book struct {
	Root string // of the project
	Lab  *lab.Lab
	Run  *command.Runner
}

// module is a pin in a go.mod.
type module struct {
	name string
	dir  string   // of the go.mod, below the project's root
	path []string // modules that have the same release, the first of which is asked
}

var modules = []module{
	{"etcd", "components/etcd", []string{"go.etcd.io/etcd/server/v3", "go.etcd.io/etcd/etcdctl/v3"}},
	{"cnitool", "components/cni", []string{"github.com/containernetworking/cni"}},
	{"plugins", "components/cni", []string{"github.com/containernetworking/plugins"}},
	{"mage", ".", []string{"github.com/magefile/mage"}},
	{"golangci-lint", "components/lint", []string{"github.com/golangci/golangci-lint/v2"}},
	{"actionlint", "components/actionlint", []string{"github.com/rhysd/actionlint"}},
	{"govulncheck", "components/lint", []string{"golang.org/x/vuln"}},
}

// Pins reads all pins.
func (b Book) Pins() ([]Pin, error) {
	calico, err := artifact.ReadPins(b.Root)
	if err != nil {
		return nil, err
	}
	all := []Pin{{Name: "calico", Have: calico.Calico, releases: b.tags("projectcalico/calico"), change: b.changeCalico}}
	for _, m := range modules {
		have, err := b.required(m.dir, m.path[0])
		if err != nil {
			return nil, err
		}
		all = append(all, Pin{Name: m.name, Have: have, releases: b.moduleReleases(m.path[0]), change: b.changeModule(m)})
	}
	all = append(all, Pin{Name: "go", Have: b.Lab.Versions.Go, releases: b.moduleReleases("go"), change: b.changeGo})
	box := Pin{Name: "box", Note: "made here, from Debian " + b.Lab.Versions.Debian}
	if b.Lab.Vagrant.Box != lab.OwnBox {
		box.Note = b.Lab.Vagrant.Box + ": its registry has no index that can be asked"
		if v, err := version.NewVersion(b.Lab.Vagrant.BoxVersion); err == nil {
			box.Have, box.change = v, b.changeLine("boxVersion")
		}
	}
	image, err := b.debianImage()
	if err != nil {
		return nil, err
	}
	all = append(all, box, image)
	actions, err := b.actions()
	if err != nil {
		return nil, err
	}
	all = append(all, actions...)
	for i := range all {
		all[i].Allowed = b.Lab.Allowed[all[i].Name]
	}
	return all, nil
}

// Find returns the pin of a name.
func (b Book) Find(name string) (Pin, error) {
	all, err := b.Pins()
	if err != nil {
		return Pin{}, err
	}
	var names []string
	for _, p := range all {
		if p.Name == name {
			return p, nil
		}
		names = append(names, p.Name)
	}
	return Pin{}, fmt.Errorf("no pin %q; there are %s", name, strings.Join(names, ", "))
}

// required returns the release of a module that a go.mod requires.
func (b Book) required(dir, path string) (*version.Version, error) {
	file := filepath.Join(b.Root, dir, "go.mod")
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	mf, err := modfile.Parse(file, data, nil)
	if err != nil {
		return nil, err
	}
	for _, r := range mf.Require {
		if r.Mod.Path == path {
			return version.NewVersion(r.Mod.Version)
		}
	}
	return nil, fmt.Errorf("%s does not require %s", file, path)
}

// Text is a release as its project writes it, without a v.
func Text(v *version.Version) string { return strings.TrimPrefix(v.Original(), "v") }

// Outlook is what could be found out about a pin.
type Outlook struct {
	Pin
	Newest *version.Version // of all final releases; nil where Err or Note is set
	Best   *version.Version // the newest that is allowed; nil where none is
	Err    error
}

// Behind says whether there is a newer release that is allowed.
func (o Outlook) Behind() bool { return o.Best != nil && o.Have != nil && o.Best.GreaterThan(o.Have) }

// Look asks what is newer than each pin, all at once.
func Look(ctx context.Context, all []Pin) []Outlook {
	found := make([]Outlook, len(all))
	var wg sync.WaitGroup
	for i, p := range all {
		wg.Go(func() { found[i] = p.look(ctx) })
	}
	wg.Wait()
	return found
}

func (p Pin) look(ctx context.Context) Outlook {
	o := Outlook{Pin: p}
	if p.releases == nil {
		return o
	}
	releases, err := p.releases(ctx)
	if err != nil {
		o.Err = err
		return o
	}
	releases = slices.DeleteFunc(releases, func(v *version.Version) bool { return v.Prerelease() != "" })
	if len(releases) == 0 {
		o.Err = errors.New("no release is listed")
		return o
	}
	newest := func(list []*version.Version) *version.Version {
		return slices.MaxFunc(list, func(a, b *version.Version) int { return a.Compare(b) })
	}
	o.Newest = newest(releases)
	allowed := slices.DeleteFunc(slices.Clone(releases), func(v *version.Version) bool { return p.Allowed != nil && !p.Allowed.Check(v) })
	if len(allowed) > 0 {
		o.Best = newest(allowed)
	}
	return o
}

// askTimeout bounds one question to the module proxy or to a repository.
const askTimeout = time.Minute

// moduleReleases lists a module's releases, or with "go" Go's own.
func (b Book) moduleReleases(path string) func(context.Context) ([]*version.Version, error) {
	return func(ctx context.Context) ([]*version.Version, error) {
		out, err := b.Run.Run(ctx, command.Cmd{
			Args: []string{"go", "list", "-m", "-versions", path}, Dir: b.Root, Env: []string{"GOFLAGS=-mod=mod", "GOWORK=off"}, Timeout: askTimeout,
		})
		if err != nil {
			return nil, fmt.Errorf("the module proxy says nothing about %s", path)
		}
		return parse(strings.Fields(out)), nil
	}
}

// parse reads what is a version and leaves the rest out.
func parse(words []string) []*version.Version {
	var all []*version.Version
	for _, w := range words {
		if v, err := version.NewVersion(w); err == nil {
			all = append(all, v)
		}
	}
	return all
}

// tags lists the releases of a repository at github.com by its tags.
func (b Book) tags(repository string) func(context.Context) ([]*version.Version, error) {
	return func(ctx context.Context) ([]*version.Version, error) {
		commits, err := b.commits(ctx, repository)
		var words []string
		for tag := range commits {
			words = append(words, tag)
		}
		return parse(words), err
	}
}

// commits returns the commit of each tag of a repository at github.com.
func (b Book) commits(ctx context.Context, repository string) (map[string]string, error) {
	out, err := b.Run.Run(ctx, command.Cmd{
		Args: []string{"git", "ls-remote", "--tags", "https://github.com/" + repository}, Env: []string{"GIT_TERMINAL_PROMPT=0"}, Timeout: askTimeout,
	})
	if err != nil {
		return nil, fmt.Errorf("github.com/%s can't be reached", repository)
	}
	return parseTags(out), nil
}

// parseTags reads `git ls-remote --tags`. Of an annotated tag the line that ends in ^{} has the commit.
func parseTags(out string) map[string]string {
	commits := map[string]string{}
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) != 2 {
			continue
		}
		tag, ok := strings.CutPrefix(f[1], "refs/tags/")
		if !ok {
			continue
		}
		name, peeled := strings.CutSuffix(tag, "^{}")
		if _, there := commits[name]; peeled || !there {
			commits[name] = f[0]
		}
	}
	return commits
}

// commit returns the commit of a release's tag, with its v or without.
func (b Book) commit(ctx context.Context, repository string, v *version.Version) (string, error) {
	commits, err := b.commits(ctx, repository)
	if err != nil {
		return "", err
	}
	for _, tag := range []string{"v" + v.Original(), v.Original(), "v" + v.String()} {
		if c, ok := commits[tag]; ok {
			return c, nil
		}
	}
	return "", fmt.Errorf("github.com/%s has no tag v%s", repository, v)
}

// An action in a workflow: owner/name, the commit it is pinned by, and its release behind it.
var action = regexp.MustCompile(`uses: ([\w.-]+/[\w.-]+)(?:/[\w./-]+)?@([0-9a-f]{40}) # v(\S+)`)

// workflows are the files that use actions: the workflows, and the action that this project is.
func (b Book) workflows() ([]string, error) {
	files, err := filepath.Glob(filepath.Join(b.Root, ".github", "workflows", "*.yml"))
	return append(files, filepath.Join(b.Root, "action.yml")), err
}

// actions are the pins in the workflows. The oldest counts where there are several of one action.
func (b Book) actions() ([]Pin, error) {
	files, err := b.workflows()
	if err != nil {
		return nil, err
	}
	have := map[string]*version.Version{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		for _, m := range action.FindAllStringSubmatch(string(data), -1) {
			v, err := version.NewVersion(m[3])
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", file, m[0], err)
			}
			if old := have[m[1]]; old == nil || v.LessThan(old) {
				have[m[1]] = v
			}
		}
	}
	var all []Pin
	for name, v := range have {
		all = append(all, Pin{Name: name, Have: v, releases: b.tags(name), change: b.changeAction(name)})
	}
	slices.SortFunc(all, func(a, b Pin) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}
