package develop

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/calico-cni-lab/lab/magefiles/internal/bundle"
	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/run"
)

// TestPublish: gh is called for a tag, with both bundles, and not before both are what they should be.
func TestPublish(t *testing.T) {
	root, bin := t.TempDir(), t.TempDir()
	called := filepath.Join(bin, "called")
	if err := os.WriteFile(filepath.Join(bin, "gh"), []byte("#!/bin/sh\necho \"$*\" >'"+called+"'\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	r := &run.Run{Exec: &command.Runner{}, Root: root}
	put := func(arch, data, summed string) {
		file := filepath.Join(root, bundle.Name(arch))
		sum := fmt.Sprintf("%x  %s\n", sha256.Sum256([]byte(summed)), filepath.Base(file))
		if err := errors.Join(os.WriteFile(file, []byte(data), 0o644), os.WriteFile(file+".sha256", []byte(sum), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	fails := func(want string) {
		t.Helper()
		if err := Publish(t.Context(), r); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
		if _, err := os.Stat(called); err == nil {
			t.Error("gh was called")
		}
	}
	put("amd64", "one", "one")
	t.Setenv("GITHUB_REF_NAME", "main")
	t.Setenv("GITHUB_REPOSITORY", "owner/lab")
	t.Setenv("GITHUB_REF_TYPE", "branch")
	fails("when a tag is pushed")
	t.Setenv("GITHUB_REF_NAME", "v1.0.0")
	t.Setenv("GITHUB_REF_TYPE", "tag")
	fails("calico-cni-lab-arm64.tar.zst.sha256")
	put("arm64", "two", "another")
	fails("nothing was published")
	put("arm64", "two", "two")
	if err := Publish(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	args, err := os.ReadFile(called)
	if err != nil || !strings.HasPrefix(string(args), "release create v1.0.0 --repo owner/lab --verify-tag ") || strings.Count(string(args), ".tar.zst") != 4 {
		t.Errorf("%s, %v", args, err)
	}
}
