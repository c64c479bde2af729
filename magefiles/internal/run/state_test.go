package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestTakeLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "lock")
		first, err := takeLock(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		_, err = takeLock(t.Context(), path)
		want := fmt.Sprintf("another run works on this lab: process %d, `mage ", os.Getpid())
		if err == nil || !strings.HasPrefix(err.Error(), want) || !strings.Contains(err.Error(), ", since ") {
			t.Errorf("second: %v", err)
		}
		if took := time.Since(start); took > 2*lockPatience {
			t.Errorf("it was waited for %s", took)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := takeLock(ctx, path); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
		// One that was just ended may take a moment to let go.
		time.AfterFunc(lockPatience/2, func() { first.Close() })
		again, err := takeLock(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		again.Close()
	})
}

// TestLockRemoved: a run that waits while another one destroys the lab must not work with a lock that nobody else can see.
func TestLockRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), ".lab")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "lock")
		first, err := takeLock(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() {
			_, err := takeLock(t.Context(), path)
			done <- err
		}()
		time.Sleep(lockPatience / 2)
		synctest.Wait()
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		first.Close()
		if err := <-done; !errors.Is(err, errRemoved) {
			t.Errorf("error: %v", err)
		}
	})
}

func TestTargets(t *testing.T) {
	for args, want := range map[string]string{
		"verify": "verify", "up check": "up-check", "-v up": "up", "verify -json -timeline": "verify", "a b c d": "a-b-c",
		"ssh calico1 sudo ip": "ssh-sudo-ip", "cniPlugins": "cniPlugins", "": "", "../../x": "",
	} {
		if got := targets(strings.Fields(args)); got != want {
			t.Errorf("%q: %q, want %q", args, got, want)
		}
	}
}

func TestPrune(t *testing.T) {
	dir := t.TempDir()
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range keepLogs + 3 {
		name := start.Add(time.Duration(i)*time.Hour).Format("2006-01-02T15-04-05") + "-up.log"
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "2000-notes.txt"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := Prune(dir, "*.log", keepLogs); err != nil {
			t.Fatal(err)
		}
		left, err := os.ReadDir(dir)
		if err != nil || len(left) != keepLogs+1 || left[0].Name() != "2000-notes.txt" || left[1].Name() != "2026-01-01T03-00-00-up.log" {
			t.Errorf("%d left, %v, %v", len(left), left, err)
		}
	}
	if err := Prune(filepath.Join(dir, "none"), "*.log", 1); err != nil {
		t.Errorf("no directory: %v", err)
	}
}
