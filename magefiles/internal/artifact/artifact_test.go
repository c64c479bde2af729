package artifact

import (
	"archive/tar"
	"archive/zip"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func store(dir string) *Store {
	return &Store{Dir: dir, Making: func(string) func(error) { return func(error) {} }}
}

func TestKey(t *testing.T) {
	keys := map[string]bool{}
	for _, r := range []Recipe{
		{Name: "a", Inputs: []string{"ab", "c"}},
		{Name: "a", Inputs: []string{"a", "bc"}},
		{Name: "a", Inputs: []string{"abc"}},
		{Name: "b", Inputs: []string{"ab", "c"}},
	} {
		keys[r.Key()] = true
	}
	if len(keys) != 4 {
		t.Errorf("different inputs have the same key: %v", keys)
	}
}

// TestGet: of many callers one makes it, and what is made stays for the next process.
func TestGet(t *testing.T) {
	dir := t.TempDir()
	var made atomic.Int32
	r := Recipe{Name: "x", Make: func(_ context.Context, out string) error {
		made.Add(1)
		return os.WriteFile(filepath.Join(out, "file"), []byte("content"), 0o644)
	}}
	var wg sync.WaitGroup
	for range 3 {
		s := store(dir) // as in another process: they know of each other by the lock only
		for range 3 {
			wg.Go(func() {
				got, err := s.Get(t.Context(), r)
				if err != nil || got != filepath.Join(dir, r.Key()) || !exists(filepath.Join(got, "file")) {
					t.Errorf("Get: %s, %v", got, err)
				}
			})
		}
	}
	wg.Wait()
	if made.Load() != 1 {
		t.Errorf("made %d times", made.Load())
	}
}

// TestGetFails: what failed or was cut off is never taken for finished, and is made anew by the next run.
func TestGetFails(t *testing.T) {
	dir := t.TempDir()
	fail := errors.New("no")
	r := Recipe{Name: "x", What: "making x", Make: func(_ context.Context, out string) error {
		if err := os.WriteFile(filepath.Join(out, "half"), nil, 0o644); err != nil {
			return err
		}
		return fail
	}}
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := store(dir).Get(ctx, r); !errors.Is(err, fail) || !strings.Contains(err.Error(), "making x") {
		t.Errorf("Get: %v", err)
	}
	cancelling := r
	cancelling.Make = func(ctx context.Context, out string) error { cancel(); return errors.Join(r.Make(ctx, out), ctx.Err()) }
	if _, err := store(dir).Get(ctx, cancelling); !errors.Is(err, context.Canceled) {
		t.Errorf("Get: %v", err)
	}
	if exists(filepath.Join(dir, r.Key())) {
		t.Fatal("a failed one is there")
	}
	r.Make = func(_ context.Context, out string) error {
		if exists(filepath.Join(out, "half")) {
			return errors.New("something of the last try is left")
		}
		return nil
	}
	if _, err := store(dir).Get(t.Context(), r); err != nil {
		t.Error(err)
	}
}

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dir", "lock")
	unlock, err := Lock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Lock(ctx, path); err == nil || !strings.Contains(err.Error(), "which another run holds") {
		t.Errorf("second lock: %v", err)
	}
	time.AfterFunc(50*time.Millisecond, unlock)
	unlock, err = Lock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}

func TestReadPins(t *testing.T) {
	p, err := ReadPins("../../..")
	if err != nil {
		t.Fatal(err)
	}
	// Calico's is a pseudo-version; its release stands behind it.
	if got := p.Calico.String(); got != "3.31.0" {
		t.Errorf("Calico %s", got)
	}
	if p.Etcd.Segments()[0] != 3 || p.Cnitool.Segments()[0] != 1 || p.Plugins.Segments()[0] != 1 {
		t.Errorf("pins: %v", p)
	}
	root := t.TempDir()
	file := filepath.Join(root, "components/calico/go.mod")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	for content, want := range map[string]string{
		"module x\n": "does not require " + calicoModule,
		"module x\nrequire " + calicoModule + " v0.0.0-1 // v3.x\n": "go.mod:2",
		"nonsense": "go.mod:1",
	} {
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadPins(root); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", content, err, want)
		}
	}
}

