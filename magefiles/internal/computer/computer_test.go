package computer

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestMissing(t *testing.T) {
	here := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(here, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	got := Missing([]Need{
		{"no-such-program-b", "b"}, {"sh", "dash"}, {here, "file"}, {here + ".gone", "gone"}, {"no-such-program-a", "a"}, {"no-such-program-a2", "a"},
	})
	if want := []string{"a", "b", "gone"}; !slices.Equal(got, want) {
		t.Errorf("missing: %v, not %v", got, want)
	}
}

func TestInstallable(t *testing.T) {
	needs := []Need{{"no-such-program", "no-such-package"}}
	bin := t.TempDir()
	t.Setenv("PATH", bin)
	if err := Installable([]Need{{"/", "base-files"}}); err != nil {
		t.Errorf("nothing is missing: %v", err)
	}
	if (Need{Program: "apt-get"}).met() {
		t.Error("found apt-get where it isn't")
	}
	if err := Installable(needs); err == nil || !strings.Contains(err.Error(), "no-such-package") || !strings.Contains(err.Error(), "Debian 12") {
		t.Errorf("without apt-get: %v", err)
	}
	if err := os.WriteFile(filepath.Join(bin, "apt-get"), []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := Installable(needs); err != nil {
		t.Errorf("with apt-get: %v", err)
	}
	t.Setenv("LAB_APT", "never")
	if err := Installable(needs); err == nil || !strings.Contains(err.Error(), "sudo apt-get install --yes --no-install-recommends no-such-package") {
		t.Errorf("forbidden: %v", err)
	}
}
