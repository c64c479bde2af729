package box

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
)

// FileKeys is everything that a layer of files depends on.
func FileKeys(files []remote.File) []string {
	var keys []string
	for _, f := range files {
		sum := f.SHA256
		if f.Source == "" {
			s := sha256.Sum256(f.Content)
			sum = hex.EncodeToString(s[:])
		}
		if f.Link != "" {
			keys = append(keys, fmt.Sprintf("%s -> %s", f.Path, f.Link))
			continue
		}
		keys = append(keys, fmt.Sprintf("%s %o %s %s", f.Path, f.Mode.Perm(), f.Owner, sum))
	}
	return keys
}

// layerTar writes files and the directories above them into a tar.
type layerTar struct {
	*tar.Writer
	tree string                 // the box's
	dirs map[string]*tar.Header // that are written, by their path
}

// WriteLayer writes files as a tar for a layer above tree, whose directories they come into; "" is the box's on a computer that can't
// see it, where the directories are root's, and below a user's home the user's.
func WriteLayer(w io.Writer, tree string, files []remote.File) error {
	t := layerTar{tar.NewWriter(w), tree, map[string]*tar.Header{}}
	for _, f := range files {
		if err := t.add(f); err != nil {
			return fmt.Errorf("the layer with %s: %w", f.Path, err)
		}
	}
	return t.Close()
}

func (t layerTar) add(f remote.File) error {
	if !path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path {
		return errors.New("the path is not absolute and plain")
	}
	if _, err := t.dir(path.Dir(f.Path)); err != nil {
		return err
	}
	hdr := &tar.Header{Name: f.Path[1:], ModTime: time.Unix(0, 0)}
	if f.Link != "" { // belongs to root, as where remote.Host.Put makes it
		hdr.Typeflag, hdr.Linkname, hdr.Mode = tar.TypeSymlink, f.Link, 0o777
		return t.WriteHeader(hdr)
	}
	uid, gid, err := owner(f.Owner)
	if err != nil {
		return err
	}
	hdr.Mode, hdr.Uid, hdr.Gid, hdr.Size = int64(f.Mode.Perm()), uid, gid, int64(len(f.Content))
	content := io.Reader(bytes.NewReader(f.Content))
	if f.Source != "" {
		source, err := os.Open(f.Source)
		if err != nil {
			return err
		}
		defer source.Close()
		info, err := source.Stat()
		if err != nil {
			return err
		}
		content, hdr.Size = source, info.Size()
	}
	if err := t.WriteHeader(hdr); err != nil {
		return err
	}
	sum := sha256.New()
	if _, err := io.Copy(t, io.TeeReader(content, sum)); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); f.Source != "" && got != f.SHA256 {
		return fmt.Errorf("%s has been changed: its SHA-256 is %s, not %s; make it again with: go tool mage clean, then go tool mage verify", f.Source, got, f.SHA256)
	}
	return nil
}

// dir writes a directory and those above it, once. In an overlay a directory is what its topmost layer says, so one that
// the box has is written as it is there; another one belongs to whom its parent belongs to.
func (t layerTar) dir(name string) (*tar.Header, error) {
	if hdr := t.dirs[name]; hdr != nil || name == "/" {
		return hdr, nil
	}
	parent, err := t.dir(path.Dir(name))
	if err != nil {
		return nil, err
	}
	hdr := &tar.Header{Typeflag: tar.TypeDir, Mode: 0o755, ModTime: time.Unix(0, 0)}
	if parent != nil {
		hdr.Uid, hdr.Gid = parent.Uid, parent.Gid
	}
	info, err := os.Lstat(filepath.Join(t.tree, name))
	switch {
	case t.tree == "":
		if path.Dir(name) == "/home" {
			hdr.Uid, hdr.Gid = UID, UID
		}
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case !info.IsDir():
		return nil, fmt.Errorf("%s is no directory in the box but %s, which a directory in a layer would hide; name the file by its real path", name, info.Mode().Type())
	default:
		if hdr, err = tar.FileInfoHeader(info, ""); err != nil {
			return nil, err
		}
		// Names are this computer's; in the box the numbers may have others.
		hdr.Uname, hdr.Gname = "", ""
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			hdr.Uid, hdr.Gid = int(st.Uid), int(st.Gid)
		}
	}
	hdr.Name = name[1:] + "/"
	t.dirs[name] = hdr
	return hdr, t.WriteHeader(hdr)
}

// owner returns the numbers of "user:group"; the box has no other users than these.
func owner(name string) (uid, gid int, err error) {
	if name == "" {
		return 0, 0, nil
	}
	user, group, ok := strings.Cut(name, ":")
	if !ok {
		return 0, 0, fmt.Errorf("owner %q is not user:group", name)
	}
	if uid, err = number(user); err != nil {
		return 0, 0, err
	}
	gid, err = number(group)
	return uid, gid, err
}

func number(name string) (int, error) {
	switch name {
	case "root":
		return 0, nil
	case User:
		return UID, nil
	}
	n, err := strconv.ParseUint(name, 10, 31)
	if err != nil {
		return 0, fmt.Errorf("owner %q is neither root, %s nor a number", name, User)
	}
	return int(n), nil
}
