package develop

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/computer"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine/nspawn"
	"github.com/calico-cni-lab/lab/magefiles/internal/run"
)

// browserNeeds are what shows the page in the tests; who has Chrome needs nothing.
var browserNeeds = []computer.Need{{Program: "chromium", Package: "chromium"}}

// viewLimit is for all of TestView; it takes less than a minute on an idle computer with everything in the caches.
const viewLimit = 10 * time.Minute

// TestView tests the page that view serves in a real browser: on recorded facts, and on a real lab of its own whose BGP is cut. Screenshots
// are left in .lab/pictures. It isn't a part of Test, because it installs a browser.
func TestView(ctx context.Context, r *run.Run) error {
	needs := nspawn.Needs
	if _, err := exec.LookPath("google-chrome"); err != nil {
		needs = append(browserNeeds[:1:1], needs...)
	}
	if err := computer.Installable(needs); err != nil {
		return err
	}
	if err := install(ctx, r, needs); err != nil {
		return err
	}
	pictures := filepath.Join(r.Root, ".lab", "pictures")
	if err := os.MkdirAll(pictures, 0o755); err != nil {
		return err
	}
	env := []string{"LAB_TEST_BROWSER=now", "LAB_TEST_PICTURES=" + pictures}
	for _, args := range [][]string{
		{"go", "test", "-count=1", "-run", "^TestBrowser", "./magefiles/internal/view"},
		{"go", "test", "-count=1", "-v", "-timeout=" + viewLimit.String(), "-run", "^TestView$", e2e},
	} {
		if err := show(ctx, r, shown{args: args, env: env, limit: viewLimit}); err != nil {
			return err
		}
	}
	r.Console.Notice("screenshots: %s", pictures)
	return nil
}
