// Package artifact makes what is put on the machines: binaries and images from pinned modules and Debian's
// packages, once for each state of their inputs, kept in a cache that outlives every lab.
package artifact

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
)

// Store is a directory of finished artifacts, each in a directory named for what it is and the hash of
// everything it was made from.
type Store struct {
	Dir string
	Run *command.Runner
	// Making is told when something is not there and has to be made, and gets a function to call at its end.
	Making func(what string) (done func(error))

	mu    sync.Mutex
	items map[string]*item
}

type item struct {
	once sync.Once
	dir  string
	err  error
}

// Recipe is how an artifact is made.
type Recipe struct {
	Name   string   // first part of its directory's name
	What   string   // for people: "compiling etcd"
	Inputs []string // everything that its contents depend on
	Root   bool     // its files belong to root
	// Make fills dir. A cancelled or failed Make leaves nothing that Get would take for finished.
	Make func(ctx context.Context, dir string) error
}

// Key names the artifact: its name and the hash of its inputs.
func (r Recipe) Key() string {
	h := sha256.New()
	for _, in := range r.Inputs {
		fmt.Fprintf(h, "%d:%s\n", len(in), in)
	}
	return r.Name + "-" + hex.EncodeToString(h.Sum(nil))[:16]
}

// Get gives the artifact's directory and makes it first where it is not there yet. Of several callers, in this
// process or in others, one makes it and the rest wait.
func (s *Store) Get(ctx context.Context, r Recipe) (string, error) {
	s.mu.Lock()
	if s.items == nil {
		s.items = map[string]*item{}
	}
	it := s.items[r.Key()]
	if it == nil {
		it = &item{}
		s.items[r.Key()] = it
	}
	s.mu.Unlock()
	it.once.Do(func() { it.dir, it.err = s.get(ctx, r) })
	return it.dir, it.err
}

func (s *Store) get(ctx context.Context, r Recipe) (dir string, err error) {
	dir = filepath.Join(s.Dir, r.Key())
	if exists(dir) {
		return dir, nil
	}
	unlock, err := Lock(ctx, filepath.Join(s.Dir, r.Key()+".lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	if exists(dir) { // another process was quicker
		return dir, nil
	}
	done := s.Making(r.What)
	defer func() { done(err) }()
	// What an interrupted run left. After a kill something may still be writing there, so nobody uses it again.
	stale, err := filepath.Glob(dir + ".part-*")
	if err != nil {
		return "", err
	}
	for _, old := range stale {
		_ = s.remove(ctx, old, r.Root)
	}
	temp, err := os.MkdirTemp(s.Dir, r.Key()+".part-")
	if err != nil {
		return "", err
	}
	if err := os.Chmod(temp, 0o755); err != nil { // the tree in it is a machine's
		return "", err
	}
	if err := r.Make(ctx, temp); err != nil {
		// What is left of a cancelled one is removed when it is made anew.
		if ctx.Err() == nil {
			err = errors.Join(err, s.remove(ctx, temp, r.Root))
		}
		return "", fmt.Errorf("%s: %w", r.What, err)
	}
	return dir, os.Rename(temp, dir)
}

func (s *Store) remove(ctx context.Context, dir string, root bool) error {
	if !exists(dir) {
		return nil
	}
	if root {
		_, err := s.Run.Root(ctx, "rm", "-rf", "--one-file-system", "--", dir)
		return err
	}
	return os.RemoveAll(dir)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Lock takes an exclusive lock on a file, waiting for it as long as ctx lasts.
func Lock(ctx context.Context, path string) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			f.Close()
			return nil, fmt.Errorf("locking %s: %w", path, err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("waiting for %s, which another run holds: %w", path, context.Cause(ctx))
		}
	}
}

// fileSum is the SHA-256 of a file, in hex.
func fileSum(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// writeSums writes the SHA-256 of every file in dir into its file SHA256SUMS, in sha256sum's format.
func writeSums(dir string) error {
	var lines []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		sum, err := fileSum(path)
		lines = append(lines, sum+"  "+strings.TrimPrefix(path, dir+"/"))
		return err
	})
	if err != nil {
		return err
	}
	slices.Sort(lines)
	return os.WriteFile(filepath.Join(dir, "SHA256SUMS"), []byte(strings.Join(lines, "\n")+"\n"), 0o644)
}

// Sums reads what writeSums wrote: file name to SHA-256 in hex.
func Sums(dir string) (map[string]string, error) {
	data, err := os.ReadFile(filepath.Join(dir, "SHA256SUMS"))
	if err != nil {
		return nil, err
	}
	sums := map[string]string{}
	for line := range strings.Lines(string(data)) {
		if sum, name, ok := strings.Cut(strings.TrimSpace(line), "  "); ok {
			sums[name] = sum
		}
	}
	return sums, nil
}
