package target

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/run"
	"github.com/calico-cni-lab/lab/magefiles/internal/ui"
)

func TestCommandAfter(t *testing.T) {
	for args, want := range map[string][]string{
		"mage ssh calico1":                       {},
		"mage ssh calico1 sudo ip -4 route":      {"sudo", "ip", "-4", "route"},
		"mage -v SSH calico1 ssh calico1":        {"ssh", "calico1"},
		"mage ssh calico2 ssh calico1 true":      {"true"},
		"mage check":                             nil,
		"ssh calico1 this is the program's name": nil,
		"mage ssh":                               nil,
	} {
		if diff := cmp.Diff(want, commandAfter(strings.Fields(args), "calico1")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", args, diff)
		}
	}
}

// TestMarked: lines stay whole however they come, and so does a last one that doesn't end.
func TestMarked(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m := &marked{mark: "calico1 | ", to: &lines{}, file: f}
	for _, part := range []string{"on", "e\ntwo\nth", "", "ree\n\n", "no end"} {
		if n, err := m.Write([]byte(part)); n != len(part) || err != nil {
			t.Errorf("%q: %d, %v", part, n, err)
		}
	}
	m.end()
	(&marked{mark: "calico2 | ", to: m.to, file: f}).end() // nothing was written
	got, err := os.ReadFile(f.Name())
	want := "calico1 | one\ncalico1 | two\ncalico1 | three\ncalico1 | \ncalico1 | no end\n"
	if diff := cmp.Diff(want, string(got)); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// TestMarkedAtOnce: lines of several machines don't get into each other.
func TestMarkedAtOnce(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out := &lines{}
	var want []string
	var wg sync.WaitGroup
	for i := range 5 {
		m := &marked{mark: fmt.Sprintf("calico%d | ", i), to: out, file: f}
		for n := range 100 {
			want = append(want, fmt.Sprintf("calico%d | line %d", i, n))
		}
		wg.Go(func() {
			for n := range 100 {
				fmt.Fprintf(m, "line ")
				fmt.Fprintf(m, "%d\n", n)
			}
		})
	}
	wg.Wait()
	data, err := os.ReadFile(f.Name())
	got := strings.Split(strings.TrimSpace(string(data)), "\n")
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) || err != nil {
		t.Errorf("%d lines, %v: %s", len(got), err, cmp.Diff(want, got))
	}
}

// fakeSSH is a program that shows what it is called with, and fails for calico2.
const fakeSSH = `#!/bin/sh
echo "$@"
echo "to stderr" >&2
[ "$3" != calico2 ]
`

func TestSSHAll(t *testing.T) {
	ssh := filepath.Join(t.TempDir(), "ssh")
	if err := os.WriteFile(ssh, []byte(fakeSSH), 0o755); err != nil {
		t.Fatal(err)
	}
	stdout, stderr := os.Stdout, os.Stderr
	defer func() { os.Stdout, os.Stderr = stdout, stderr }()
	var err error
	if os.Stdout, err = os.Create(ssh + ".out"); err != nil {
		t.Fatal(err)
	}
	if os.Stderr, err = os.Create(ssh + ".err"); err != nil {
		t.Fatal(err)
	}
	failed := sshAll(t.Context(), ssh, "/config", []string{"etcd-node", "calico1", "calico2"}, []string{"ip", "route"})
	os.Stdout.Close()
	os.Stderr.Close()
	if failed == nil || failed.Error() != "calico2: exit status 1" {
		t.Errorf("error: %v", failed)
	}
	for file, want := range map[string][]string{
		ssh + ".out": {"calico1   | -F /config calico1 ip route", "calico2   | -F /config calico2 ip route", "etcd-node | -F /config etcd-node ip route"},
		ssh + ".err": {"calico1   | to stderr", "calico2   | to stderr", "etcd-node | to stderr"},
	} {
		data, err := os.ReadFile(file)
		got := strings.Split(strings.TrimSpace(string(data)), "\n")
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	}
}

func TestInterrupted(t *testing.T) {
	own := errors.New("the parent is gone")
	for _, c := range []struct{ cause, want error }{{nil, run.ErrInterrupted}, {own, own}, {run.ErrInterrupted, run.ErrInterrupted}} {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(c.cause)
		if got := interrupted(ctx); got != c.want { //nolint:errorlint // this very one
			t.Errorf("%v: %v", c.cause, got)
		}
	}
}

func TestUnmet(t *testing.T) {
	r := check.Report{Results: []check.Result{{ID: "machine/calico1", State: check.Holds}, {ID: "bgp/calico1", State: check.Broken}, {ID: "routes/calico1", State: check.Unknown}}}
	if got := unmet(r).Error(); got != "2 of 3 conditions don't hold; the first: bgp/calico1" {
		t.Error(got)
	}
	r.Results = r.Results[:2]
	if got := unmet(r).Error(); got != "1 of 2 conditions doesn't hold; the first: bgp/calico1" {
		t.Error(got)
	}
}

// newRun returns a run on a lab of the project's machines as if they existed already. Nothing is asked of them.
func newRun(t *testing.T) *run.Run {
	t.Helper()
	t.Setenv("LAB_HARDWARE", "ssh")
	t.Setenv("LAB_CACHE", t.TempDir())
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile("../stage/testdata/lab.yaml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "lab.yaml")
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { out.Close() })
	return &run.Run{Console: ui.New(out), Exec: &command.Runner{}, Root: root, LabFile: file, StateDir: filepath.Join(dir, ".lab")}
}

// TestNothingThere: targets that need a lab say how to get one, and make nothing.
func TestNothingThere(t *testing.T) {
	for name, do := range map[string]func(context.Context, *run.Run) error{
		"stop": Stop, "start": Start,
		"check": func(ctx context.Context, r *run.Run) error { return Check(ctx, r, false, false, false) },
		"ssh":   func(ctx context.Context, r *run.Run) error { return SSH(ctx, r, "calico1") },
	} {
		r := newRun(t)
		if err := do(t.Context(), r); !errors.Is(err, machine.ErrNotUp) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(r.StateDir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s made something: %v", name, err)
		}
	}
	r := newRun(t)
	if err := SSH(t.Context(), r, "calico9"); err == nil || err.Error() != `there is no machine "calico9"; there are etcd-node, calico1, calico2, and all for a command on each` {
		t.Errorf("no such machine: %v", err)
	}
}
