package remote

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func sum(data []byte) string {
	s := sha256.Sum256(data)
	return hex.EncodeToString(s[:])
}

// source is a file of this computer, as File's Source.
func source(t *testing.T, dir string, data []byte) File {
	t.Helper()
	name := filepath.Join(dir, "source")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return File{Source: name, SHA256: sum(data)}
}

// writes are the sizes of what was written.
type writes []int

func (w *writes) Write(p []byte) (int, error) {
	*w = append(*w, len(p))
	return len(p), nil
}

// TestUploadPackets: what goes over the connection fills its packets, compressed or not.
func TestUploadPackets(t *testing.T) {
	data := make([]byte, 1<<20)
	rand.NewChaCha8([32]byte{}).Read(data) //nolint:errcheck // it has no error
	program := source(t, t.TempDir(), data)
	program.Path = "/x"
	for _, f := range []File{program, {Path: "/x", Content: data}} {
		u, err := newUpload([]File{f}, nil)
		if err != nil {
			t.Fatal(err)
		}
		var got writes
		if err := u.write(&got); err != nil {
			t.Fatal(err)
		}
		for i, n := range got[:len(got)-1] { // what is larger is cut into packets by the connection
			if n < packet {
				t.Errorf("compress %t: write %d has %d bytes", u.compress, i, n)
			}
		}
	}
}

