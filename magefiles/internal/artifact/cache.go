package artifact

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/gofrs/flock"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/computer"
	"github.com/calico-cni-lab/lab/magefiles/internal/keep"
	"github.com/calico-cni-lab/lab/scripts"
)

// A store's directory is marked as a cache by the Cache Directory Tagging Specification (https://bford.info/cachedir/), which backup
// programs know: the first line is the specification's. The second makes it the lab's own.
const (
	tagFile = "CACHEDIR.TAG"
	tag     = "Signature: 8a477f597d28d172789f06886806bc55\n# The cache of Calico CNI Lab. It may be emptied at any time, by: go tool mage clean\n"
)

// TimesFile is where runs keep how long things took; see package progress.
const TimesFile = "times.json"

// lockFile is locked by every process that uses the store, shared, and by one that empties it.
const lockFile = "lock"

// stored is what is in a store's directory: artifacts, locks and attempts of them, and how long things took.
var stored = regexp.MustCompile(`^([A-Za-z0-9_-]+-[0-9a-f]{16}(\.lock|\.part-.+)?|` + regexp.QuoteMeta(tagFile) + `\.part-.+|` +
	regexp.QuoteMeta(TimesFile) + `(\.part-.+)?|` + keep.Attempt(tagFile) + `|` + keep.Attempt(TimesFile) + `|` + lockFile + `)$`)

// CheckCache refuses a directory that can't be a store's: it has the lab's mark, or could get it, because it is empty, is not there
// yet, or has nothing in it but artifacts, as one from before there were marks.
func CheckCache(dir string) error {
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("%s can't be the lab's cache: %s; name another directory in LAB_CACHE, one that is empty or not there yet, with its whole path",
			dir, fmt.Sprintf(format, args...))
	}
	home, _ := os.UserHomeDir()
	if !filepath.IsAbs(dir) {
		return refuse("the path is relative, so in another directory it would be another cache")
	}
	if dir = filepath.Clean(dir); dir == "/" || dir == home {
		return refuse("it is for everything, and `clean` removes what is in the cache")
	}
	info, err := os.Lstat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return refuse("%v", err)
	case info.Mode()&fs.ModeSymlink != 0:
		return refuse("it is a symbolic link; name what it leads to")
	case !info.IsDir():
		return refuse("it is no directory")
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Getuid() {
		return refuse("it belongs to the user %d, not %d", st.Uid, os.Getuid())
	}
	if marked(dir) {
		return nil
	}
	foreign, err := foreign(dir)
	if err != nil {
		return refuse("%v", err)
	}
	if len(foreign) > 0 {
		return refuse("it has other things in it, such as %s", strings.Join(foreign[:min(3, len(foreign))], ", "))
	}
	return nil
}

func marked(dir string) bool {
	data, err := os.ReadFile(filepath.Join(dir, tagFile))
	return err == nil && string(data) == tag
}

