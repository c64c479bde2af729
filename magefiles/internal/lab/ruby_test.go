package lab

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// ruby is a Ruby that reads one lab.yaml after the other with the Vagrantfile.
type ruby struct {
	dir string
	in  io.Writer
	out *bufio.Reader
}

func newRuby(tb testing.TB) *ruby {
	tb.Helper()
	program, err := exec.LookPath("ruby")
	if err != nil {
		tb.Skip("no Ruby to read the Vagrantfile with")
	}
	cmd := exec.CommandContext(tb.Context(), program, "testdata/vagrantfile.rb")
	r := &ruby{dir: tb.TempDir()}
	cmd.Env, cmd.Stderr = append(os.Environ(), "LAB_CONSOLES="+filepath.Join(r.dir, "consoles"), "LC_ALL=C.UTF-8"), os.Stderr
	if r.in, err = cmd.StdinPipe(); err != nil {
		tb.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	r.out = bufio.NewReader(out)
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return r
}

// reads returns what the Vagrantfile makes of a lab.yaml, a line for each thing that it sets.
func (r *ruby) reads(t *testing.T, data []byte) string {
	t.Helper()
	file := filepath.Join(r.dir, "lab.yaml")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return r.readsFile(t, file)
}

func (r *ruby) readsFile(t *testing.T, file string) string {
	t.Helper()
	fmt.Fprintln(r.in, file)
	first, err := r.out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for range n {
		line, err := r.out.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString(line)
	}
	return b.String()
}
