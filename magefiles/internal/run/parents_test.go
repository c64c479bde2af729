package run

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestStat(t *testing.T) {
	parent, name, err := stat(os.Getpid())
	if err != nil || parent != os.Getppid() || !strings.HasPrefix(name, "run.test") {
		t.Errorf("stat: %d %q, %v", parent, name, err)
	}
	if _, _, err := stat(-1); err == nil {
		t.Error("a process that can't be")
	}
}

// TestStatName: a process may call itself anything.
func TestStatName(t *testing.T) {
	const name = "a) S 1 (b"
	cat, err := exec.LookPath("cat")
	if err != nil {
		t.Skip(err)
	}
	program, err := os.ReadFile(cat)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, program, 0o755); err != nil {
		t.Fatal(err)
	}
	in, out := io.Pipe()
	cmd := exec.CommandContext(t.Context(), file)
	cmd.Stdin = in
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if parent, got, err := stat(cmd.Process.Pid); err != nil || parent != os.Getpid() || got != name {
		t.Errorf("stat: %d %q, %v", parent, got, err)
	}
	out.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// TestAncestry: the chain is broken when a process in it has another parent than before.
func TestAncestry(t *testing.T) {
	a := ancestry{{os.Getpid(), os.Getppid()}}
	if !a.intact() {
		t.Error("broken, but nothing has changed")
	}
	a[0].parent++
	if a.intact() {
		t.Error("intact, but the parent is another one")
	}
	if (ancestry{{-1, 1}}).intact() {
		t.Error("intact, but the process is gone")
	}
	if !(ancestry{}).intact() {
		t.Error("a run that nobody stands above is broken")
	}
}

func TestInterrupted(t *testing.T) {
	if !errors.Is(ErrInterrupted, context.Canceled) || errors.Is(ErrInterrupted, context.DeadlineExceeded) {
		t.Error("to errors.Is, an interrupted run is one that was cancelled")
	}
	if !strings.Contains(ErrInterrupted.Error(), "run it again") {
		t.Errorf("it doesn't say what to do: %v", ErrInterrupted)
	}
}

// TestEndWithParents: SIGTERM ends the context, and the cause says so.
func TestEndWithParents(t *testing.T) {
	ctx, end := context.WithCancelCause(t.Context())
	endWithParents(ctx, end)
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-ctx.Done()
	if cause := context.Cause(ctx); cause != ErrInterrupted { //nolint:errorlint // this very one
		t.Errorf("cause: %v", cause)
	}
}
