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
			done := c.Making("compiling etcd")
			time.Sleep(2 * time.Second)
			done(nil)
			c.Done("etcd", "etcd is healthy", 1234*time.Millisecond)
			c.Started("calico", "calico1: there is no container calico-release-v3.31")
			c.Pending("calico", "calico1: not Established with 192.168.4.6", 12*time.Second)
			c.Failed("cniPlugins", errors.New("cniPlugins: putting files:\nno space left on device"), 61*time.Second)
			c.Failed("plumb", fmt.Errorf("plumb: %w", context.Canceled), time.Second)
			c.Making("compiling Calico")(errors.New("told at the end"))
			c.Finished(90*time.Second, "go tool mage ssh calico1")
		})
	})
}

// TestTerminal: on a terminal there is colour, and the last line tells what runs.
func TestTerminal(t *testing.T) {
	var b bytes.Buffer
	c := &Console{out: &b, color: true, live: true, ticking: true, width: func() int { return 20 }}
	c.Started("etcd", "why")
	c.Notice("note")
	const live = "\x1b[2m  etcd 0s\x1b[0m"
	want := "\x1b[2m…\x1b[0m etcd        \x1b[2mwhy\x1b[0m\n" + live + "\r\x1b[Knote\n" + live
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	c.start("something with a long name")
	b.Reset()
	c.Notice("note")
	if want := "\r\x1b[Knote\n\x1b[2m  etcd 0s, somethin\x1b[0m"; b.String() != want {
		t.Errorf("longer than the terminal is wide: %q, want %q", b.String(), want)
	}
	c.end("something with a long name")
	b.Reset()
	c.Done("etcd", "done", time.Second)
	if got := b.String(); !bytes.HasPrefix(b.Bytes(), []byte("\r\x1b[K")) || bytes.Contains(b.Bytes(), []byte("0s\x1b")) {
		t.Errorf("the live line is still there: %q", got)
	}
}

// TestTick: the live line moves while something runs, and goes with it.
func TestTick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		c := &Console{out: &b, live: true, width: func() int { return 80 }}
		c.Started("etcd", "why")
		time.Sleep(2500 * time.Millisecond)
		c.Done("etcd", "done", 2500*time.Millisecond)
		time.Sleep(time.Second)
		synctest.Wait()
		for _, want := range []string{"\r\x1b[K  etcd 1s", "\r\x1b[K  etcd 2s", "\r\x1b[K✓ etcd        done (2.5s)\n"} {
			if !bytes.Contains(b.Bytes(), []byte(want)) {
				t.Errorf("no %q in %q", want, b.String())
			}
		}
		if c.ticking || c.drawn {
			t.Errorf("it still moves: %+v", c)
		}
		b.Reset()
		c.Started("calico", "why") // and begins again
		time.Sleep(1100 * time.Millisecond)
		c.Done("calico", "done", time.Second)
		time.Sleep(time.Second)
		synctest.Wait()
		if !bytes.Contains(b.Bytes(), []byte("calico 1s")) {
			t.Errorf("the second doesn't move: %q", b.String())
		}
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
	c := &Console{out: &b, color: true, live: true, ticking: true, width: func() int { return 20 }}
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

// TestAdvise: what Mage prints names the lab's file too, and stays the error that it was.
func TestAdvise(t *testing.T) {
	c := &Console{}
	cause := fmt.Errorf("gone; start over: go tool mage destroy, then go tool mage verify: %w", os.ErrNotExist)
	if got := c.Advise(cause); got != cause { //nolint:errorlint // the very same
		t.Errorf("without variables: %v", got)
	}
	c.Prefix("LAB_FILE=x/lab.yaml")
	got := c.Advise(cause)
	want := "gone; start over: LAB_FILE=x/lab.yaml go tool mage destroy, then LAB_FILE=x/lab.yaml go tool mage verify: file does not exist"
	if got.Error() != want || !errors.Is(got, os.ErrNotExist) {
		t.Errorf("with variables: %v", got)
	}
	if again := c.Advise(got); again.Error() != want {
		t.Errorf("what has them already: %v", again)
	}
	if got := c.Advise(nil); got != nil {
		t.Errorf("no error: %v", got)
	}
}
