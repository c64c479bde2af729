package develop

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine/box"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine/kind"
	"github.com/calico-cni-lab/lab/magefiles/internal/run"
)

// Clean empties the cache: artifacts, boxes, trees and Docker stores of this user. It refuses while machines are made of them.
func Clean(ctx context.Context, r *run.Run) error {
	var users []string
	for _, k := range kind.All() {
		if k.CacheUsers == nil {
			continue
		}
		more, err := k.CacheUsers()
		if err != nil {
			return err
		}
		users = append(users, more...)
	}
	if len(users) > 0 {
		return fmt.Errorf("what is in the cache is in use by the lab in %s; run `go tool mage destroy` there first", strings.Join(users, " and the one in "))
	}
	cache, err := run.CacheDir()
	if err != nil {
		return err
	}
	if err := os.RemoveAll(cache); err != nil {
		return err
	}
	if _, err := os.Stat(machine.Home); err == nil {
		if _, err := r.Exec.Root(ctx, "rm", "-rf", "--one-file-system", "--", box.CacheDir()); err != nil {
			return err
		}
		// Empty now, unless another user has a cache too.
		_, _ = r.Exec.Root(ctx, "rmdir", "--ignore-fail-on-non-empty", filepath.Join(machine.Home, "labs"), filepath.Join(machine.Home, "cache"), machine.Home)
	}
	r.Console.Notice("the cache is empty; the next `go tool mage verify` makes everything anew")
	return nil
}
