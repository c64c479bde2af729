package command

import (
	"errors"
	"io"
	"strings"
	"testing"
)

func TestPipe(t *testing.T) {
	written, early := errors.New("written"), errors.New("ended early")
	some := func(err error) func(io.Writer) error {
		return func(w io.Writer) error {
			_, werr := io.WriteString(w, "text")
			return errors.Join(werr, err)
		}
	}
	for name, c := range map[string]struct {
		write func(io.Writer) error
		read  func(io.Reader) error
		want  error
	}{
		"all is well": {some(nil), func(r io.Reader) error {
			all, err := io.ReadAll(r)
			if string(all) != "text" {
				t.Errorf("read %q", all)
			}
			return err
		}, nil},
		"who writes fails": {some(written), func(r io.Reader) error { _, err := io.ReadAll(r); return errors.Join(err, early) }, written},
		"who reads fails":  {some(nil), func(r io.Reader) error { _, _ = io.ReadAll(r); return early }, early},
		"who reads fails first, and then the other one": {func(w io.Writer) error {
			for {
				if _, err := io.WriteString(w, "text"); err != nil {
					return written // as a program says it that writes to a pipe nobody reads from
				}
			}
		}, func(io.Reader) error { return early }, early},
		"who reads doesn't read it all, and both are well": {func(w io.Writer) error {
			_, err := io.Copy(w, strings.NewReader("text"))
			return err
		}, func(io.Reader) error { return nil }, nil},
		"who reads doesn't read it all": {func(w io.Writer) error { _, err := io.Copy(w, strings.NewReader("text")); return err }, func(io.Reader) error { return early }, early},
	} {
		t.Run(name, func(t *testing.T) {
			if err := Pipe(c.write, c.read); !errors.Is(err, c.want) || c.want == nil && err != nil {
				t.Errorf("%v, not %v", err, c.want)
			}
		})
	}
}
