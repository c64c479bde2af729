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

var (
	// errStalled is why a connection was given up.
	errStalled = fmt.Errorf("nothing came for %s", answerTime)
	// errEnds is of a bundle that is shorter than it says.
	errEnds = errors.New("it ends early; fetch it again")
)

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
	conn    context.Context // of the connection
	cancel  context.CancelCauseFunc
	stalled *time.Timer
}

// statusError is a server's no.
type statusError struct{ status string }

func (e statusError) Error() string { return "the server says " + e.status }

func (r *resumed) connect() error {
	r.conn, r.cancel = context.WithCancelCause(r.ctx)
	cancel := r.cancel
	r.stalled = time.AfterFunc(answerTime, func() { cancel(errStalled) })
	req, err := http.NewRequestWithContext(r.conn, http.MethodGet, r.web.url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", r.at, r.end-1))
	res, err := r.web.client.Do(req)
	if err != nil {
		return err
	}
	r.body = res.Body
	switch res.StatusCode {
	case http.StatusPartialContent:
		r.skip = 0
	case http.StatusOK: // a server that knows no ranges
		r.skip = r.at
	case http.StatusRequestedRangeNotSatisfiable:
		return errEnds
	default:
		return statusError{res.Status}
	}
	if res.ContentLength >= 0 && res.ContentLength-r.skip < r.end-r.at {
		return errEnds
	}
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
		if cause := context.Cause(r.conn); cause != nil {
			err = cause
		}
		_ = r.Close()
		var refused statusError
		if errors.As(err, &refused) && refused.status < "5" || errors.Is(err, errEnds) {
			return 0, err
		}
		if r.failed++; r.ctx.Err() != nil || r.failed > tries {
			return 0, fmt.Errorf("it broke off at byte %d: %w", r.at, err)
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
	if errors.Is(err, io.EOF) { // before the part's end
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// Close implements io.Closer.
func (r *resumed) Close() error {
	if r.conn == nil {
		return nil
	}
	r.stalled.Stop()
	r.cancel(nil)
	body := r.body
	r.conn, r.body = nil, nil
	if body == nil {
		return nil
	}
	return body.Close()
}
