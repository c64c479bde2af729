package bundle

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
)

// TestChangedMeanwhile: what changed while it was read is read again.
func TestChangedMeanwhile(t *testing.T) {
	gnu, err := exec.LookPath("tar")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	const script = `#!/bin/bash
if [ "$1" != -c ]; then exec %[1]s "$@"; fi
%[1]s "$@"
if mkdir %[2]s/once 2>/dev/null || mkdir %[2]s/twice 2>/dev/null; then
	echo "tar: ./bin: file changed as we read it" >&2
	exit 1
fi
`
	if err := os.WriteFile(filepath.Join(dir, "tar"), fmt.Appendf(nil, script, gnu, dir), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	file, locked := write(t)
	if err := whole(t, open(file, locked)); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "twice")); err != nil {
		t.Error(err)
	}
}

// TestAlwaysChanged: it is said what to do where something changes again and again. A link to a file changes it.
func TestAlwaysChanged(t *testing.T) {
	dir := t.TempDir()
	tool := filepath.Join(dir, toolKey)
	if err := errors.Join(os.Mkdir(tool, 0o755), os.WriteFile(filepath.Join(tool, "bin"), make([]byte, 64<<20), 0o755)); err != nil {
		t.Fatal(err)
	}
	packed, err := os.Create(filepath.Join(dir, "packed"))
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	ctx, cancel := context.WithCancel(t.Context())
	linked := make(chan error, 1)
	go func() {
		var err error
		for ctx.Err() == nil && err == nil {
			err = errors.Join(os.Link(filepath.Join(tool, "bin"), filepath.Join(dir, "link")), os.Remove(filepath.Join(dir, "link")))
		}
		linked <- err
	}()
	_, err = add(t.Context(), &command.Runner{}, Content{Dir: tool}, toolKey, packed, 0)
	cancel()
	if err == nil || !strings.Contains(err.Error(), "file changed as we read it") || !strings.Contains(err.Error(), "\n  what to do: ") {
		t.Error(err)
	}
	if err := <-linked; err != nil {
		t.Error(err)
	}
}
