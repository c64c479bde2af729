package develop

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/bundle"
	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/run"
)

// uploadTime is for two bundles, of 350 MB each.
const uploadTime = 15 * time.Minute

// Publish makes a release of GitHub's, for the tag that a workflow runs for, of the bundles of both architectures in the project's directory,
// once both are what their checksums say.
func Publish(ctx context.Context, r *run.Run) error {
	tag, repository := os.Getenv("GITHUB_REF_NAME"), os.Getenv("GITHUB_REPOSITORY")
	if tag == "" || repository == "" || os.Getenv("GITHUB_REF_TYPE") != "tag" {
		return errors.New("this runs in a workflow of GitHub's, when a tag is pushed: GITHUB_REF_NAME, GITHUB_REF_TYPE and GITHUB_REPOSITORY don't name one")
	}
	args := []string{"gh", "release", "create", tag, "--repo", repository, "--verify-tag", "--generate-notes", "--"}
	for _, arch := range []string{"amd64", "arm64"} {
		file := filepath.Join(r.Root, bundle.Name(arch))
		said, err := os.ReadFile(file + ".sha256")
		var sum string
		if err == nil {
			sum, err = artifact.Sum(file)
		}
		if err != nil {
			return fmt.Errorf("%w; both bundles have to be in the project's directory, each with its .sha256: go tool mage bundle makes those of one architecture", err)
		}
		if want, _, _ := strings.Cut(string(said), " "); sum != want {
			return fmt.Errorf("%s has the SHA-256 %s, not %q; nothing was published; run the workflow again, which makes both anew", file, sum, want)
		}
		args = append(args, file, file+".sha256")
	}
	_, err := r.Exec.Run(ctx, command.Cmd{Args: args, Dir: r.Root, Timeout: uploadTime, Hint: "gh release view " + tag + " shows whether there is one already"})
	return err
}