func TestWithoutTunnels(t *testing.T) {
	in := `    if defined(bgp_next_hop) then
      krt_tunnel = "";    {{- /* no */}}
    else
      krt_tunnel = "{{$data.ipip}}";
    accept;
  } {{- else}}
    krt_tunnel = "{{$data.ipip}}";
    accept;
`
	want := `    if defined(bgp_next_hop) then { }
    else { }
    accept;
  } {{- else}}
    accept;
`
	if diff := cmp.Diff(want, string(withoutTunnels([]byte(in)))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWithoutKubernetes(t *testing.T) {
	in := "a\ncp -a /etc/service/available/complete-startup /etc/service/enabled/\nb\n"
	if got := string(withoutKubernetes([]byte(in))); got != "a\nb\n" {
		t.Errorf("got %q", got)
	}
}

func TestRepack(t *testing.T) {
	dir := t.TempDir()
	const prefix = "golang.org/toolchain@v0.0.1/"
	write := func(names ...string) string {
		f, err := os.Create(filepath.Join(dir, "m.zip"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		z := zip.NewWriter(f)
		for _, name := range names {
			w, err := z.Create(name)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(w, "content of "+name); err != nil {
				t.Fatal(err)
			}
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		return f.Name()
	}
	out := filepath.Join(dir, "go.tar")
	if err := repack(write(prefix+"VERSION", prefix+"bin/go", prefix+"pkg/tool/linux_amd64/vet", prefix+"src/x.go"), prefix, out); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got := map[string]int64{}
	for tr := tar.NewReader(f); ; {
		hdr, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got[hdr.Name] = hdr.Mode
		data, _ := io.ReadAll(tr)
		if !strings.HasPrefix(string(data), "content of "+prefix) {
			t.Errorf("%s: %q", hdr.Name, data)
		}
	}
	want := map[string]int64{"go/VERSION": 0o644, "go/bin/go": 0o755, "go/pkg/tool/linux_amd64/vet": 0o755, "go/src/x.go": 0o644}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := repack(write("elsewhere/x"), prefix, out); err == nil {
		t.Error("an entry of another module was taken")
	}
}

func TestLayer(t *testing.T) {
	layer, err := layerFrom(
		file{to: "/usr/bin/a", content: []byte("A"), mode: 0o755},
		file{to: "/usr/bin/b", link: "/usr/bin/a"},
		file{to: "/etc/c", content: []byte("C"), mode: 0o644},
	)
	if err != nil {
		t.Fatal(err)
	}
	r, err := layer.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var got []string
	for tr := tar.NewReader(r); ; {
		hdr, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		data, _ := io.ReadAll(tr)
		got = append(got, strings.TrimSpace(strings.Join([]string{hdr.Name, hdr.FileInfo().Mode().String(), hdr.Linkname, string(data)}, " ")))
	}
	want := []string{
		"usr/ drwxr-xr-x", "usr/bin/ drwxr-xr-x", "usr/bin/a -rwxr-xr-x  A",
		"usr/bin/b Lrwxrwxrwx /usr/bin/a", "etc/ drwxr-xr-x", "etc/c -rw-r--r--  C",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSums(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a b"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := writeSums(dir); err != nil {
		t.Fatal(err)
	}
	got, err := Sums(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"a b": "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestRoomFor(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "there", "yet")
	if err := RoomFor(dir, 1); err != nil {
		t.Error(err)
	}
	if err := RoomFor(dir, 1<<60); err == nil || !strings.Contains(err.Error(), "make room") {
		t.Errorf("no error for a disk that nobody has: %v", err)
	}
}
