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
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bitfield/script"
	"github.com/gofrs/flock"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/computer"
	"github.com/calico-cni-lab/lab/magefiles/internal/progress"
)

// Store is a directory of finished artifacts, each in a directory named for what it is and the hash of
// everything it was made from.
type Store struct {
	Dir string
	Run *command.Runner
	// Root says that Dir and everything in it belong to root: then nothing that root does there goes by a path that a user can
	// change. Locks are taken by the user all the same, whose group may read what is there, and nobody else.
	Root bool
	// Stock, where there is one, has artifacts that were made elsewhere; the others are made.
	Stock Stock
	// LookOnly has Get return ErrNotMade for what is not there, instead of making it.
	LookOnly bool

	holding sync.Mutex
	held    *flock.Flock // see use and Seize

	mu       sync.Mutex
	attempts map[string]*attempt // by key, while they run
	unmade   []string            // see Unmade
}

// Stock has artifacts that were made elsewhere, by their keys.
type Stock interface {
	Has(ctx context.Context, key string, root bool) (bool, error)
	// Fill puts one into an empty directory. What is root's has root's owners and modes.
	Fill(ctx context.Context, key, dir string, root bool) error
	// Tar writes what is below a directory of one. After an error nothing of it may be used.
	Tar(ctx context.Context, key, below string, root bool, out io.Writer) error
}

// ErrNotMade is why a store that only looks has no artifact.
var ErrNotMade = errors.New("not done yet; go tool mage verify does it")

// Recipe is how an artifact is made.
type Recipe struct {
	Name   string   // first part of its directory's name
	What   string   // for people: "compiling etcd"
	Inputs []string // everything that its contents depend on
	// Make fills dir. Whatever it leaves there when it fails or is cancelled, Get never takes for finished.
	Make func(ctx context.Context, dir string) error
}

// Key is the artifact's name and the hash of its inputs: the name of its directory.
func (r Recipe) Key() string {
	h := sha256.New()
	for _, in := range r.Inputs {
		fmt.Fprintf(h, "%d:%s\n", len(in), in)
	}
	return r.Name + "-" + hex.EncodeToString(h.Sum(nil))[:16]
}

// Get returns the artifact's directory, and makes it first when it is not there yet. Of several callers, in this
// process or in others, one makes it and the rest wait. A caller whose ctx ends returns with that ctx's cause, whoever
// else still waits; with the last caller the making ends too, and that caller returns when the maker has.
// A failed attempt is an error for those that waited for it; the next caller tries again.
func (s *Store) Get(ctx context.Context, r Recipe) (string, error) {
	dir := filepath.Join(s.Dir, r.Key())
	if s.LookOnly && !computer.Exists(dir) {
		return "", s.miss(ctx, r)
	}
	if !s.LookOnly {
		if err := s.use(ctx); err != nil {
			return "", fmt.Errorf("%s: %w", r.What, err)
		}
	}
	for !computer.Exists(dir) {
		a, joined := s.join(ctx, r)
		select {
		case <-a.done:
			if joined {
				return a.dir, a.err
			}
			// Its last caller had gone before this one came. Whatever came of it, look again.
		case <-ctx.Done():
			if joined && s.leave(a, context.Cause(ctx)) {
				<-a.done
			}
			return "", fmt.Errorf("gave up %s: %w", r.What, context.Cause(ctx))
		}
	}
	return dir, nil
}

// miss notes what isn't there.
func (s *Store) miss(ctx context.Context, r Recipe) error {
	r, err := s.stocked(ctx, r)
	if err != nil {
		return fmt.Errorf("%s: %w", r.What, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(s.unmade, r.What) {
		s.unmade = append(s.unmade, r.What)
	}
	return fmt.Errorf("%s: %w", r.What, ErrNotMade)
}

// Unmade is what a store that only looks was asked for and hasn't, in no order.
func (s *Store) Unmade() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.unmade)
}

