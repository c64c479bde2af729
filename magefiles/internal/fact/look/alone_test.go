package main

import (
	"bytes"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

// TestEndOthers: what another run left at work is ended with its children, what is this run's isn't.
func TestEndOthers(t *testing.T) {
	start := func(mark string) *exec.Cmd {
		cmd := exec.Command("timeout", "--kill-after=1", "60", "sh", "-c", "sleep 50; sleep 51", mark)
		cmd.Stdout = &bytes.Buffer{} // so Wait is for its children, too
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	left, mine, looks := start("test-change-OLD-1"), start("test-change-NEW-1"), start("test-2")
	begun := time.Now()
	endOthers(fact.Alone{Of: "test-change-", But: "test-change-NEW-"})
	_ = left.Wait()
	if took := time.Since(begun); took > 2*time.Second || left.ProcessState.ExitCode() != -1 && left.ProcessState.ExitCode() != 124 && left.ProcessState.ExitCode() != 143 {
		t.Errorf("%v after %s", left.ProcessState, took)
	}
	for _, cmd := range []*exec.Cmd{mine, looks} {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Errorf("%v was ended: %v", cmd.Args, err)
		}
		_ = cmd.Wait()
	}
}
