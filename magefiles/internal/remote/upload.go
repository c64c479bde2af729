package remote

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"
)

// upload is what put-files.sh reads: a tar with a manifest and the contents of the files that the machine doesn't see.
type upload struct {
	manifest []byte
	streamed []streamed
	compress bool // with gzip
}

// streamed is a file whose contents are in the tar, as an entry of that name.
type streamed struct {
	name string
	file File
}

func newUpload(files []File, shares Shares) (*upload, error) {
	u := &upload{}
	var manifest strings.Builder
	for i, f := range files {
		if !path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path {
			return nil, fmt.Errorf("%q is not an absolute path", f.Path)
		}
		fields := []string{"stream", f.Path, fmt.Sprintf("%o", f.Mode.Perm()), f.owner(), f.Sum(), ""}
		there, shared := "", false
		if f.Source != "" {
			there, shared = shares.Path(f.Source)
		}
		switch {
		case f.Link != "":
			fields = []string{"link", f.Path, "", "", "", f.Link}
		case f.Source != "" && f.SHA256 == "":
			return nil, fmt.Errorf("%s: the SHA-256 of %s is not given", f.Path, f.Source)
		case shared:
			fields[0], fields[5] = "share", there
		default:
			u.streamed = append(u.streamed, streamed{strconv.Itoa(i), f})
			// Programs shrink to two fifths, which saves more in SSH than it costs. Contents are small.
			u.compress = u.compress || f.Source != ""
		}
		for _, field := range fields {
			if strings.ContainsRune(field, 0) { // it would be the next field's beginning
				return nil, fmt.Errorf("%q: %q has a zero byte", f.Path, field)
			}
			manifest.WriteString(field + "\x00")
		}
	}
	u.manifest = []byte(manifest.String())
	return u, nil
}

// packet is how much data OpenSSH takes in one packet of a session (CHAN_SES_PACKET_DEFAULT).
const packet = 32 << 10

// write writes the tar, a packet at a time: compress/flate writes 240 bytes at a time, and sshd copies all that its command has not read
// yet for each packet that comes. Files are never in memory as a whole.
func (u *upload) write(w io.Writer) error {
	packets := bufio.NewWriterSize(w, packet)
	if !u.compress {
		return errors.Join(u.writeTar(packets), packets.Flush())
	}
	zw, err := gzip.NewWriterLevel(packets, gzip.BestSpeed)
	if err != nil {
		return err
	}
	return errors.Join(u.writeTar(zw), zw.Close(), packets.Flush())
}

func (u *upload) writeTar(w io.Writer) error {
	tw := tar.NewWriter(w)
	if err := writeEntry(tw, "manifest", File{Content: u.manifest}); err != nil {
		return err
	}
	for _, s := range u.streamed {
		if err := writeEntry(tw, s.name, s.file); err != nil {
			return err
		}
	}
	return tw.Close()
}

func writeEntry(tw *tar.Writer, name string, f File) error {
	// The modes are put-files.sh's business; until then only root reads the file.
	hdr := &tar.Header{Name: name, Mode: 0o600, Size: int64(len(f.Content))}
	if f.Source == "" {
		if err := tw.WriteHeader(hdr); err != nil {
			return err
		}
		_, err := tw.Write(f.Content)
		return err
	}
	src, err := os.Open(f.Source)
	if err != nil {
		return err
	}
	defer src.Close()
	info, err := src.Stat()
	if err != nil {
		return err
	}
	hdr.Size = info.Size()
	if err := tw.WriteHeader(hdr); err != nil {
		return err
	}
	// No more than the header says: the tar stays whole when the file grows meanwhile, and its sum differs.
	n, err := io.CopyN(tw, src, hdr.Size)
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%s became shorter while it was read: %d of %d bytes", f.Source, n, hdr.Size)
	}
	return err
}
