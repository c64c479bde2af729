package bundle

import (
	"context"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/fetch"
)

// source is where a bundle is.
type source interface {
	// section is a part of it, which may end early.
	section(ctx context.Context, offset, size int64) (io.ReadCloser, error)
}

// file is a bundle on this computer.
type file string

func (f file) section(_ context.Context, offset, size int64) (io.ReadCloser, error) {
	r, err := os.Open(string(f))
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.NewSectionReader(r, offset, size), r}, nil
}

// Name is what a bundle for an architecture is called.
func Name(arch string) string { return "calico-cni-lab-" + arch + ".tar.zst" }

// find is the source that somebody named, a file, a directory with bundles, or a URL of either, and its name for a person.
func find(named, arch string) (source, string) {
	if u, err := url.Parse(named); err == nil && (u.Scheme == "http" || u.Scheme == "https") {
		if !strings.HasSuffix(u.Path, ".tar.zst") {
			u = u.JoinPath(Name(arch))
		}
		return web(u.String()), u.Redacted()
	}
	if info, err := os.Stat(named); err == nil && info.IsDir() {
		named = filepath.Join(named, Name(arch))
	}
	return file(named), named
}

// web is a bundle that a server has, by its URL.
type web string

func (w web) section(ctx context.Context, offset, size int64) (io.ReadCloser, error) {
	return fetch.Section(ctx, string(w), offset, size), nil
}
