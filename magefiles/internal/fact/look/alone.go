package main

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

// aloneTime is how long what is ended may take to: timeout(1) kills after a second.
const aloneTime = 3 * time.Second

// endOthers ends what a run that was killed has left at work here, with its children, and waits for the end: whatever is seen before
// wouldn't stay so. A session that ends ends no command.
func endOthers(a fact.Alone) {
	deadline := time.Now().Add(aloneTime)
	for found := others(a); len(found) > 0 && time.Now().Before(deadline); found = others(a) {
		for _, pid := range found {
			_ = syscall.Kill(pid, syscall.SIGTERM) // else it has just ended
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// others are the commands of other runs that change something.
func others(a fact.Alone) (found []int) {
	processes, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range processes {
		line, _ := os.ReadFile(file) // nothing of one that has ended
		words := strings.Split(string(line), "\x00")
		if words[0] != "timeout" || !slices.ContainsFunc(words, func(w string) bool { return strings.HasPrefix(w, a.Of) && !strings.HasPrefix(w, a.But) }) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil {
			found = append(found, pid)
		}
	}
	return found
}