func TestUpload(t *testing.T) {
	dir := t.TempDir()
	program := source(t, dir, []byte("program"))
	program.Path, program.Mode, program.Owner = "/usr/local/bin/x", 0o755, "root:daemon"
	files := []File{
		{Path: "/etc/x", Mode: 0o644, Content: []byte("content")},
		program,
		{Path: "/etc/y", Link: "x"},
	}
	for _, c := range []struct {
		name     string
		shares   Shares
		compress bool
		program  string // its part of the manifest
		want     map[string]string
	}{
		{"over the connection", nil, true, "stream|/usr/local/bin/x|755|root:daemon|" + sum([]byte("program")) + "||", map[string]string{"0": "content", "1": "program"}},
		{"from a share", Shares{{dir, "/share"}}, false, "share|/usr/local/bin/x|755|root:daemon|" + sum([]byte("program")) + "|/share/source|", map[string]string{"0": "content"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			u, err := newUpload(files, c.shares)
			if err != nil {
				t.Fatal(err)
			}
			if u.compress != c.compress {
				t.Errorf("compress: %t", u.compress)
			}
			c.want["manifest"] = "stream|/etc/x|644|root:root|" + sum([]byte("content")) + "||" + c.program + "link|/etc/y||||x|"
			got := entries(t, u)
			got["manifest"] = strings.ReplaceAll(got["manifest"], "\x00", "|")
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	for name, f := range map[string]File{
		"relative": {Path: "etc/x"}, "with a dot": {Path: "/etc/../x"}, "a directory": {Path: "/etc/"}, "without a sum": {Path: "/x", Source: "/y"},
	} {
		if _, err := newUpload([]File{f}, nil); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func entries(t *testing.T, u *upload) map[string]string {
	t.Helper()
	var buf bytes.Buffer
	if err := u.write(&buf); err != nil {
		t.Fatal(err)
	}
	var r io.Reader = &buf
	if u.compress {
		zr, err := gzip.NewReader(r)
		if err != nil {
			t.Fatal(err)
		}
		r = zr
	}
	got := map[string]string{}
	for tr := tar.NewReader(r); ; {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return got
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		got[hdr.Name] = string(data)
	}
}

// putHost is a connected machine on which the lab's own directories are in a temporary one, as is everything that is put.
func putHost(t *testing.T) (h *Host, root string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("files can be given to root only by root")
	}
	h, m := dialled(t)
	root = t.TempDir()
	m.paths = strings.NewReplacer("/var/lib/calico-cni-lab", root+"/lib", "/var/cache/lab", root+"/cache")
	return h, root
}

// is checks a file's contents, mode and owner.
func is(t *testing.T, file, content string, mode os.FileMode, gid uint32) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Error(err)
		return
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Error(err)
		return
	}
	st := info.Sys().(*syscall.Stat_t)
	if string(data) != content || info.Mode() != mode || st.Uid != 0 || st.Gid != gid {
		t.Errorf("%s: %.20q, %s, %d:%d", file, data, info.Mode(), st.Uid, st.Gid)
	}
}

func leftovers(t *testing.T, root string) []string {
	t.Helper()
	left, err := filepath.Glob(root + "/lib/put/run.*")
	if err != nil {
		t.Fatal(err)
	}
	return left
}

// TestPut: files of all kinds are as they should be, what was there is kept, and Missing finds nothing more.
func TestPut(t *testing.T) {
	h, root := putHost(t)
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<18) // 4 MB, more than any buffer on the way
	here := t.TempDir()
	streamed := source(t, here, big)
	streamed.Path, streamed.Mode = root+"/opt/new/bin/big", 0o755
	share := t.TempDir()
	h.shares = Shares{{share, share}}
	shared := source(t, share, []byte("shared"))
	shared.Path, shared.Mode, shared.Owner = root+"/opt/new/bin/shared", 0o750, "root:daemon"
	if err := os.WriteFile(root+"/old", []byte("mine"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/", root+"/link"); err != nil { // to a directory
		t.Fatal(err)
	}
	files := []File{
		streamed, shared,
		{Path: root + "/old", Mode: 0o600, Content: []byte("it's\n\"new\"")},
		{Path: root + "/opt/new/etc/it's a 'name'", Mode: 0o644, Content: nil},
		{Path: root + "/link", Link: "old"},
		{Path: root + "/opt/new/bin/link", Link: "big"},
	}
	for range 2 {
		if _, err := h.Put(t.Context(), files...); err != nil {
			t.Fatal(err)
		}
		is(t, streamed.Path, string(big), 0o755, 0)
		is(t, shared.Path, "shared", 0o750, 1)
		is(t, root+"/old", "it's\n\"new\"", 0o600, 0)
		is(t, root+"/opt/new/etc/it's a 'name'", "", 0o644, 0)
		for link, want := range map[string]string{"/link": "old", "/opt/new/bin/link": "big"} {
			if got, err := os.Readlink(root + link); got != want || err != nil {
				t.Errorf("%s -> %s, %v", link, got, err)
			}
		}
	}
	if left := leftovers(t, root); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	entries, err := filepath.Glob(root + "/lib/journal/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var noted []string
	for _, e := range entries {
		text, err := os.ReadFile(e + "/path")
		if err != nil {
			t.Error(err)
		}
		noted = append(noted, strings.TrimPrefix(string(text), root))
	}
	want := []string{"/opt/", "/opt/new/", "/opt/new/bin/", "/opt/new/bin/big", "/opt/new/bin/shared", "/old", "/opt/new/etc/", "/opt/new/etc/it's a 'name'", "/link", "/opt/new/bin/link"}
	if diff := cmp.Diff(want, noted); diff != "" {
		t.Errorf("noted (-want +got):\n%s", diff)
	}
	is(t, entries[5]+"/original", "mine", 0o640, 0)
	for e, put := range map[string]string{entries[3]: "file " + sum(big), entries[5]: "file " + sum([]byte("it's\n\"new\"")), entries[8]: "link old"} {
		if text, err := os.ReadFile(e + "/put"); string(text) != put+"\n"+put+"\n" || err != nil {
			t.Errorf("%s was put as %q, %v", e, text, err)
		}
	}
}

// TestPutDamaged: of files one of which isn't what it should be, none is put.
func TestPutDamaged(t *testing.T) {
	h, root := putHost(t)
	bad := source(t, t.TempDir(), []byte("x"))
	bad.Path, bad.SHA256 = root+"/bad", sum([]byte("y"))
	_, err := h.Put(t.Context(), File{Path: root + "/good", Content: []byte("z")}, bad)
	if err == nil || !strings.Contains(err.Error(), root+"/bad arrived damaged") {
		t.Errorf("error: %v", err)
	}
	bad.Source = "/no/such/file"
	if _, err := h.Put(t.Context(), bad); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error: %v", err)
	}
	for _, name := range []string{"/bad", "/good"} {
		if _, err := os.Lstat(root + name); err == nil {
			t.Errorf("%s is there", name)
		}
	}
	if left := leftovers(t, root); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestPutInterrupted: a Put that is cut off changes nothing, and what a killed one left is removed by the next.
func TestPutInterrupted(t *testing.T) {
	h, root := putHost(t)
	// Nothing comes: the machine waits for the tar.
	ctx, cancel := context.WithTimeoutCause(t.Context(), 300*time.Millisecond, errors.New("enough"))
	defer cancel()
	r, w := io.Pipe()
	time.AfterFunc(400*time.Millisecond, func() { w.Close() })
	_, err := h.Feed(ctx, r, "bash", "-c", putScript(), "put-files.sh")
	if err == nil || !strings.Contains(err.Error(), "enough") {
		t.Errorf("error: %v", err)
	}
	// As a run that was killed with SIGKILL while it copied to another file system.
	old := root + "/lib/put/run.killed"
	part := root + "/x.calico-cni-lab-part"
	for name, content := range map[string]string{old + "/0": "half", old + "/part": part, part: "half"} {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// One that is still running stays.
	running := root + "/lib/put/run.running"
	if err := os.Mkdir(running, 0o700); err != nil {
		t.Fatal(err)
	}
	d, err := os.Open(running)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Put(t.Context(), File{Path: root + "/x", Mode: 0o644, Content: []byte("x")}); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{running}, leftovers(t, root)); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
	if _, err := os.Stat(part); err == nil {
		t.Error("the half file of the killed run is there")
	}
}

// TestPutElsewhere: a target on another file system than the temporary directory is put in one step too.
func TestPutElsewhere(t *testing.T) {
	h, root := putHost(t)
	shm, err := os.MkdirTemp("/dev/shm", "put") //nolint:usetesting // another file system than t.TempDir's is needed
	if err != nil {
		t.Skip("no other file system:", err)
	}
	defer os.RemoveAll(shm)
	if _, err := h.Put(t.Context(), File{Path: shm + "/a", Mode: 0o640, Owner: "root:daemon", Content: []byte("a")}, File{Path: shm + "/b", Link: "a"}); err != nil {
		t.Fatal(err)
	}
	is(t, shm+"/a", "a", 0o640, 1)
	is(t, shm+"/b", "a", 0o640, 1)
	if all, err := os.ReadDir(shm); err != nil || len(all) != 2 {
		t.Errorf("%v, %v", all, err)
	}
	if left := leftovers(t, root); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestPutMany: several at once on one machine don't get in each other's way.
func TestPutMany(t *testing.T) {
	h, root := putHost(t)
	errs := make(chan error)
	for i := range 6 {
		go func() {
			_, err := h.Put(t.Context(), File{Path: fmt.Sprintf("%s/dir/%d", root, i), Mode: 0o644, Content: []byte("x")}, File{Path: root + "/same", Mode: 0o644, Content: []byte("x")})
			errs <- err
		}()
	}
	for range 6 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if all, err := os.ReadDir(root + "/dir"); err != nil || len(all) != 6 {
		t.Errorf("%v, %v", all, err)
	}
}
