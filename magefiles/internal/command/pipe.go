package command

import (
	"errors"
	"io"
)

// Pipe has read read what write writes, which may be more than can be held. Where both fail, the error is of the one that failed first: what
// the other says is a consequence.
func Pipe(write func(io.Writer) error, read func(io.Reader) error) error {
	r, w := io.Pipe()
	wrote := make(chan error, 1)
	go func() {
		err := write(w)
		wrote <- err // before read can see it
		w.CloseWithError(err)
	}()
	err := read(r)
	select {
	case cause := <-wrote:
		if cause != nil && !errors.Is(cause, io.ErrClosedPipe) {
			return cause
		}
	default:
		_ = r.Close() // never an error; ends write where the reader ended first
		if cause := <-wrote; err == nil && !errors.Is(cause, io.ErrClosedPipe) {
			return cause
		}
	}
	return err
}
