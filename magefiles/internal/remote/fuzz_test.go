package remote

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"testing"
)

// FuzzUpload: what put-files.sh reads is what was to be put, whatever files are called and hold: six fields a file in the
// manifest, and the contents in an entry of the file's number.
func FuzzUpload(f *testing.F) {
	f.Add("/etc/a", "root:root", "", []byte("content"), uint16(0o644))
	f.Add("/etc/a b\nc", "AD\\me:users", "", []byte{0}, uint16(0))
	f.Add("/opt/cni/bin/calico-ipam", "", "calico", []byte(nil), uint16(0o777))
	f.Add("/a\x00stream", "", "", []byte("x"), uint16(0o4755))
	f.Add("/a", "root\x00root", "l\x00", []byte("x"), uint16(1))
	f.Add("/../a", "", "", []byte("x"), uint16(1))
	f.Fuzz(func(t *testing.T, path, owner, link string, content []byte, mode uint16) {
		all := []File{{Path: path, Owner: owner, Link: link, Content: content, Mode: fs.FileMode(mode)}, {Path: "/last", Content: []byte("last"), Mode: 0o600}}
		u, err := newUpload(all, nil)
		if err != nil {
			return
		}
		entries := unpacked(t, u)
		fields := strings.Split(strings.TrimSuffix(string(entries["manifest"]), "\x00"), "\x00")
		if len(fields) != 6*len(all) {
			t.Fatalf("%d fields: %q", len(fields), fields)
		}
		for i, file := range all {
			is := fields[6*i : 6*i+6]
			switch {
			case is[1] != file.Path:
				t.Errorf("%q instead of %q", is[1], file.Path)
			case file.Link != "" && (is[0] != "link" || is[5] != file.Link):
				t.Errorf("%q of %+v", is, file)
			case file.Link == "" && (is[0] != "stream" || is[3] != file.owner() || is[4] != file.Sum() || !bytes.Equal(entries[strconv.Itoa(i)], file.Content)):
				t.Errorf("%q of %+v", is, file)
			case file.Link == "":
				if m, err := strconv.ParseUint(is[2], 8, 32); err != nil || fs.FileMode(m) != file.Mode.Perm() {
					t.Errorf("mode %q of %o", is[2], file.Mode)
				}
			}
		}
	})
}

func unpacked(t *testing.T, u *upload) map[string][]byte {
	t.Helper()
	var b bytes.Buffer
	if err := u.write(&b); err != nil {
		t.Fatal(err)
	}
	in := io.Reader(&b)
	if u.compress {
		z, err := gzip.NewReader(in)
		if err != nil {
			t.Fatal(err)
		}
		in = z
	}
	entries := map[string][]byte{}
	for r := tar.NewReader(in); ; {
		h, err := r.Next()
		if err == io.EOF { //nolint:errorlint // archive/tar's own
			return entries
		}
		if err != nil {
			t.Fatal(err)
		}
		if entries[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}
