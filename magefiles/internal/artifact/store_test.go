package artifact

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"github.com/calico-cni-lab/lab/magefiles/internal/computer"
)

func store(dir string) *Store {
	return &Store{Dir: dir}
}

func TestKey(t *testing.T) {
	keys := map[string]bool{}
	for _, r := range []Recipe{
		{Name: "a", Inputs: []string{"ab", "c"}},
		{Name: "a", Inputs: []string{"a", "bc"}},
		{Name: "a", Inputs: []string{"abc"}},
		{Name: "b", Inputs: []string{"ab", "c"}},
	} {
		keys[r.Key()] = true
	}
	if len(keys) != 4 {
		t.Errorf("different inputs have the same key: %v", keys)
	}
}

// TestGet: of many callers one makes it, and what is made stays for the next process.
func TestGet(t *testing.T) {
	dir := t.TempDir()
	var made atomic.Int32
	r := Recipe{Name: "x", Make: func(_ context.Context, out string) error {
		made.Add(1)
		return os.WriteFile(filepath.Join(out, "file"), []byte("content"), 0o644)
	}}
	var wg sync.WaitGroup
	for range 3 {
		s := store(dir) // as in another process: they know of each other by the lock only
		for range 3 {
			wg.Go(func() {
				got, err := s.Get(t.Context(), r)
				if err != nil || got != filepath.Join(dir, r.Key()) || !computer.Exists(filepath.Join(got, "file")) {
					t.Errorf("Get: %s, %v", got, err)
				}
			})
		}
	}
	wg.Wait()
	if made.Load() != 1 {
		t.Errorf("made %d times", made.Load())
	}
}

// inStock has an artifact, which nobody may take.
type inStock struct {
	Stock
	key string
}

func (s inStock) Has(_ context.Context, key string, _ bool) (bool, error) { return key == s.key, nil }

// TestUnmade: a store that only looks says what it was asked for in vain, and makes nothing.
func TestUnmade(t *testing.T) {
	dir := t.TempDir()
	there, made, stocked := Recipe{Name: "there", What: "making what is there"}, Recipe{Name: "a", What: "making a"}, Recipe{Name: "b", What: "making b"}
	if err := os.Mkdir(filepath.Join(dir, there.Key()), 0o755); err != nil {
		t.Fatal(err)
	}
	s := &Store{Dir: dir, LookOnly: true, Stock: inStock{key: stocked.Key()}}
	if _, err := s.Get(t.Context(), there); err != nil {
		t.Error(err)
	}
	for _, r := range []Recipe{made, stocked, made} {
		if _, err := s.Get(t.Context(), r); !errors.Is(err, ErrNotMade) {
			t.Errorf("%s: %v", r.Name, err)
		}
	}
	if diff := cmp.Diff([]string{"making a", "taking b from the bundle"}, s.Unmade()); diff != "" {
		t.Error(diff)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("%v, %v", left, err)
	}
}

// TestGetFails: what failed or was cut off is never taken for finished, and the next caller makes it again, in the same
// process too.
func TestGetFails(t *testing.T) {
	dir := t.TempDir()
	fail := errors.New("no")
	r := Recipe{Name: "x", What: "making x", Make: func(_ context.Context, out string) error {
		return errors.Join(os.WriteFile(filepath.Join(out, "half"), nil, 0o644), fail)
	}}
	s := store(dir)
	if _, err := s.Get(t.Context(), r); !errors.Is(err, fail) || !strings.Contains(err.Error(), "making x: ") {
		t.Errorf("Get: %v", err)
	}
	cut := r
	cut.Make = func(ctx context.Context, out string) error {
		err := r.Make(ctx, out)
		<-ctx.Done()
		return err
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := s.Get(ctx, cut); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "gave up making x") {
		t.Errorf("Get: %v", err)
	}
	if computer.Exists(filepath.Join(dir, r.Key())) {
		t.Fatal("a failed one is there")
	}
	r.Make = func(_ context.Context, _ string) error {
		left, err := filepath.Glob(filepath.Join(dir, "*", "half"))
		if len(left) > 0 {
			return fmt.Errorf("left of the last try: %v", left)
		}
		return err
	}
	if _, err := s.Get(t.Context(), r); err != nil {
		t.Error(err)
	}
}

