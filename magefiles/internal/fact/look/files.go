//go:build linux

package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

// files looks at the requested paths and at all files of the requested directories. sumsFile is where sums are kept.
func files(r fact.Request, l fact.Login, sumsFile string) fact.Seen[map[string]fact.File] {
	s := readSums(sumsFile)
	paths := r.Files
	for _, dir := range r.Dirs {
		entries, err := os.ReadDir(at(dir, l))
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
			return fact.Unknown[map[string]fact.File](err.Error())
		}
		for _, e := range entries {
			paths = append(paths, dir+"/"+e.Name())
		}
	}
	all := map[string]fact.File{}
	for _, p := range paths {
		f, err := s.file(at(p, l))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fact.Unknown[map[string]fact.File](err.Error())
		}
		all[p] = f
	}
	// What was read needn't be read again. That it can't be kept is no fault of the files.
	_ = s.write(sumsFile)
	return fact.Known(all)
}

// at is where a path is that may begin with the login user's home.
func at(path string, l fact.Login) string {
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		return filepath.Join(l.Home, rest)
	}
	return path
}

// sums are the SHA-256 of files by their state, as git does it with its index.
type sums struct {
	kept  map[string]string // path to "STATE SUM"
	fresh bool              // whether there is more than in the file
}

// readSums reads what was kept. What can't be read isn't kept: then the files themselves are read.
func readSums(file string) *sums {
	s := &sums{kept: map[string]string{}}
	f, err := os.Open(file)
	if err != nil {
		return s
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if path, rest, ok := strings.Cut(sc.Text(), "\t"); ok {
			s.kept[path] = rest
		}
	}
	return s
}

func (s *sums) write(file string) error {
	if !s.fresh {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	temp, err := os.CreateTemp(filepath.Dir(file), "sums.")
	if err != nil {
		return err
	}
	w := bufio.NewWriter(temp)
	for path, rest := range s.kept {
		fmt.Fprintf(w, "%s\t%s\n", path, rest)
	}
	if err := errors.Join(w.Flush(), temp.Close()); err != nil {
		return errors.Join(err, os.Remove(temp.Name()))
	}
	return os.Rename(temp.Name(), file)
}

func (s *sums) file(path string) (fact.File, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return fact.File{}, err
	}
	st := info.Sys().(*syscall.Stat_t)
	f := fact.File{Mode: fmt.Sprintf("%o", info.Mode().Perm()), Owner: userName(st.Uid) + ":" + groupName(st.Gid), Dir: info.IsDir()}
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		f.Link, err = os.Readlink(path)
	case info.Mode().IsRegular():
		f.SHA256, err = s.sum(path, state(st))
	}
	return f, err
}

// state of a file: another one is another file, or has been written to.
func state(st *syscall.Stat_t) string {
	return fmt.Sprintf("%d %d %d.%09d %d.%09d", st.Ino, st.Size, st.Mtim.Sec, st.Mtim.Nsec, st.Ctim.Sec, st.Ctim.Nsec)
}

func (s *sums) sum(path, state string) (string, error) {
	if sum, ok := strings.CutPrefix(s.kept[path], state+" "); ok && len(sum) == hex.EncodedLen(sha256.Size) {
		return sum, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	sum := hex.EncodeToString(h.Sum(nil))
	s.kept[path], s.fresh = state+" "+sum, true
	return sum, nil
}

// goTree counts the files of a Go toolchain: a tree that lost some isn't whole, whatever its VERSION says. Its directories are kept with
// their states and how many files each has: to read them takes ten times as long as to see that they are what they were.
func goTree(root, keptFile string) fact.Seen[fact.Tree] {
	var t fact.Tree
	data, err := os.ReadFile(filepath.Join(root, "VERSION"))
	if err == nil {
		t.Version, _, _ = strings.Cut(string(data), "\n")
	}
	dirs := readSums(keptFile)
	if n, ok := dirs.count(root); ok {
		t.Files = n
		return fact.Known(t)
	}
	t.Files, dirs, err = countFiles(root)
	if err == nil {
		_ = dirs.write(keptFile) // as with files' sums
	}
	return fact.See(t, err)
}

// count is how many files a tree has whose directories are all as they were when they were counted.
func (s *sums) count(root string) (n int, ok bool) {
	if s.kept[root] == "" {
		return 0, false
	}
	for dir, kept := range s.kept {
		info, err := os.Lstat(dir)
		if err != nil {
			return 0, false
		}
		files, same := strings.CutPrefix(kept, state(info.Sys().(*syscall.Stat_t))+" ")
		i, err := strconv.Atoi(files)
		if !same || err != nil {
			return 0, false
		}
		n += i
	}
	return n, true
}

// countFiles reads a tree. What it returns to be kept is nothing where a directory has been written to just now: it may be once more,
// within what the file system takes for the same time.
func countFiles(root string) (n int, dirs *sums, err error) {
	const tick = time.Second
	start := time.Now()
	in, states, settled := map[string]int{}, map[string]string{}, true
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			settled = false
			return nil
		case err != nil:
			return err
		case !d.IsDir():
			n++
			in[filepath.Dir(path)]++
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		states[path] = state(info.Sys().(*syscall.Stat_t))
		settled = settled && start.Sub(info.ModTime()) > tick
		return nil
	})
	dirs = &sums{kept: map[string]string{}, fresh: settled}
	for dir, state := range states {
		dirs.kept[dir] = fmt.Sprintf("%s %d", state, in[dir])
	}
	return n, dirs, err
}

func userName(id uint32) string {
	if u, err := user.LookupId(itoa(int(id))); err == nil {
		return u.Username
	}
	return itoa(int(id))
}

func groupName(id uint32) string {
	if g, err := user.LookupGroupId(itoa(int(id))); err == nil {
		return g.Name
	}
	return itoa(int(id))
}
