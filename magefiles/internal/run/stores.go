package run

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/bundle"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine/box"
)

// Trees is the store of what belongs to root.
func (r *Run) Trees() *artifact.Store { return r.store(box.CacheDir(), true) }

// Cache is the store of what belongs to the user, in a directory that can be one.
func (r *Run) Cache() (*artifact.Store, error) {
	dir, err := CacheDir()
	if err == nil {
		err = artifact.CheckCache(dir)
	}
	if err != nil {
		return nil, err
	}
	return r.store(dir, false), nil
}

// store returns the run's one store in a directory, root's or the user's. Reset releases it.
func (r *Run) store(dir string, root bool) *artifact.Store {
	r.storesMu.Lock()
	defer r.storesMu.Unlock()
	for _, s := range r.stores {
		if s.Dir == dir {
			return s
		}
	}
	s := &artifact.Store{Dir: dir, Root: root, Run: r.Exec}
	r.stores = append(r.stores, s)
	return s
}

// CacheDir is where artifacts are kept: LAB_CACHE, else below the user's cache directory.
func CacheDir() (string, error) {
	if dir := os.Getenv("LAB_CACHE"); dir != "" {
		return dir, nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no directory for the cache (%w); name one in LAB_CACHE", err)
	}
	return filepath.Join(dir, "calico-cni-lab"), nil
}

// stock has the stores take what they can from the bundle that the environment or lab.yaml names.
func (r *Run) stock(l *lab.Lab, maker *artifact.Maker, trees *artifact.Store) error {
	b := &bundle.Bundle{Arch: maker.Arch, Pins: maker.Pins.Releases(), Run: r.Exec, Notice: r.Console.Notice}
	switch variable := os.Getenv(bundle.Variable); {
	case variable == bundle.None:
		return nil
	case variable != "":
		b.Named, b.By = variable, bundle.Variable
	case l.Bundle != "":
		b.Named, b.By = l.Bundle, "bundle in "+r.LabFile
	case bundle.Release != "":
		b.Named, b.By, b.Unasked = bundle.Release, "the project's release", true
	default:
		return nil
	}
	locked, err := artifact.ReadLock(r.Root)
	if err != nil {
		return err
	}
	b.Locked = locked
	maker.Store.Stock, trees.Stock = b, b
	return nil
}
