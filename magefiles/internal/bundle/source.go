package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
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

// find is the source that somebody named: a file, a directory with bundles, or a URL of either.
func find(named, arch string) (source, string) {
	if strings.HasPrefix(named, "http://") || strings.HasPrefix(named, "https://") {
		if !strings.HasSuffix(named, ".tar.zst") {
			named = strings.TrimSuffix(named, "/") + "/" + Name(arch)
		}
		return web{named}, named
	}
	if info, err := os.Stat(named); err == nil && info.IsDir() {
		named = filepath.Join(named, Name(arch))
	}
	return file(named), named
}

// web is a bundle that a server has.
type web struct{ url string }

const (
	// answerTime is how long a server may take to answer, and to go on.
	answerTime = 30 * time.Second
	// tries is how often a connection that broke is made again without a byte more having come.
	tries = 5
	pause = 300 * time.Millisecond // before the first of them
)

var client = &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, ResponseHeaderTimeout: answerTime}}

func (w web) section(ctx context.Context, offset, size int64) (io.ReadCloser, error) {
	r := &resumed{ctx: ctx, url: w.url, at: offset, end: offset + size}
	return r, r.connect()
}

// resumed reads a part of what a server has. Where the connection breaks it goes on where it was.
type resumed struct {
	ctx     context.Context
	url     string
	at, end int64
	failed  int
	body    io.ReadCloser
	cancel  context.CancelFunc
	stalled *time.Timer
}

func (r *resumed) connect() error {
	ctx, cancel := context.WithCancel(r.ctx)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url, nil)
	if err != nil {
		cancel()
		return err
	}
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", r.at, r.end-1))
	res, err := client.Do(req)
	if err != nil {
		cancel()
		return err
	}
	skip := int64(0)
	switch res.StatusCode {
	case http.StatusPartialContent:
	case http.StatusOK: // a server that knows no ranges
		skip = r.at
	case http.StatusRequestedRangeNotSatisfiable:
		cancel()
		return errors.Join(io.ErrUnexpectedEOF, res.Body.Close())
	default:
		cancel()
		return errors.Join(fmt.Errorf("%s says %s", r.url, res.Status), res.Body.Close())
	}
	r.body, r.cancel = res.Body, cancel
	r.stalled = time.AfterFunc(answerTime, cancel)
	_, err = io.CopyN(io.Discard, r.body, skip)
	return err
}

// Read implements io.Reader.
func (r *resumed) Read(p []byte) (int, error) {
	if left := r.end - r.at; left <= 0 {
		return 0, io.EOF
	} else if int64(len(p)) > left {
		p = p[:left]
	}
	for {
		n, err := r.read(p)
		r.at += int64(n)
		if n > 0 {
			r.failed = 0
			return n, nil
		}
		if err == nil {
			continue
		}
		_ = r.Close()
		if r.failed++; r.ctx.Err() != nil || r.failed > tries {
			return 0, fmt.Errorf("%s broke off at byte %d: %w", r.url, r.at, errors.Join(err, context.Cause(r.ctx)))
		}
		select { // a server that is started again needs a moment
		case <-r.ctx.Done():
		case <-time.After(time.Duration(r.failed) * pause):
		}
	}
}

func (r *resumed) read(p []byte) (int, error) {
	if r.body == nil {
		if err := r.connect(); err != nil {
			return 0, err
		}
	}
	r.stalled.Reset(answerTime)
	return r.body.Read(p)
}

// Close implements io.Closer.
func (r *resumed) Close() error {
	if r.body == nil {
		return nil
	}
	r.stalled.Stop()
	r.cancel()
	err := r.body.Close()
	r.body = nil
	return err
}