// Has says whether an artifact is there, or in stock.
func (s *Store) Has(ctx context.Context, r Recipe) (bool, error) {
	if computer.Exists(filepath.Join(s.Dir, r.Key())) {
		return true, nil
	}
	if s.Stock == nil {
		return false, nil
	}
	return s.Stock.Has(ctx, r.Key(), s.Root)
}

// attempt is one making of an artifact, on behalf of all that wait for it. Its context is no caller's.
type attempt struct {
	waiting int // callers; guarded by the store's mutex. An attempt that nobody waits for has been cancelled.
	cancel  context.CancelCauseFunc
	done    chan struct{} // closed when the maker has ended
	dir     string        // set before done is closed, as is err
	err     error
}

// join returns the attempt that is under way, or starts one. joined is false for one that is cancelled already.
func (s *Store) join(ctx context.Context, r Recipe) (a *attempt, joined bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := r.Key()
	if a := s.attempts[key]; a != nil {
		if a.waiting == 0 {
			return a, false
		}
		a.waiting++
		return a, true
	}
	// The first caller's values stay, such as the task for which it is made.
	own, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	a = &attempt{waiting: 1, cancel: cancel, done: make(chan struct{})}
	if s.attempts == nil {
		s.attempts = map[string]*attempt{}
	}
	s.attempts[key] = a
	go func() {
		defer cancel(nil)
		a.dir, a.err = s.make(own, r)
		s.mu.Lock()
		delete(s.attempts, key)
		s.mu.Unlock()
		close(a.done)
	}()
	return a, true
}

// leave takes a caller off an attempt, and cancels the attempt when that was the last one.
func (s *Store) leave(a *attempt, cause error) (last bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a.waiting--
	if a.waiting > 0 {
		return false
	}
	a.cancel(cause)
	return true
}

// make makes an artifact unless another process has.
func (s *Store) make(ctx context.Context, r Recipe) (dir string, err error) {
	dir = filepath.Join(s.Dir, r.Key())
	unlock, err := s.lock(ctx, dir+".lock")
	if err != nil {
		return "", fmt.Errorf("%s: %w", r.What, err)
	}
	defer unlock()
	if computer.Exists(dir) { // another process was quicker
		return dir, nil
	}
	if r, err = s.stocked(ctx, r); err != nil {
		return "", fmt.Errorf("%s: %w", r.What, err)
	}
	ctx, end := progress.Begin(ctx, progress.Making, r.What)
	defer func() { end(err) }()
	if err := s.makeIn(ctx, r, dir); err != nil {
		return "", fmt.Errorf("%s: %w", r.What, err)
	}
	return dir, nil
}

// stocked is a recipe that takes the artifact from stock, where it is there.
func (s *Store) stocked(ctx context.Context, r Recipe) (Recipe, error) {
	if s.Stock == nil {
		return r, nil
	}
	key := r.Key()
	there, err := s.Stock.Has(ctx, key, s.Root)
	if err != nil || !there {
		return r, err
	}
	r.What = "taking " + r.Name + " from the bundle"
	r.Make = func(ctx context.Context, dir string) error { return s.Stock.Fill(ctx, key, dir, s.Root) }
	return r, nil
}

// makeIn makes an artifact beside dir, and renames it to dir when it is whole.
func (s *Store) makeIn(ctx context.Context, r Recipe, dir string) error {
	// What an interrupted run left. After a kill something may still be writing there, so nobody uses it again.
	entries, err := os.ReadDir(s.Dir)
	if err != nil {
		return err
	}
	part := filepath.Base(dir) + ".part-"
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), part) {
			_ = s.remove(ctx, filepath.Join(s.Dir, e.Name()))
		}
	}
	temp, err := s.tempDir(ctx, part)
	if err != nil {
		return err
	}
	if err := r.Make(ctx, temp); err != nil {
		// What is left of a cancelled one is removed when it is made again.
		if ctx.Err() == nil {
			err = errors.Join(err, s.remove(ctx, temp))
		}
		return err
	}
	return s.rename(ctx, temp, dir)
}

