package artifact

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/calico-cni-lab/lab/magefiles/internal/progress"
)

// count returns how far a task is that hears lines, and those that it keeps.
func count(t *testing.T, lines string) (got progress.Count, kept []string) {
	t.Helper()
	tree := &progress.Tree{}
	ctx, end := progress.Begin(progress.In(t.Context(), tree), progress.Making, "base")
	defer end(nil)
	a := &aptProgress{ctx: ctx}
	for line := range strings.Lines(lines) {
		if line = strings.TrimSuffix(line, "\n"); !a.said(line) {
			kept = append(kept, line)
		}
	}
	return tree.Running()[0].Count, kept
}

// TestAptProgress: what apt and dpkg say while a tree is made, as they said it.
func TestAptProgress(t *testing.T) {
	const update = `I: running apt-get update...
Get:1 http://deb.debian.org/debian bookworm InRelease [151 kB]
Fetched 9421 kB in 6s (1502 kB/s)
`
	const fetch = update + `0 upgraded, 61 newly installed, 0 to remove and 0 not upgraded.
Need to get 28.9 MB of archives.
After this operation, 139 MB of additional disk space will be used.
Get:1 http://deb.debian.org/debian bookworm/main amd64 gcc-12-base amd64 12.2.0-14+deb12u1 [37.6 kB]
Get:2 http://deb.debian.org/debian bookworm/main amd64 libc6 amd64 2.36-9+deb12u14 [2,758 kB]
`
	const unpack = fetch + `0 upgraded, 3 newly installed, 0 to remove and 0 not upgraded.
Need to get 0 B/1234 kB of archives.
Selecting previously unselected package bird.
(Reading database ... 6461 files and directories currently installed.)
Preparing to unpack .../bird_1.6.8-2.1_amd64.deb ...
Unpacking bird (1.6.8-2.1) ...
E: it failed
`
	for lines, want := range map[string]struct {
		progress.Count
		kept string
	}{
		update: {progress.Count{}, "I: running apt-get update...|Fetched 9421 kB in 6s (1502 kB/s)"},
		fetch:  {progress.Count{Done: 2, Total: 28, What: "MB fetched"}, "I: running apt-get update...|Fetched 9421 kB in 6s (1502 kB/s)|After this operation, 139 MB of additional disk space will be used."},
		unpack: {progress.Count{Done: 1, Total: 3, What: "packages unpacked"}, "I: running apt-get update...|Fetched 9421 kB in 6s (1502 kB/s)|After this operation, 139 MB of additional disk space will be used.|E: it failed"},
		unpack + "Setting up bird (1.6.8-2.1) ...": {progress.Count{Done: 1, Total: 3, What: "packages set up"}, "I: running apt-get update...|Fetched 9421 kB in 6s (1502 kB/s)|After this operation, 139 MB of additional disk space will be used.|E: it failed"},
	} {
		got, kept := count(t, lines)
		if got != want.Count || strings.Join(kept, "|") != want.kept {
			t.Errorf("%s: %+v, %q", lines, got, kept)
		}
	}
}

// TestDownloads: modules count that come now, as far as they are there, and not those that were there before.
func TestDownloads(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, bytes int) {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, make([]byte, bytes), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	d := downloads{dir: dir}
	var sizes []int64
	write("example.com/there/@v/v1.0.0.zip", 1)
	for _, name := range []string{"example.com/there@v1.0.0", "example.com/Big@v1.0.0", "example.com/small@v1.0.0", "no module", "example.com/../x@v1"} {
		d.add(name)
	}
	sizes = append(sizes, d.size())
	write("example.com/!big/@v/v1.0.0.zip1234.tmp", 10)
	write("example.com/small/@v/v1.0.0.zip", 100)
	sizes = append(sizes, d.size())
	write("example.com/!big/@v/v1.0.0.zip", 1000)
	sizes = append(sizes, d.size(), d.size())
	if diff := cmp.Diff([]int64{0, 110, 1100, 1100}, sizes); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
