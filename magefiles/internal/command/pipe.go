package command

import (
	"errors"
	"io"
)

// Pipe has read read what write writes, which may be more than can be held. Where both fail, write's error is the cause: who reads only
// says that its input ended early.
func Pipe(write func(io.Writer) error, read func(io.Reader) error) error {
	r, w := io.Pipe()
	failed := make(chan error, 1)
	go func() {
		err := write(w)
		w.CloseWithError(err)
		failed <- err
	}()
	err := read(r)
	_ = r.Close() // never an error; ends write where the reader ended first
	if cause := <-failed; cause != nil && !errors.Is(cause, io.ErrClosedPipe) {
		return cause
	}
	return err
}
