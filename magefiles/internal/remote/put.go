package remote

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/calico-cni-lab/lab/scripts"
)

// File is a regular file or a symbolic link as it should be on a machine.
type File struct {
	Path    string      // on the machine, absolute
	Mode    fs.FileMode // permission bits
	Owner   string      // user:group; "" is root:root
	Content []byte      // what is in it, unless Source is set
	Source  string      // file on this computer
	SHA256  string      // of Source, in hex
	Link    string      // target of a symbolic link; everything else but Path is ignored then
}

func (f File) owner() string {
	if f.Owner == "" {
		return "root:root"
	}
	return f.Owner
}

// Sum is the SHA-256 of its contents, in hex.
func (f File) Sum() string {
	if f.Source != "" {
		return f.SHA256
	}
	s := sha256.Sum256(f.Content)
	return hex.EncodeToString(s[:])
}

// Put puts files and links in their places, in one session: each in one step, and none before all have arrived whole. What
// was there before the lab first touched a path is kept for undo. It doesn't look first. kept are lines, for people, on what a
// user had changed since: on a machine that existed before the lab that is kept, too.
func (h *Host) Put(ctx context.Context, files ...File) (kept string, err error) {
	if len(files) == 0 {
		return "", nil
	}
	u, err := newUpload(files, h.shares)
	if err != nil {
		return "", fmt.Errorf("files for %s: %w", h.Name, err)
	}
	args := []string{"bash", "-c", putScript(), "put-files.sh"}
	if u.compress {
		args = append(args, "--gzip")
	}
	r, w := io.Pipe()
	written := make(chan error, 1)
	go func() {
		err := u.write(w)
		_ = w.CloseWithError(err)
		written <- err
	}()
	kept, err = h.Feed(ctx, r, args...)
	_ = r.Close() // for a machine that stopped reading: the writer ends
	if werr := <-written; werr != nil && !errors.Is(werr, io.ErrClosedPipe) {
		// What the machine says then is only that the tar is cut off.
		return kept, fmt.Errorf("files for %s: %w", h.Name, werr)
	}
	return kept, err
}

func putScript() string {
	return scripts.Text("at-work.sh") + scripts.Text("note-original.sh") + scripts.Text("put-files.sh")
}

// Sees returns the path under which the machine itself sees a file of this computer; ok is false where it doesn't.
func (h *Host) Sees(path string) (there string, ok bool) { return h.shares.Path(path) }

// Stream runs a command as root that reads a file of this computer: from a share where there is one,
// over the connection where there is none. It is the command's standard input.
func (h *Host) Stream(ctx context.Context, source, shell string, args ...string) (string, error) {
	if there, ok := h.shares.Path(source); ok {
		return h.Sudo(ctx, append([]string{"bash", "-c", `exec <"$1"; shift; ` + shell, "bash", there}, args...)...)
	}
	src, err := os.Open(source)
	if err != nil {
		return "", err
	}
	defer src.Close()
	return h.Feed(ctx, io.Reader(src), append([]string{"bash", "-c", shell, "bash"}, args...)...)
}
