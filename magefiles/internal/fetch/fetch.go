// Package fetch reads what web servers have.
package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

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
	// ErrEnds is of a file that is shorter than is said of it.
	ErrEnds = errors.New("it ends early; fetch it again")
)

// unknown is the end of a file of which the server hasn't said how long it is.
const unknown = -1

// File is what a server has at a URL, or a part of it. Where the connection breaks, reading goes on where it was.
type File struct {
	ctx     context.Context
	url     string
	at, end int64
	skip    int64 // that come before
	failed  int
	body    io.ReadCloser
	conn    context.Context // of the connection
	cancel  context.CancelCauseFunc
	stalled *time.Timer
}

// Section is a part of a file. The first Read connects.
func Section(ctx context.Context, url string, offset, size int64) *File {
	return &File{ctx: ctx, url: url, at: offset, end: offset + size}
}

// Open asks for a whole file, which is to be closed.
func Open(ctx context.Context, url string) (*File, error) {
	f := &File{ctx: ctx, url: url, end: unknown}
	_, err := f.Read(nil) // connects
	return f, err
}

// Size is how many bytes are still to come, or 0 where the server hasn't said.
func (r *File) Size() int64 { return max(0, r.end-r.at) }

// statusError is a server's no.
type statusError struct{ status string }

func (e statusError) Error() string { return "the server says " + e.status }

func (r *File) connect() error {
	r.conn, r.cancel = context.WithCancelCause(r.ctx)
	cancel := r.cancel
	r.stalled = time.AfterFunc(answerTime, func() { cancel(errStalled) })
	req, err := http.NewRequestWithContext(r.conn, http.MethodGet, r.url, nil)
	if err != nil {
		return err
	}
	switch {
	case r.end != unknown:
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", r.at, r.end-1))
	case r.at > 0:
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", r.at))
	}
	res, err := http.DefaultClient.Do(req)
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
		return ErrEnds
	default:
		return statusError{res.Status}
	}
	switch come := res.ContentLength - r.skip; {
	case res.ContentLength < 0:
	case r.end == unknown:
		r.end = r.at + come
	case come < r.end-r.at:
		return ErrEnds
	}
	return nil
}

// Read implements io.Reader.
func (r *File) Read(p []byte) (int, error) {
	for {
		if r.end != unknown {
			if r.at >= r.end {
				return 0, io.EOF
			}
			p = p[:min(int64(len(p)), r.end-r.at)]
		}
		n, err := r.read(p)
		r.at += int64(n)
		if n > 0 || err == nil && len(p) == 0 {
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
		if errors.As(err, &refused) && refused.status < "5" || errors.Is(err, ErrEnds) {
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
func (r *File) read(p []byte) (int, error) {
	if r.body == nil {
		if err := r.connect(); err != nil {
			return 0, err
		}
	}
	if len(p) == 0 {
		return 0, nil
	}
	r.stalled.Reset(answerTime)
	if r.skip > 0 {
		n, err := io.CopyN(io.Discard, r.body, min(r.skip, 1<<20))
		r.skip -= n
		return 0, err
	}
	n, err := r.body.Read(p)
	switch {
	case !errors.Is(err, io.EOF):
	case r.end == unknown: // it ends with the connection
		r.end, err = r.at+int64(n), nil
	default:
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// Close implements io.Closer.
func (r *File) Close() error {
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