// foreign lists what is in a store's directory and isn't the store's.
func foreign(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	var names []string
	for _, e := range entries {
		if !stored.MatchString(e.Name()) && (e.Name() != tagFile || !marked(dir)) {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// mark makes the store's directory, with its mark.
func (s *Store) mark(ctx context.Context) error {
	if s.Root {
		group := os.Getgid()
		if s.closed(group) && marked(s.Dir) && computer.Exists(filepath.Join(s.Dir, lockFile)) {
			return nil
		}
		_, err := s.Run.Root(ctx, "bash", "-c", scripts.Text("root-cache.sh"), "root-cache.sh", s.Dir, strconv.Itoa(group), tagFile, tag, lockFile)
		return err
	}
	if err := CheckCache(s.Dir); err != nil || marked(s.Dir) {
		return err
	}
	return keep.Write(filepath.Join(s.Dir, tagFile), []byte(tag), 0o644)
}

// closed says whether a store of root's is to be entered by a group alone.
func (s *Store) closed(group int) bool {
	info, err := os.Lstat(s.Dir)
	if err != nil || info.Mode() != fs.ModeDir|0o750 {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && st.Uid == 0 && int(st.Gid) == group
}

// use holds the store until Release, against Seize of other processes, and waits for one that is at it.
func (s *Store) use(ctx context.Context) error {
	s.holding.Lock()
	defer s.holding.Unlock()
	for s.held == nil {
		if err := s.mark(ctx); err != nil {
			return err
		}
		l := flock.New(filepath.Join(s.Dir, lockFile))
		if _, err := l.TryRLockContext(ctx, lockPoll); err != nil {
			err = errors.Join(err, l.Close())
			if errors.Is(err, fs.ErrNotExist) {
				continue // just emptied
			}
			return fmt.Errorf("waiting for the cache %s, which another run empties: %w", s.Dir, err)
		}
		if !s.current(l) {
			_ = l.Close()
			continue
		}
		s.held = l
	}
	return nil
}

// current says whether a lock is the one that others see: who emptied the store has removed its file.
func (s *Store) current(l *flock.Flock) bool {
	mine, err := l.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(l.Path())
	return err == nil && os.SameFile(mine, there)
}

// seizePatience is for a run that was just ended and is still on its way out.
const seizePatience = time.Second

// Seize takes the store for this process alone, until Release, so that it can be emptied. A store that was never used stays away.
func (s *Store) Seize(ctx context.Context) error {
	if err := CheckCache(s.Dir); err != nil && !s.Root { // root's is put right by mark
		return err
	}
	if !computer.Exists(s.Dir) {
		return nil
	}
	if err := s.mark(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, seizePatience)
	defer cancel()
	l := flock.New(filepath.Join(s.Dir, lockFile))
	ok, err := l.TryLockContext(ctx, lockPoll)
	switch {
	case ok && s.current(l):
		s.held = l
		return nil
	case ok || errors.Is(err, context.DeadlineExceeded):
		return errors.Join(fmt.Errorf("another run is using the cache %s; wait for it to end (lsof %[1]s/%s shows it), and run this again", s.Dir, lockFile), l.Close())
	}
	return errors.Join(err, l.Close())
}

// emptyTime is for removing artifacts: some have 20000 files.
const emptyTime = 5 * time.Minute

// Empty removes all artifacts of a store that was seized, and then the directory, unless there is
// something in it that isn't the store's. What it leaves when it is interrupted, the next call removes, and Get never takes for an artifact.
func (s *Store) Empty(ctx context.Context) error {
	entries, err := os.ReadDir(s.Dir)
	if err != nil || s.held == nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	for _, e := range entries {
		path := filepath.Join(s.Dir, e.Name())
		if !stored.MatchString(e.Name()) || e.Name() == lockFile {
			continue
		}
		if e.IsDir() && !strings.Contains(e.Name(), ".part-") {
			if err := s.rename(ctx, path, path+".part-removed"); err != nil {
				return err
			}
			path += ".part-removed"
		}
		// Not os.RemoveAll: a making that was killed may have left file systems mounted there.
		if _, err := s.Run.Run(ctx, command.Cmd{Args: []string{"rm", "-rf", "--one-file-system", "--", path}, Root: s.Root, Timeout: emptyTime}); err != nil {
			return err
		}
	}
	if left, err := foreign(s.Dir); err != nil || len(left) > 0 {
		if err == nil {
			err = fmt.Errorf("%s is empty but for what isn't the cache's: %s", s.Dir, strings.Join(left, ", "))
		}
		return err
	}
	if s.Root {
		if _, err := s.Run.Root(ctx, "rm", "-f", "--", filepath.Join(s.Dir, lockFile), filepath.Join(s.Dir, tagFile)); err != nil {
			return err
		}
		_, err := s.Run.Root(ctx, "rmdir", "--ignore-fail-on-non-empty", "--", s.Dir)
		return err
	}
	for _, name := range []string{lockFile, tagFile} {
		if err := keep.Remove(filepath.Join(s.Dir, name)); err != nil {
			return err
		}
	}
	if err := os.Remove(s.Dir); err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, syscall.EBUSY) {
		return err // else: another run has just begun to fill it, or the directory above it isn't this user's, or it is a mount point
	}
	return nil
}

// Release ends what use and Seize began. A store that wasn't used is none of its business.
func (s *Store) Release() error {
	s.holding.Lock()
	defer s.holding.Unlock()
	if s.held == nil {
		return nil
	}
	err := s.held.Close()
	s.held = nil
	return err
}