// slow is a recipe that is made when release is closed. made counts the times it ended by itself.
func slow(release <-chan struct{}) (r Recipe, started <-chan struct{}, made, ended *atomic.Int32) {
	made, ended = new(atomic.Int32), new(atomic.Int32)
	begun := make(chan struct{}, 10)
	return Recipe{Name: "x", What: "making x", Make: func(ctx context.Context, _ string) error {
		defer ended.Add(1)
		begun <- struct{}{}
		select {
		case <-release:
			made.Add(1)
			return nil
		case <-ctx.Done():
			time.Sleep(20 * time.Millisecond) // as a compiler that ends takes its time
			return ctx.Err()
		}
	}}, begun, made, ended
}

// waiting polls until n callers wait for the only attempt.
func waiting(t *testing.T, s *Store, n int) {
	t.Helper()
	for range 1000 {
		s.mu.Lock()
		sum := 0
		for _, a := range s.attempts {
			sum += a.waiting
		}
		s.mu.Unlock()
		if sum == n {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("never %d callers", n)
}

// TestGetCancelled: a caller that is cancelled returns at once with its own cause, and the others get the artifact, even
// when it was the cancelled one that started the making.
func TestGetCancelled(t *testing.T) {
	release := make(chan struct{})
	r, started, made, _ := slow(release)
	s := store(t.TempDir())
	own := errors.New("my stage failed")
	ctx, cancel := context.WithCancelCause(t.Context())
	first, second := make(chan error), make(chan error)
	go func() { _, err := s.Get(ctx, r); first <- err }()
	<-started
	go func() { _, err := s.Get(t.Context(), r); second <- err }()
	waiting(t, s, 2)
	cancel(own)
	if err := <-first; !errors.Is(err, own) || errors.Is(err, context.Canceled) {
		t.Errorf("the cancelled caller: %v", err)
	}
	close(release)
	if err := <-second; err != nil {
		t.Errorf("the other caller: %v", err)
	}
	if made.Load() != 1 {
		t.Errorf("made %d times", made.Load())
	}
}

// TestGetLastGone: with the last caller the making ends, and only then does that caller return; one that comes
// meanwhile makes it again.
func TestGetLastGone(t *testing.T) {
	release := make(chan struct{})
	r, started, made, ended := slow(release)
	s := store(t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	first, second := make(chan error), make(chan error)
	go func() {
		_, err := s.Get(ctx, r)
		if ended.Load() == 0 {
			err = errors.Join(err, errors.New("Get returned before the maker did"))
		}
		first <- err
	}()
	<-started
	cancel()
	waiting(t, s, 0)
	go func() { _, err := s.Get(t.Context(), r); second <- err }()
	if err := <-first; !errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "before") {
		t.Errorf("the first caller: %v", err)
	}
	<-started
	close(release)
	if err := <-second; err != nil || made.Load() != 1 {
		t.Errorf("the second caller: %v, made %d times", err, made.Load())
	}
}

// TestGetNames: of two artifacts that are made at once the error names the one that failed.
func TestGetNames(t *testing.T) {
	s := store(t.TempDir())
	g, ctx := errgroup.WithContext(t.Context())
	release := make(chan struct{})
	r, started, _, _ := slow(release)
	other := make(chan error, 1)
	g.Go(func() error { _, err := s.Get(ctx, r); other <- err; return err })
	<-started
	waited := make(chan error, 1)
	go func() { _, err := s.Get(t.Context(), r); waited <- err }()
	waiting(t, s, 2)
	g.Go(func() error {
		_, err := s.Get(ctx, Recipe{Name: "y", What: "making y", Make: func(context.Context, string) error { return errors.New("no") }})
		return err
	})
	if err := g.Wait(); err == nil || err.Error() != "making y: no" {
		t.Errorf("the group: %v", err)
	}
	if err := <-other; err == nil || !strings.HasPrefix(err.Error(), "gave up making x") {
		t.Errorf("the one that was given up: %v", err)
	}
	close(release)
	if err := <-waited; err != nil {
		t.Errorf("the one that is in no group: %v", err)
	}
}

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dir", "lock")
	unlock, err := Lock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Lock(ctx, path); err == nil || !strings.Contains(err.Error(), "which another run holds") {
		t.Errorf("second lock: %v", err)
	}
	time.AfterFunc(50*time.Millisecond, unlock)
	unlock, err = Lock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}

func TestSums(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a b"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := writeSums(dir); err != nil {
		t.Fatal(err)
	}
	got, err := Sums(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"a b": "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
