package develop

import (
	"context"
	"maps"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/run"
)

// Lock makes what is the same wherever it is made, for both architectures, and writes its SHA-256 into components/artifacts.lock.
func Lock(ctx context.Context, r *run.Run) error {
	l, err := r.Lab(ctx)
	if err != nil {
		return err
	}
	before, err := artifact.ReadLock(r.Root)
	if err != nil {
		return err
	}
	now := map[string]string{}
	for _, arch := range []string{"amd64", "arm64"} {
		m := *l.Maker
		m.Arch, m.Store = arch, &artifact.Store{Dir: m.Store.Dir, Run: m.Store.Run} // what is in a bundle isn't asked
		locked, err := m.Locked(ctx, m.Components())
		if err != nil {
			return err
		}
		maps.Copy(now, locked)
	}
	if maps.Equal(before, now) {
		r.Console.Notice("%s is as it should be", artifact.LockFile)
		return nil
	}
	for name, sum := range now {
		if before[name] != sum {
			r.Console.Notice("changed: %s", name)
		}
	}
	return artifact.WriteLock(r.Root, now)
}
