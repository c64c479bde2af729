package develop

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/run"
)

// How long all fuzz tests together look for an input that breaks one.
const (
	FuzzTime = 10 * time.Minute
	testFuzz = 30 * time.Second // in Test
)

// minimizeTime is how long an input that something new was found with is made smaller: Go's minute is more than a whole share.
const minimizeTime = time.Second

// fuzzTest is a function FuzzX of a package.
type fuzzTest struct{ name, pkg, dir string }

// Fuzz gives all fuzz tests together a time, one after the other, from what earlier rounds found interesting (in Go's build
// cache) and from the corpus.
func Fuzz(ctx context.Context, r *run.Run, total time.Duration) error {
	out, err := r.Exec.Output(ctx, "go", "env", "GOCACHE")
	if err != nil {
		return err
	}
	return fuzz(ctx, r, total, filepath.Join(out, "fuzz"))
}

// fuzzAnew is Fuzz from the corpus alone: a short time isn't spent on what earlier rounds have found.
func fuzzAnew(ctx context.Context, r *run.Run, total time.Duration) error {
	dir, err := os.MkdirTemp("", "fuzz-")
	if err != nil {
		return err
	}
	return errors.Join(fuzz(ctx, r, total, dir), os.RemoveAll(dir))
}

func fuzz(ctx context.Context, r *run.Run, total time.Duration, cache string) (err error) {
	all, err := fuzzTests(ctx, r)
	if err != nil {
		return err
	}
	temp, err := os.MkdirTemp("", "fuzz-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	share := (total / time.Duration(len(all))).Round(10 * time.Millisecond)
	r.Console.Notice("fuzzing: %d tests, %s each", len(all), share)
	built := map[string]string{} // programs by package
	for i, t := range all {
		if built[t.pkg] == "" {
			program := filepath.Join(temp, fmt.Sprintf("test%d", i))
			// go test -fuzz takes one package at a time, and links its program anew for each of its tests.
			if _, err := r.Exec.Run(ctx, command.Cmd{Args: []string{"go", "test", "-c", "-fuzz=.", "-o", program, t.pkg}, Dir: r.Root, Timeout: 10 * time.Minute}); err != nil {
				return err
			}
			built[t.pkg] = program
		}
		if err := t.run(ctx, r, built[t.pkg], temp, filepath.Join(cache, t.pkg), share); err != nil {
			return err
		}
	}
	return nil
}

// run fuzzes one test. temp is where what is left of its processes is removed.
func (t fuzzTest) run(ctx context.Context, r *run.Run, program, temp, cache string, share time.Duration) error {
	before, err := t.corpus()
	if err != nil {
		return err
	}
	out, err := r.Exec.Run(ctx, command.Cmd{
		Args: []string{program, "-test.run=^$", "-test.fuzz=^" + t.name + "$", "-test.fuzztime=" + share.String(), "-test.fuzzminimizetime=" + minimizeTime.String(), "-test.fuzzcachedir=" + cache},
		Dir:  t.dir, Env: []string{"TMPDIR=" + temp}, Timeout: share + 5*time.Minute,
	})
	if err == nil || ctx.Err() != nil {
		return err
	}
	after, corpusErr := t.corpus()
	if corpusErr != nil {
		return errors.Join(err, corpusErr)
	}
	if len(after) == len(before) && timeIsOver.MatchString(found(out)) {
		return nil
	}
	return t.failed(r.Root, out, err, before, after)
}

// timeIsOver is all that the fuzzer says where it takes the end of its time for a failure: go.dev/issue/75804, mended in Go 1.27. An input
// that fails has other words, and is written to the corpus.
var timeIsOver = regexp.MustCompile(`^\s*--- FAIL: Fuzz\w+ \([0-9.]+s\)\n\s*context deadline exceeded\n\s*FAIL$`)

// corpus are the inputs that are kept beside the test.
func (t fuzzTest) corpus() ([]string, error) {
	return filepath.Glob(filepath.Join(t.dir, "testdata", "fuzz", t.name, "*"))
}

// failed is the error of a test that an input was found for.
func (t fuzzTest) failed(root, out string, err error, before, after []string) error {
	had := map[string]bool{}
	for _, file := range before {
		had[file] = true
	}
	for _, file := range after {
		if had[file] {
			continue
		}
		if rel, err := filepath.Rel(root, file); err == nil {
			file = rel
		}
		again := command.Quote("go", "test", "-run="+t.name+"/"+filepath.Base(file), t.pkg)
		return fmt.Errorf("%s of %s fails with an input that was just found:\n%s\nonce it is mended commit the input with it, under a name that says what it is: %s\nagain: %s", t.name, t.pkg, found(out), file, again)
	}
	return fmt.Errorf("%s of %s: %w\n%s", t.name, t.pkg, err, found(out))
}

// found is what a test says of an input, without the fuzzer's progress, and not all of a long one.
func found(out string) string {
	const most = 30
	var lines []string
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, "fuzz: ") && strings.TrimSpace(line) != "" {
			lines = append(lines, "  "+strings.TrimRight(line, "\n"))
		}
	}
	if len(lines) > most {
		lines = append(lines[:most], "  ...")
	}
	return strings.Join(lines, "\n")
}

// fuzzFunction is the beginning of a fuzz test.
var fuzzFunction = regexp.MustCompile(`(?m)^func (Fuzz\w*)\(\w+ \*testing\.F\)`)

// fuzzTests returns all fuzz tests. They are found in the sources: `go test -list` would build every package's tests.
func fuzzTests(ctx context.Context, r *run.Run) ([]fuzzTest, error) {
	out, err := r.Exec.Run(ctx, command.Cmd{
		Args: []string{"go", "list", "-f", "{{.ImportPath}}\t{{.Dir}}{{range .TestGoFiles}}\t{{.}}{{end}}", "./..."}, Dir: r.Root, Timeout: 5 * time.Minute,
	})
	if err != nil {
		return nil, err
	}
	var all []fuzzTest
	for line := range strings.Lines(out) {
		f := strings.Split(strings.TrimSpace(line), "\t")
		for _, file := range f[min(2, len(f)):] {
			data, err := os.ReadFile(filepath.Join(f[1], file))
			if err != nil {
				return nil, err
			}
			for _, m := range fuzzFunction.FindAllSubmatch(data, -1) {
				all = append(all, fuzzTest{string(m[1]), f[0], f[1]})
			}
		}
	}
	if len(all) == 0 {
		return nil, errors.New("there are no fuzz tests: restore them with git checkout -- magefiles")
	}
	return all, nil
}
