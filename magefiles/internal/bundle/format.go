// Package bundle carries what labs are made of to computers that can't fetch or compile it: artifacts by their keys, in one file.
//
// A bundle is a .tar.zst as the zstd format allows it, of several frames: one that is skipped and says how long the next one is, one with
// the manifest, and one for each artifact. So tar reads it from its beginning to its end, and the lab takes single artifacts out of it,
// from a file or by HTTP.
package bundle

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// Manifest is what a bundle says of itself. It is the first file in it, manifest.json.
type Manifest struct {
	Version   int               `json:"version"`
	Arch      string            `json:"arch"`   // GOARCH
	Made      string            `json:"made"`   // when, as RFC 3339 writes it
	Commit    string            `json:"commit"` // of the project, with -dirty where tracked files were changed
	Pins      map[string]string `json:"pins"`
	Artifacts []Artifact        `json:"artifacts"`
}

// Artifact is one of a store's directories, as a frame.
type Artifact struct {
	Key    string `json:"key"`
	Root   bool   `json:"root,omitempty"` // belongs to root
	Offset int64  `json:"offset"`         // of its frame, from the end of the manifest's
	Size   int64  `json:"size"`           // of its frame, in bytes
	SHA256 string `json:"sha256"`         // of its frame, in hex
}

const (
	version      = 1
	manifestName = "manifest.json"
	// A frame that decoders skip: a magic number, the length of what follows, and here the length of the next frame
	// (https://www.rfc-editor.org/rfc/rfc8878#section-3.1.2).
	skippable = 0x184D2A5C
	headSize  = 16
	// mostManifest is more than any manifest takes.
	mostManifest = 16 << 20
)

// errNoBundle is of what isn't one.
var errNoBundle = errors.New("it is no bundle of Calico CNI Lab's")

func head(manifest int64) []byte {
	b := binary.LittleEndian.AppendUint32(nil, skippable)
	b = binary.LittleEndian.AppendUint32(b, headSize-8)
	return binary.LittleEndian.AppendUint64(b, uint64(manifest))
}

// manifestSize reads a head.
func manifestSize(b []byte) (int64, error) {
	n := int64(0)
	if len(b) == headSize && bytes.Equal(b[:8], head(0)[:8]) {
		n = int64(binary.LittleEndian.Uint64(b[8:]))
	}
	if n <= 0 || n > mostManifest {
		return 0, errNoBundle
	}
	return n, nil
}

// frame writes one frame of a tar that goes on in the next one.
func frame(w io.Writer, fill func(*tar.Writer) error) error {
	z, err := zstd.NewWriter(w)
	if err != nil {
		return err
	}
	t := tar.NewWriter(z)
	if err := fill(t); err != nil {
		_ = z.Close()
		return err
	}
	if err := t.Flush(); err != nil && !errors.Is(err, tar.ErrWriteAfterClose) { // fill has ended the tar
		return err
	}
	return z.Close()
}

// encode is the manifest's frame.
func (m Manifest) encode() ([]byte, error) {
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = frame(&b, func(t *tar.Writer) error { return files(t, map[string][]byte{manifestName: data}) })
	return b.Bytes(), err
}

func decodeManifest(b []byte) (Manifest, error) {
	z, err := zstd.NewReader(bytes.NewReader(b), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return Manifest{}, err
	}
	defer z.Close()
	t := tar.NewReader(io.LimitReader(z, mostManifest))
	h, err := t.Next()
	if err != nil || h.Name != manifestName {
		return Manifest{}, errNoBundle
	}
	var m Manifest
	if err := json.NewDecoder(t).Decode(&m); err != nil {
		return Manifest{}, fmt.Errorf("its manifest can't be read: %w", err)
	}
	if m.Version != version {
		return Manifest{}, fmt.Errorf("it has version %d, and this checkout reads %d; take one that was made by this commit", m.Version, version)
	}
	return m, nil
}
