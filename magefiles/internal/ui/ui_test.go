package ui

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/calico-cni-lab/lab/magefiles/internal/progress"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares what a console shows in a file, so without colour and movement, with a file of testdata.
func golden(t *testing.T, name string, show func(*Console)) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	show(New(f))
	got, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	if bytes.ContainsRune(got, '\x1b') {
		t.Error("escape codes in a file")
	}
	compare(t, name, got)
}

func compare(t *testing.T, name string, got []byte) {
	t.Helper()
	file := "testdata/" + name + ".golden"
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

func TestStages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		golden(t, "stages", func(c *Console) {
			c.Notice("machines: %s", "nspawn (100% here)")
			c.Already("up", "3 machines answer")
			c.Started("etcd", "etcd-node: there is no container etcd")
			ctx := c.Watch(t.Context())
			_, done := progress.Begin(ctx, progress.Making, "compiling etcd")
			time.Sleep(2 * time.Second)
			done(nil)
			c.Done("etcd", "etcd is healthy", 1234*time.Millisecond)
			c.Started("calico", "calico1: there is no container calico-release-v3.31")
			c.Pending("calico", "calico1: not Established with 192.168.4.6", 12*time.Second)
			c.Failed("cniPlugins", errors.New("cniPlugins: putting files:\nno space left on device"), 61*time.Second)
			c.Failed("plumb", fmt.Errorf("plumb: %w", context.Canceled), time.Second)
			_, done = progress.Begin(ctx, progress.Making, "compiling Calico")
			done(errors.New("told at the end"))
			c.Finished(90*time.Second, "go tool mage ssh calico1")
		})
	})
}

func TestSeconds(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "0.0s", 49 * time.Millisecond: "0.0s", 51 * time.Millisecond: "0.1s", 59940 * time.Millisecond: "59.9s", 60 * time.Second: "1m0s", 61600 * time.Millisecond: "1m2s"} {
		if got := seconds(d); got != want {
			t.Errorf("%d ms: %s, want %s", d.Milliseconds(), got, want)
		}
	}
}

func TestRedirect(t *testing.T) {
	var b bytes.Buffer
	c := terminal(&b, true, 20, 24)
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c.Redirect(f)
	c.Started("etcd", "why")
	data, err := os.ReadFile(f.Name())
	if err != nil || string(data) != "… etcd        why\n" || b.Len() > 0 {
		t.Errorf("%q, %v; before: %q", data, err, b.String())
	}
}

func TestSummarize(t *testing.T) {
	write := func(text string) func(io.Writer) { return func(w io.Writer) { fmt.Fprint(w, text) } }
	t.Setenv("GITHUB_STEP_SUMMARY", "")
	if err := Summarize(func(io.Writer) { t.Error("there is nobody to read it") }); err != nil {
		t.Error(err)
	}
	file := filepath.Join(t.TempDir(), "summary")
	t.Setenv("GITHUB_STEP_SUMMARY", file)
	for _, text := range []string{"one\n", "two\n"} {
		if err := Summarize(write(text)); err != nil {
			t.Error(err)
		}
	}
	if data, err := os.ReadFile(file); string(data) != "one\ntwo\n" {
		t.Errorf("%q, %v", data, err)
	}
	t.Setenv("GITHUB_STEP_SUMMARY", file+"/none")
	if err := Summarize(write("x")); err == nil {
		t.Error("nothing was written, no error")
	}
}

// TestNext: what a command is for is said where there is room for it.
func TestNext(t *testing.T) {
	for columns, want := range map[int]string{
		80: "finished in 6.4s; next:\n  LAB_FILE=x go tool mage learn        # the tutorial\n  LAB_FILE=x go tool mage ssh calico1  # a machine\n",
		47: "finished in 6.4s; next:\n  LAB_FILE=x go tool mage learn\n  LAB_FILE=x go tool mage ssh calico1\n",
	} {
		var b bytes.Buffer
		c := terminal(&b, false, columns, 24)
		c.Typed("LAB_FILE=x", "")
		c.Next(6400*time.Millisecond, [][2]string{{"go tool mage learn", "the tutorial"}, {"go tool mage ssh calico1", "a machine"}})
		if diff := cmp.Diff(want, b.String()); diff != "" {
			t.Errorf("%d columns (-want +got):\n%s", columns, diff)
		}
	}
}

// TestAdvise: what Mage prints names the lab's file too, and stays the error that it was.
func TestAdvise(t *testing.T) {
	c := &Console{}
	cause := fmt.Errorf("gone; start over: go tool mage destroy, then go tool mage verify: %w", os.ErrNotExist)
	if got := c.Advise(cause); got != cause { //nolint:errorlint // the very same
		t.Errorf("without variables: %v", got)
	}
	c.Typed("LAB_FILE=x/lab.yaml", "")
	got := c.Advise(cause)
	want := "gone; start over: LAB_FILE=x/lab.yaml go tool mage destroy, then LAB_FILE=x/lab.yaml go tool mage verify: file does not exist"
	if got.Error() != want || !errors.Is(got, os.ErrNotExist) {
		t.Errorf("with variables: %v", got)
	}
	if again := c.Advise(got); again.Error() != want {
		t.Errorf("what has them already: %v", again)
	}
	for _, of := range []string{"labs/router.yaml", "'my labs/router.yaml'"} {
		line := "bring that lab up: LAB_FILE=" + of + " go tool mage verify"
		if got := c.Advise(errors.New(line)); got.Error() != line {
			t.Errorf("a line about another lab: %v", got)
		}
	}
	c.Typed("LAB_FILE=x", "./lab")
	if got := c.Advise(fmt.Errorf("go tool mage up, or LAB_FILE=y go tool mage up")); got.Error() != "LAB_FILE=x ./lab up, or LAB_FILE=y ./lab up" {
		t.Errorf("by another program: %v", got)
	}
	if got := c.ByProgram("type go tool mage up"); got != "type ./lab up" {
		t.Errorf("a text: %s", got)
	}
	c.Typed("", "./lab")
	if got := c.Advise(fmt.Errorf("go tool mage up")); got.Error() != "./lab up" {
		t.Errorf("by another program: %v", got)
	}
	if got := c.Advise(nil); got != nil {
		t.Errorf("no error: %v", got)
	}
}
