//go:build linux

package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestUsage(t *testing.T) {
	for _, args := range [][]string{nil, {"524288", "try"}, {"many", "try", "/"}} {
		if err := run(args); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
}

// TestTry: file systems that can be mapped, and one that can't. Nothing stays mounted.
func TestTry(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	mounts := func() string {
		t.Helper()
		data, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	before, dir := mounts(), t.TempDir()
	if err := run([]string{"524288", "try", dir, filepath.Dir(dir)}); err != nil {
		t.Error(err)
	}
	if err := run([]string{"524288", "try", dir, "/proc"}); err == nil || !strings.Contains(err.Error(), "the file system of /proc can't") {
		t.Errorf("/proc: %v", err)
	}
	if err := run([]string{"524288", "try", dir + "/not/there"}); err != nil {
		t.Errorf("a directory that isn't there: %v", err)
	}
	if after := mounts(); strings.Contains(after, dir) || len(after) > len(before) {
		t.Errorf("mounts before:\n%s\nafter:\n%s", before, after)
	}
}

// TestMapped: root's files are the first user's of the range, through the mount and nowhere else.
func TestMapped(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	ns, err := userNamespace(600000)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	dir := t.TempDir()
	fd, err := mapped(ns, dir)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	var seen, is syscall.Stat_t
	if err := syscall.Fstat(fd, &seen); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Stat(dir, &is); err != nil {
		t.Fatal(err)
	}
	if seen.Uid != 600000 || seen.Gid != 600000 || is.Uid != 0 {
		t.Errorf("seen: %d:%d, is: %d", seen.Uid, seen.Gid, is.Uid)
	}
}
