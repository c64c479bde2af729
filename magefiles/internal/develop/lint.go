package develop

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/computer"
	"github.com/calico-cni-lab/lab/magefiles/internal/run"
	"github.com/calico-cni-lab/lab/magefiles/internal/vuln"
)

// lintModfile pins most of the tools.
const lintModfile = "components/lint/go.mod"

var lintNeeds = []computer.Need{{Program: "shellcheck", Package: "shellcheck"}, {Program: "yamllint", Package: "yamllint"}}

// lintTime bounds one tool; the first time it is compiled.
const lintTime = 20 * time.Minute

// Lint looks for mistakes in the project's own code, with Mage's build tag and without, because the go command leaves out
// what the tag leaves out. It tells everything that it finds, not the first.
func Lint(ctx context.Context, r *run.Run) error {
	if err := install(ctx, r, lintNeeds); err != nil {
		return err
	}
	tools, err := lintTools(r.Root)
	if err != nil {
		return err
	}
	var all []error
	looked := func(what string, err error) {
		mark := "✓"
		if err != nil {
			mark = "✗"
			all = append(all, fmt.Errorf("%s: %w", what, err))
		}
		r.Console.Notice("%s %s", mark, what)
	}
	looked("gofmt", unformatted(ctx, r))
	for _, t := range tools {
		looked(t.what, show(ctx, r, shown{args: t.args, limit: lintTime}))
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	err = vulnerabilities(ctx, r)
	if err != nil && strings.Contains(err.Error(), "fetching vulnerabilities") && os.Getenv("CI") == "" {
		r.Console.Notice("- govulncheck: did not look, its database can't be reached (https://vuln.go.dev, or what GOVULNDB names); in CI that is an error")
		return errors.Join(all...)
	}
	looked("govulncheck", err)
	return errors.Join(all...)
}

// systems are what the targets run on, as the go command calls them.
var systems = []string{"linux/amd64", "linux/arm64", "darwin/amd64", "darwin/arm64"}

// tool is one that says by itself what it finds.
type tool struct {
	what string
	args []string
}

func lintTools(root string) ([]tool, error) {
	scripts, err := filepath.Glob(filepath.Join(root, "scripts", "*.sh"))
	if err != nil {
		return nil, err
	}
	for i, s := range scripts { // as a person would name them
		scripts[i] = filepath.Join("scripts", filepath.Base(s))
	}
	var tools []tool
	for _, system := range systems {
		build, arch, _ := strings.Cut(system, "/")
		env := []string{"env", "CGO_ENABLED=0", "GOOS=" + build, "GOARCH=" + arch}
		tools = append(tools,
			tool{"go vet, " + system, append(slices.Clone(env), "go", "vet", "./...")},
			tool{"go vet -tags=mage, " + system, append(slices.Clone(env), "go", "vet", "-tags=mage", "./magefiles")})
	}
	return append(tools, []tool{
		{"go mod tidy", []string{"go", "mod", "tidy", "-diff"}},
		{"golangci-lint", []string{"go", "tool", "-modfile=" + lintModfile, "golangci-lint", "run", "./..."}},
		{"actionlint", []string{"go", "tool", "-modfile=components/actionlint/go.mod", "actionlint"}},
		{"shellcheck", append([]string{"shellcheck", "templates/box/usr/local/lib/lab/cgroups-rw", "templates/docker/usr/local/lib/lab/init",
			"templates/docker/usr/local/lib/lab/booted", "templates/docker/usr/local/lib/lab/sshd"}, scripts...)},
		{"yamllint", []string{"yamllint", "--strict", ".github", "ansible", "lab.yaml", ".golangci.yml", "components/lint/vulnerabilities.yaml"}},
	}...), nil
}

func unformatted(ctx context.Context, r *run.Run) error {
	out, err := r.Exec.Run(ctx, command.Cmd{Args: []string{"gofmt", "-l", "magefiles", "scripts", "templates"}, Dir: r.Root})
	if err == nil && out != "" {
		err = fmt.Errorf("not formatted; run gofmt -w on:\n%s", out)
	}
	return err
}

// vulnerabilities looks for known ones in the project and in what goes onto the machines.
func vulnerabilities(ctx context.Context, r *run.Run) error {
	exceptions, err := vuln.ReadExceptions(filepath.Join(r.Root, filepath.Dir(lintModfile), "vulnerabilities.yaml"))
	if err != nil {
		return err
	}
	program, err := r.Exec.Run(ctx, command.Cmd{Args: []string{"go", "tool", "-modfile=" + lintModfile, "-n", "govulncheck"}, Dir: r.Root, Timeout: lintTime})
	if err != nil {
		return err
	}
	var findings []vuln.Finding
	for _, part := range []struct {
		dir, scan, packages string
		level               vuln.Level
	}{
		{".", "symbol", "./...", vuln.Called},
		{"components/etcd", "package", "tool", vuln.Imported},
		{"components/cni", "package", "tool", vuln.Imported},
		{"components/calico", "package", "tool", vuln.Imported},
	} {
		args := []string{strings.TrimSpace(program), "-format", "json", "-scan", part.scan}
		if db := os.Getenv("GOVULNDB"); db != "" {
			args = append(args, "-db", db)
		}
		out, err := r.Exec.Run(ctx, command.Cmd{
			Args: append(args, part.packages), Dir: filepath.Join(r.Root, part.dir), Env: []string{"GOFLAGS=", "GOWORK=off"}, Timeout: lintTime,
			Hint: "the database is https://vuln.go.dev, or what GOVULNDB names; without it nothing can be said about vulnerabilities",
		})
		if err != nil {
			return err
		}
		found, err := vuln.Parse(strings.NewReader(out), part.level)
		if err != nil {
			return err
		}
		for _, f := range found {
			r.Console.Notice("%s: %s in %s %s, fixed in %q", part.dir, f.ID, f.Module, f.Have, f.FixedIn)
		}
		findings = append(findings, found...)
	}
	return errors.Join(vuln.Faults(findings, exceptions, time.Now())...)
}
