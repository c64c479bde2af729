package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
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

// find is the source that somebody named, a file, a directory with bundles, or a URL of either, and its name for a person.
func find(named, arch string) (source, string) {
	if u, err := url.Parse(named); err == nil && (u.Scheme == "http" || u.Scheme == "https") {
		if !strings.HasSuffix(u.Path, ".tar.zst") {
			u = u.JoinPath(Name(arch))
		}
		return web{u.String(), &http.Client{}}, u.Redacted()
	}
	if info, err := os.Stat(named); err == nil && info.IsDir() {
		named = filepath.Join(named, Name(arch))
	}
	return file(named), named
}

// web is a bundle that a server has.
type web struct {
	url    string
	client *http.Client
}

const (
	// answerTime is how long a server may take to answer, and to go on.
	answerTime = 30 * time.Second
	// tries is how often a connection that broke is made again without a byte more having come.
	tries = 5
	pause = 300 * time.Millisecond // before the first of them
)

// errStalled is why a connection was given up.
var errStalled = fmt.Errorf("nothing came for %s", answerTime)

func (w web) section(ctx context.Context, offset, size int64) (io.ReadCloser, error) {
	return &resumed{ctx: ctx, web: w, at: offset, end: offset + size}, nil
}

// resumed reads a part of what a server has. Where the connection breaks it goes on where it was.
type resumed struct {
	ctx     context.Context
	web     web
	at, end int64
	skip    int64 // that come before
	failed  int
	body    io.ReadCloser
	cancel  context.CancelCauseFunc
	stalled *time.Timer
}

// statusError is a server's no.
type statusError struct{ status string }

func (e statusError) Error() string { return "the server says " + e.status }

func (r *resumed) connect() error {
	ctx, cancel := context.WithCancelCause(r.ctx)
	stalled := time.AfterFunc(answerTime, func() { cancel(errStalled) })
	give := func(err error, body io.Closer) error {
		stalled.Stop()
		cause := context.Cause(ctx)
		cancel(nil)
		if body != nil {
			_ = body.Close()
		}
		if errors.Is(cause, errStalled) {
			return cause
		}
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.web.url, nil)
	if err != nil {
		return give(err, nil)
	}
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", r.at, r.end-1))
	res, err := r.web.client.Do(req)
	if err != nil {
		return give(err, nil)
	}
	r.skip = 0
	switch res.StatusCode {
	case http.StatusPartialContent:
	case http.StatusOK: // a server that knows no ranges
		r.skip = r.at
	case http.StatusRequestedRangeNotSatisfiable:
		return give(io.ErrUnexpectedEOF, res.Body)
	default:
		return give(statusError{res.Status}, res.Body)
	}
	r.body, r.cancel, r.stalled = res.Body, cancel, stalled
	return nil
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
		var refused statusError
		if errors.As(err, &refused) && refused.status < "5" || errors.Is(err, io.ErrUnexpectedEOF) && r.failed > 0 {
			return 0, err
		}
		if r.failed++; r.ctx.Err() != nil || r.failed > tries {
			return 0, fmt.Errorf("it broke off at byte %d: %w", r.at, errors.Join(err, context.Cause(r.ctx)))
		}
		wait := time.NewTimer(time.Duration(r.failed) * pause) // a server that is started again needs a moment
		select {
		case <-r.ctx.Done():
		case <-wait.C:
		}
		wait.Stop()
	}
}

// read reads once. What comes before the part it throws away.
func (r *resumed) read(p []byte) (int, error) {
	if r.body == nil {
		if err := r.connect(); err != nil {
			return 0, err
		}
	}
	r.stalled.Reset(answerTime)
	if r.skip > 0 {
		n, err := io.CopyN(io.Discard, r.body, min(r.skip, 1<<20))
		r.skip -= n
		return 0, err
	}
	n, err := r.body.Read(p)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// Close implements io.Closer.
func (r *resumed) Close() error {
	if r.body == nil {
		return nil
	}
	r.stalled.Stop()
	r.cancel(nil)
	err := r.body.Close()
	r.body = nil
	return err
}
