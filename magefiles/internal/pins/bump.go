package pins

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/go-version"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/command"
)

// Bump changes a pin to a release, everywhere it stands, sums included. What lab.yaml doesn't allow is refused.
func (b Book) Bump(ctx context.Context, name, release string) error {
	p, err := b.Find(name)
	if err != nil {
		return err
	}
	v, err := version.NewVersion(strings.TrimPrefix(release, "v"))
	switch {
	case err != nil:
		return fmt.Errorf("%q is no version; write for example: go tool mage dev:bump etcd 3.6.16", release)
	case p.change == nil:
		return fmt.Errorf("%s can't be bumped: %s", name, p.Note)
	case p.Allowed != nil && !p.Allowed.Check(v):
		return fmt.Errorf("lab.yaml allows %s for %s (allowed.%[2]s); change that first if you mean %s", p.Allowed, name, v)
	case p.Have.Equal(v):
		return nil
	}
	before, err := artifact.ReadPins(b.Root)
	if err == nil {
		err = p.change(ctx, v)
	}
	if err != nil {
		return err
	}
	return b.forgetPublished(before)
}

// forgetPublished has what was published with releases that are pinned no more compiled, until somebody writes the new ones' SHA-256.
func (b Book) forgetPublished(before artifact.Pins) error {
	now, err := artifact.ReadPins(b.Root)
	if err != nil {
		return err
	}
	was, is := artifact.PublishedNames(before), artifact.PublishedNames(now)
	if slices.Equal(was, is) {
		return nil
	}
	return edit(filepath.Join(b.Root, artifact.PublishedFile), func(data []byte) ([]byte, error) {
		for i := range was {
			if was[i] != is[i] {
				line := regexp.MustCompile(`(?m)^\S+  ` + regexp.QuoteMeta(was[i]) + `$`)
				data = line.ReplaceAllLiteral(data, []byte(artifact.NotPublished+"  "+is[i]))
			}
		}
		return data, nil
	})
}

const goTimeout = 10 * time.Minute

func (b Book) goRun(ctx context.Context, dir string, args ...string) (string, error) {
	return b.Run.Run(ctx, command.Cmd{
		Args: append([]string{"go"}, args...), Dir: filepath.Join(b.Root, dir), Env: []string{"GOFLAGS=", "GOWORK=off"}, Timeout: goTimeout,
		Hint: "nothing else was changed; see what was with git diff, undo it with: git checkout -- " + dir,
	})
}

func (b Book) changeModule(m module) func(context.Context, *version.Version) error {
	return func(ctx context.Context, v *version.Version) error {
		get := []string{"get"}
		for _, path := range m.path {
			get = append(get, path+"@v"+v.String())
		}
		if _, err := b.goRun(ctx, m.dir, get...); err != nil {
			return err
		}
		_, err := b.goRun(ctx, m.dir, "mod", "tidy")
		return err
	}
}

// changeLine changes the value of a key of lab.yaml and leaves comments as they are.
func (b Book) changeLine(key string) func(context.Context, *version.Version) error {
	// In the section of versions the keys are indented by two; "go" under "allowed" is quoted.
	line := regexp.MustCompile(`(?m)^(  ` + key + `: )([0-9][^\s#]*)`)
	return func(_ context.Context, v *version.Version) error {
		for i, file := range b.Lab.Files {
			data, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			n := len(line.FindAll(data, -1))
			if n == 0 && i+1 < len(b.Lab.Files) {
				continue // it has it from the file that it extends
			}
			if n != 1 {
				return fmt.Errorf("%s: %d lines have %s and a version; change it by hand", file, n, key)
			}
			return edit(file, func(data []byte) ([]byte, error) { return line.ReplaceAll(data, []byte("${1}"+v.String())), nil })
		}
		return nil
	}
}

// changeGo changes the toolchain for the machines and the one that compiles.
func (b Book) changeGo(ctx context.Context, v *version.Version) error {
	if err := b.changeLine("go")(ctx, v); err != nil {
		return err
	}
	_, err := b.Run.Run(ctx, command.Cmd{Args: []string{"go", "mod", "edit", "-toolchain=go" + v.String()}, Dir: b.Root})
	return err
}

func (b Book) changeAction(name string) func(context.Context, *version.Version) error {
	return func(ctx context.Context, v *version.Version) error {
		commit, err := b.commit(ctx, name, v)
		if err != nil {
			return err
		}
		files, err := b.workflows()
		if err != nil {
			return err
		}
		for _, file := range files {
			if err := edit(file, func(data []byte) ([]byte, error) { return pinAction(data, name, commit, v.String()), nil }); err != nil {
				return err
			}
		}
		return nil
	}
}

func pinAction(workflow []byte, name, commit, release string) []byte {
	return action.ReplaceAllFunc(workflow, func(use []byte) []byte {
		m := action.FindSubmatchIndex(use) // of the whole, then of name, commit and release
		if string(use[m[2]:m[3]]) != name {
			return use
		}
		return slices.Concat(use[:m[4]], []byte(commit), use[m[5]:m[6]], []byte(release))
	})
}

// changeCalico pins Calico and its API by commit: Calico's tags are no versions of its module (v3 without /v3), so the
// go.mod have pseudo-versions, with the release behind them as a comment.
func (b Book) changeCalico(ctx context.Context, v *version.Version) error {
	const component = "components/calico"
	for _, repository := range []string{"projectcalico/calico", "projectcalico/api"} {
		commit, err := b.commit(ctx, repository, v)
		if err != nil {
			return err
		}
		path := "github.com/" + repository
		out, err := b.goRun(ctx, component, "list", "-mod=mod", "-m", "-f", "{{.Version}}", path+"@"+commit)
		if err != nil {
			return err
		}
		for _, dir := range []string{component, "."} {
			if err := edit(filepath.Join(b.Root, dir, "go.mod"), func(data []byte) ([]byte, error) {
				return pinPseudo(data, path, strings.TrimSpace(out), "v"+v.String()), nil
			}); err != nil {
				return err
			}
		}
	}
	for _, dir := range []string{component, "."} {
		if _, err := b.goRun(ctx, dir, "mod", "tidy"); err != nil {
			return err
		}
	}
	return nil
}

// pinPseudo puts a pseudo-version where a go.mod has the current one of a module or of one below it, and its release
// into the comment. What Calico's own go.mod requires indirectly and replaces is left alone.
func pinPseudo(gomod []byte, path, pseudo, release string) []byte {
	use := regexp.MustCompile(`(?m)^((?:require |\t|.*=> )` + regexp.QuoteMeta(path) + `(?:/lib/std)? )(v0\.0\.0-2\d{13}-[0-9a-f]{12})( // indirect; v\S+)?$`)
	return use.ReplaceAllFunc(gomod, func(line []byte) []byte {
		m := use.FindSubmatch(line)
		out := append(append([]byte{}, m[1]...), pseudo...)
		if len(m[3]) > 0 {
			out = append(out, (" // indirect; " + release)...)
		}
		return out
	})
}

// edit rewrites a file as a whole.
func edit(file string, change func([]byte) ([]byte, error)) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	changed, err := change(data)
	if err != nil || bytes.Equal(changed, data) {
		return err
	}
	part := file + ".part"
	if err := os.WriteFile(part, changed, 0o644); err != nil {
		return err
	}
	return os.Rename(part, file)
}
