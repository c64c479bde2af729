package box

import (
	"archive/tar"
	"io"
	"os"
	"path/filepath"
)

// WriteFile writes what a file has.
func WriteFile(w io.Writer, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}

// WriteTar writes files as a tar, by their names alone.
func WriteTar(w io.Writer, files ...string) error {
	t := tar.NewWriter(w)
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			return err
		}
		if err := t.WriteHeader(&tar.Header{Name: filepath.Base(file), Mode: 0o600, Size: info.Size()}); err != nil {
			return err
		}
		if err := WriteFile(t, file); err != nil {
			return err
		}
	}
	return t.Close()
}