func (s *Store) rename(ctx context.Context, from, to string) error {
	if s.Root {
		_, err := s.Run.Root(ctx, "mv", "-T", "--", from, to)
		return err
	}
	return os.Rename(from, to)
}

// tempDir makes a directory that everybody may read who may enter the store's: the tree in it is a machine's.
func (s *Store) tempDir(ctx context.Context, part string) (string, error) {
	if s.Root {
		return s.Run.Root(ctx, "bash", "-c", `dir=$(mktemp --directory -- "$1XXXXXXXXXX") && chmod 0755 "$dir" && echo "$dir"`, "bash", filepath.Join(s.Dir, part))
	}
	dir, err := os.MkdirTemp(s.Dir, part)
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o755)
}

func (s *Store) remove(ctx context.Context, dir string) error {
	if !computer.Exists(dir) {
		return nil
	}
	if s.Root {
		_, err := s.Run.Root(ctx, "rm", "-rf", "--one-file-system", "--", dir)
		return err
	}
	return os.RemoveAll(dir)
}

// lock is Lock for a file in the store.
func (s *Store) lock(ctx context.Context, path string) (unlock func(), err error) {
	if s.Root && !computer.Exists(path) {
		if _, err := s.Run.Root(ctx, "touch", "--", path); err != nil {
			return nil, err
		}
	}
	return Lock(ctx, path)
}

// lockPoll is how often Lock looks whether a lock that another process holds is free.
const lockPoll = 100 * time.Millisecond

// Lock takes an exclusive lock on a file and waits for it until ctx ends. It makes the file and its directory.
// The kernel drops the lock with the process, however that ends; the file stays, nobody else's to lock. One that is root's need only be
// readable.
func Lock(ctx context.Context, path string) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	flag := os.O_CREATE | os.O_RDWR
	if computer.Exists(path) {
		flag = os.O_RDONLY
	}
	l := flock.New(path, flock.SetFlag(flag), flock.SetPermissions(0o600))
	_, err = l.TryLockContext(ctx, lockPoll)
	switch {
	case err == nil:
		_ = os.Chmod(path, 0o600) // one of an older version; root's is behind a door
		return func() { _ = l.Unlock() }, nil
	case ctx.Err() != nil:
		return nil, fmt.Errorf("waiting for %s, which another run holds: %w", path, errors.Join(context.Cause(ctx), l.Close()))
	}
	return nil, fmt.Errorf("locking %s: %w", path, errors.Join(err, l.Close()))
}

// sumsFile is in an artifact, in sha256sum's format.
const sumsFile = "SHA256SUMS"

// writeSums writes the SHA-256 of every file in dir into its file SHA256SUMS.
func writeSums(dir string) error {
	sums, err := Hash(dir)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, sumsFile), []byte(sumsText(sums)), 0o644)
}

// sumsText is in sha256sum's format.
func sumsText(sums map[string]string) string {
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		text.WriteString(sums[name] + "  " + name + "\n")
	}
	return text.String()
}

// Hash returns the SHA-256, in hex, of every file in an artifact's directory, by its path there.
func Hash(dir string) (map[string]string, error) {
	sums := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || path == filepath.Join(dir, sumsFile) {
			return err
		}
		sums[strings.TrimPrefix(path, dir+"/")], err = Sum(path)
		return err
	})
	return sums, err
}

// Sum is the SHA-256 of a file, in hex.
func Sum(file string) (string, error) { return script.File(file).Hash(sha256.New()) } // streams: some are 100 MB

// Sums reads what writeSums wrote: file name to SHA-256 in hex.
func Sums(dir string) (map[string]string, error) {
	data, err := os.ReadFile(filepath.Join(dir, sumsFile))
	if err != nil {
		return nil, err
	}
	return parseSums(string(data)), nil
}

func parseSums(text string) map[string]string {
	sums := map[string]string{}
	for line := range strings.Lines(text) {
		if sum, name, ok := strings.Cut(strings.TrimSpace(line), "  "); ok && !strings.HasPrefix(line, "#") {
			sums[name] = sum
		}
	}
	return sums
}
