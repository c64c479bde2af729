package box

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"testing"
)

type entry struct {
	mode    os.FileMode
	owner   int
	content string
}

func entries(t *testing.T, r io.Reader) map[string]entry {
	t.Helper()
	all := map[string]entry{}
	for tr := tar.NewReader(r); ; {
		hdr, err := tr.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		all[hdr.Name] = entry{hdr.FileInfo().Mode(), hdr.Uid, string(data)}
	}
}

func TestBoxFiles(t *testing.T) {
	data, err := filesOf("box")
	if err != nil {
		t.Fatal(err)
	}
	got := entries(t, bytes.NewReader(data))
	for name, mode := range map[string]os.FileMode{
		"etc/systemd/system/lab-ssh.socket": 0o644,
		"usr/local/lib/lab/cgroups-rw":      0o755, // what is embedded in a program has lost its mode
	} {
		if e, ok := got[name]; !ok || e.mode.Perm() != mode || e.owner != 0 {
			t.Errorf("%s: %v", name, e.mode)
		}
	}
}
