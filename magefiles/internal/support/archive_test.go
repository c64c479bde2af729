package support

import (
	"archive/tar"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestWrite(t *testing.T) {
	const begin, end = "-----BEGIN OPENSSH PRIVATE " + "KEY-----", "-----END OPENSSH PRIVATE " + "KEY-----"
	file := filepath.Join(t.TempDir(), "lab-logs.tar.gz")
	err := Write(file, []File{
		{"lab.yaml", []byte("name: lab\n")},
		{"calico1/journal.txt", []byte("before\n" + begin + "\nc2VjcmV0\n" + end + "\nafter\n")},
		{"calico1/cut.txt", []byte(begin + "\nc2VjcmV0c2VjcmV0c2VjcmV0\n")},
		{"calico1/line.txt", []byte(`{"key": "` + begin + `\nc2VjcmV0\n` + end + "\"}\nafter\n")},
	}, time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"lab-logs/lab.yaml":            "name: lab\n",
		"lab-logs/calico1/journal.txt": "before\n(a private key was left out)\nafter\n",
		"lab-logs/calico1/cut.txt":     "(a private key was left out)\n",
		"lab-logs/calico1/line.txt":    "{\"key\": \"(a private key was left out)\"}\nafter\n",
	}
	if diff := cmp.Diff(want, unpack(t, file)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}

func unpack(t *testing.T, file string) map[string]string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for r := tar.NewReader(z); ; {
		hdr, err := r.Next()
		if err != nil {
			return got
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		got[hdr.Name] = string(data)
	}
}
