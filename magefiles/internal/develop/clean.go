package develop

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/computer"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine/box"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine/kind"
	"github.com/calico-cni-lab/lab/magefiles/internal/run"
)

// Clean empties the cache: artifacts, boxes, trees and Docker stores of this user, and what the kinds of machines keep of them. It
// refuses while machines are made of them, or another run, of any lab, uses them.
func Clean(ctx context.Context, r *run.Run) (err error) {
	if err := r.Reset(); err != nil { // what targets before this one use
		return err
	}
	cache, err := r.Cache()
	if err != nil {
		return err
	}
	trees := r.Trees()
	defer func() { err = errors.Join(err, r.Reset()) }()
	root := computer.Exists(trees.Dir) // and then they are root's
	if root {
		if err := computer.BecomeRoot(ctx, r.Exec, "the trees that machines are made of", r.Console.Notice); err != nil {
			return err
		}
	}
	for _, s := range []*artifact.Store{cache, trees} {
		if err := s.Seize(ctx); err != nil {
			return err
		}
	}
	o := machine.Options{Run: r.Exec, Store: trees, Notice: r.Console.Notice, ProjectDir: r.Root}
	if err := unused(ctx, o); err != nil {
		return err
	}
	for _, k := range kind.All() {
		if k.Clean != nil {
			if err := k.Clean(ctx, o); err != nil {
				return err
			}
		}
	}
	if err := errors.Join(cache.Empty(ctx), trees.Empty(ctx)); err != nil {
		return err
	}
	if root {
		// Empty now, unless another user has a cache too.
		dirs := []string{box.CacheDir(), filepath.Join(machine.Home, "labs"), filepath.Join(machine.Home, "cache"), machine.Home}
		_, _ = r.Exec.Root(ctx, append([]string{"rmdir", "--ignore-fail-on-non-empty"}, dirs...)...)
	}
	r.Console.Notice("the cache is empty; the next go tool mage verify makes everything anew\n" +
		"Go's own caches keep modules and what was compiled, several GB, for all your projects; this empties them: go clean -cache -modcache")
	return nil
}

// unused refuses to empty a cache that machines stand on.
func unused(ctx context.Context, o machine.Options) error {
	var users []string
	for _, k := range kind.All() {
		if k.CacheUsers == nil {
			continue
		}
		more, err := k.CacheUsers(ctx, o)
		if err != nil {
			return err
		}
		users = append(users, more...)
	}
	if len(users) == 0 {
		return nil
	}
	return fmt.Errorf("what is in the cache is in use by the lab in %s; destroy it there first", strings.Join(users, " and the one in "))
}
