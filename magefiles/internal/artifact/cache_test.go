package artifact

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/computer"
)

func write(t *testing.T, files ...string) {
	t.Helper()
	for _, f := range files {
		if err := errors.Join(os.MkdirAll(filepath.Dir(f), 0o755), os.WriteFile(f, []byte("mine"), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestCheckCache: what LAB_CACHE may name, and that nothing else gets artifacts, nor is emptied.
func TestCheckCache(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("HOME", dir+"/home")
	old := dir + "/old/calico-28b44c6b3bd6402d"
	write(t, dir+"/home/.profile", dir+"/project/go.mod", dir+"/other/CACHEDIR.TAG", dir+"/file", old+"/calicoctl", old+".lock", old+".part-12/x")
	for _, name := range []string{"empty", "real", "marked"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("real", dir+"/link"); err != nil {
		t.Fatal(err)
	}
	if err := store(dir + "/marked").mark(t.Context()); err != nil {
		t.Fatal(err)
	}
	write(t, dir+"/marked/note")
	for path, want := range map[string]string{
		dir + "/new/cache": "", dir + "/empty": "", dir + "/old": "", dir + "/marked": "", dir + "/link/below": "",
		"/":                   "it is for everything",
		dir + "/home":         "it is for everything",
		dir + "/home/":        "it is for everything",
		dir + "/project":      "it has other things in it, such as go.mod",
		dir + "/other":        "such as CACHEDIR.TAG", // another program's
		dir + "/file":         "it is no directory",
		dir + "/link":         "it is a symbolic link",
		dir + "/link/":        "it is a symbolic link",
		dir + "/file/cache":   "not a directory",
		"cache":               "the path is relative",
		"./" + "../tmp/cache": "the path is relative",
	} {
		err := CheckCache(path)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "LAB_CACHE")) {
			t.Errorf("%s: %v, not %q", path, err, want)
		}
		if want == "" || !filepath.IsAbs(path) {
			continue
		}
		s := store(path)
		if _, err := s.Get(t.Context(), Recipe{Name: "x", Make: func(context.Context, string) error { return nil }}); err == nil {
			t.Errorf("%s got an artifact", path)
		}
		if err := s.Seize(t.Context()); err == nil {
			t.Errorf("%s would be emptied", path)
		}
	}
	if os.Getuid() == 0 {
		if err := os.Chown(dir+"/empty", 12345, -1); err != nil {
			t.Fatal(err)
		}
		if err := CheckCache(dir + "/empty"); err == nil || !strings.Contains(err.Error(), "belongs to the user 12345") {
			t.Errorf("another user's: %v", err)
		}
	}
}

// TestEmpty: nothing is left, but what isn't the cache's; what an interruption left is no artifact, and goes with the next call.
func TestEmpty(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	s := store(dir)
	s.Run = &command.Runner{}
	made := 0
	r := Recipe{Name: "x", Make: func(_ context.Context, out string) error { made++; write(t, out+"/a/b"); return nil }}
	get := func() {
		t.Helper()
		if _, err := s.Get(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	empty := func() error {
		return errors.Join(s.Release(), s.Seize(t.Context()), s.Empty(t.Context()), s.Release())
	}
	get()
	if data, err := os.ReadFile(dir + "/CACHEDIR.TAG"); err != nil || !strings.HasPrefix(string(data), "Signature: 8a477f597d28d172789f06886806bc55\n") {
		t.Errorf("the mark: %s, %v", data, err)
	}
	if err := empty(); err != nil || computer.Exists(dir) {
		t.Errorf("%v; the directory is there: %t", err, computer.Exists(dir))
	}
	if err := empty(); err != nil {
		t.Errorf("again: %v", err)
	}

	get()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := errors.Join(s.Release(), s.Seize(t.Context())); err != nil {
		t.Fatal(err)
	}
	if err := s.Empty(ctx); err == nil {
		t.Error("it isn't interrupted")
	}
	if err := s.Release(); err != nil {
		t.Fatal(err)
	}
	get() // half of an artifact would be there else
	if made != 3 {
		t.Errorf("made %d times", made)
	}
	write(t, dir+"/notes/mine.txt")
	if err := empty(); err == nil || !strings.Contains(err.Error(), "what isn't the cache's: notes") {
		t.Errorf("a file of the user's: %v", err)
	}
	entries, err := os.ReadDir(dir)
	var left []string
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if !slices.Equal(left, []string{"CACHEDIR.TAG", "lock", "notes"}) || err != nil || !computer.Exists(dir+"/notes/mine.txt") {
		t.Errorf("left: %v, %v", left, err)
	}
}

// TestSeize: a store that another run uses isn't emptied, and one that is being emptied is used afterwards.
func TestSeize(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	user, cleaner := store(dir), store(dir)
	cleaner.Run = &command.Runner{}
	r := Recipe{Name: "x", Make: func(context.Context, string) error { return nil }}
	if _, err := user.Get(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if err := cleaner.Seize(t.Context()); err == nil || !strings.Contains(err.Error(), "another run is using the cache "+dir) {
		t.Errorf("while it is used: %v", err)
	}
	if err := errors.Join(user.Release(), cleaner.Seize(t.Context())); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 3*lockPoll, errors.New("late"))
	defer cancel()
	if _, err := user.Get(ctx, r); err == nil || !strings.Contains(err.Error(), "which another run empties") {
		t.Errorf("while it is emptied: %v", err)
	}
	got := make(chan error, 1)
	go func() { _, err := user.Get(t.Context(), r); got <- err }()
	select {
	case err := <-got:
		t.Errorf("it didn't wait: %v", err)
	case <-time.After(2 * lockPoll):
	}
	if err := errors.Join(cleaner.Empty(t.Context()), cleaner.Release()); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil || !computer.Exists(filepath.Join(dir, r.Key())) || !marked(dir) {
		t.Errorf("after it was emptied: %v, marked: %t", err, marked(dir))
	}
	// It holds the lock that is there now, not the one that is gone.
	f, err := os.Open(filepath.Join(dir, lockFile))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); !errors.Is(err, syscall.EWOULDBLOCK) {
		t.Errorf("its lock is free: %v", err)
	}
}

// TestRootStore: everything in a store of root's belongs to root, none of it is from when its directory was another user's, and only
// its user's group gets in.
func TestRootStore(t *testing.T) {
	temp, err := os.MkdirTemp("", "calico-cni-lab-root-store.") //nolint:usetesting // others may not enter t.TempDir
	if err != nil || os.Chmod(temp, 0o755) != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(temp, "above", "cache")
	s := store(dir)
	s.Root, s.Run = true, &command.Runner{}
	r := Recipe{Name: "x", Make: func(ctx context.Context, out string) error {
		_, err := s.Run.Root(ctx, "touch", out+"/file")
		return err
	}}
	root := func(script string, args ...string) error {
		_, err := s.Run.Root(t.Context(), append([]string{"bash", "-ec", script, "bash"}, args...)...)
		return err
	}
	t.Cleanup(func() {
		if _, err := s.Run.Root(context.WithoutCancel(t.Context()), "rm", "-rf", "--", temp); err != nil {
			_ = os.Remove(temp)
		}
	})
	if err := root("true"); err != nil {
		t.Skipf("commands can't be run as root: %v", err)
	}
	group := fmt.Sprint(os.Getgid())
	as := `as() { setpriv --reuid=54321 --regid="$1" --clear-groups -- "${@:2}"; }; `
	for _, before := range []string{
		`true`,
		`install -d -o 4711 "$1" "$1/$2"; touch "$1/$2/planted"`,        // the user's
		`install -d "$1/$2"; install -o 4711 /dev/null "$1/$2/planted"`, // adopted by an earlier version
		`install -d "$1/root"; ln -s root "$1/$2"; chown -h 4711 "$1/$2"; touch "$1/root/planted"`,
	} {
		if err := root(before, dir, r.Key()); err != nil {
			t.Fatal(err)
		}
		made, err := s.Get(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		if computer.Exists(made + "/planted") {
			t.Errorf("%s: what was planted is there", before)
		}
		for path, want := range map[string]os.FileMode{dir: 0o750, made: 0o755, made + "/file": 0o644, made + ".lock": 0, dir + "/" + lockFile: 0o644, dir + "/" + tagFile: 0o644} {
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if st, ok := info.Sys().(*syscall.Stat_t); !ok || st.Uid != 0 || want != 0 && info.Mode().Perm() != want {
				t.Errorf("%s: %v of the user %d", path, info.Mode(), st.Uid)
			}
		}
		if err := root(as+`as "$1" cat "$2"`, group, made+"/file"); err != nil {
			t.Errorf("its user's group: %v", err)
		}
		if err := root(as+`for p; do if as 54321 cat "$p" || as 54321 flock --nonblock "$p" true; then exit 1; fi; done`, made+"/file", dir, dir+"/"+lockFile, made+".lock", filepath.Dir(dir)); err != nil {
			t.Errorf("another user gets in: %v", err)
		}
		if left, err := filepath.Glob(dir + ".*"); len(left) > 0 || err != nil {
			t.Errorf("left: %v, %v", left, err)
		}
		if err := errors.Join(s.Release(), s.Seize(t.Context()), s.Empty(t.Context()), s.Release()); err != nil || computer.Exists(dir) {
			t.Errorf("%v; the directory is there: %t", err, computer.Exists(dir))
		}
	}
	// One that an earlier version left open stays, closed.
	if err := root(`install -d "$1/$2"; touch "$1/$2/file"; echo mine >"$1/$2/kept"`, dir, r.Key()); err != nil {
		t.Fatal(err)
	}
	if made, err := s.Get(t.Context(), r); err != nil || !computer.Exists(made+"/kept") {
		t.Errorf("an older one: %v", err)
	}
	if err := root(as+`! as 54321 cat "$1"/*/file`, dir); err != nil || s.Release() != nil {
		t.Errorf("another user gets into an older one: %v", err)
	}
}

// TestStored: what a run that was killed has left of its notes is the store's own; what somebody else put there isn't.
func TestStored(t *testing.T) {
	for name, own := range map[string]bool{
		TimesFile: true, TimesFile + ".part-12": true, "." + TimesFile + ".3141.part": true, "." + tagFile + ".3141.part": true, "lock": true,
		".profile": false, TimesFile + ".mine": false, ".lock": false,
	} {
		if stored.MatchString(name) != own {
			t.Errorf("%s is the store's: %t", name, !own)
		}
	}
}
