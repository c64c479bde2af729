package bundle

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/command"
)

const (
	toolKey = "tool-0123456789abcdef"
	treeKey = "base-0123456789abcdef" // which isn't locked
	birdSum = "0000000000000000000000000000000000000000000000000000000000000042"
)

// write writes a bundle of two artifacts, one of them of several megabytes, and returns its path and what is locked of it.
func write(t *testing.T) (file string, locked map[string]string) {
	t.Helper()
	dir := t.TempDir()
	noise := make([]byte, 5<<20) // doesn't become smaller
	for i, x := 0, uint32(1); i < len(noise); i++ {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		noise[i] = byte(x)
	}
	for name, data := range map[string]string{
		toolKey + "/bin": string(noise), treeKey + "/root/etc/hosts": "127.0.0.1 localhost\n",
		treeKey + "/root/" + artifact.Packages: "bird 1.6.8-2.1+b1 amd64 " + birdSum + "\n",
	} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(data), 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, toolKey, "go-program"), "../machine/nspawn/rootfs") // has modules in it
	build.Env = append(os.Environ(), "GOOS=linux", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	sums, err := artifact.Hash(filepath.Join(dir, toolKey))
	if err != nil {
		t.Fatal(err)
	}
	locked = map[string]string{}
	text := ""
	for name, sum := range sums {
		locked["amd64/tool/"+name] = sum
		text += sum + "  " + name + "\n"
	}
	if err := os.WriteFile(filepath.Join(dir, toolKey, "SHA256SUMS"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("hosts", filepath.Join(dir, treeKey, "root/etc/names")); err != nil {
		t.Fatal(err)
	}
	env, err := exec.CommandContext(t.Context(), "go", "env", "GOMODCACHE", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	goDirs := strings.Fields(string(env))
	project := filepath.Join(dir, "project")
	if err := errors.Join(os.Mkdir(project, 0o755), os.WriteFile(filepath.Join(project, "lab"), []byte("#!/bin/sh\n"), 0o755)); err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(dir, Name("amd64"))
	m := Manifest{Arch: "amd64", Pins: map[string]string{"Calico": "3.31.0"}}
	if err := Write(t.Context(), &command.Runner{}, file, m, []Content{{Dir: filepath.Join(dir, toolKey)}, {Dir: filepath.Join(dir, treeKey)}}, project, Sources{goDirs[0], goDirs[1]}); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".bundle-*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	return file, locked
}

func open(named string, locked map[string]string) *Bundle {
	return &Bundle{Named: named, By: Variable, Arch: "amd64", Locked: locked, Pins: map[string]string{"Calico": "3.31.0"}, Run: &command.Runner{}}
}

// whole takes everything out of a bundle.
func whole(t *testing.T, b *Bundle) error {
	t.Helper()
	out := t.TempDir()
	for _, key := range []string{treeKey, toolKey} {
		if ok, err := b.Has(t.Context(), key, false); !ok || err != nil {
			return errors.Join(errors.New("it isn't there"), err)
		}
		dir := filepath.Join(out, key)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := b.Fill(t.Context(), key, dir, false); err != nil {
			return err
		}
	}
	for name, want := range map[string]string{treeKey + "/root/etc/names": "127.0.0.1 localhost\n"} {
		if got, err := os.ReadFile(filepath.Join(out, name)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if info, err := os.Stat(filepath.Join(out, toolKey, "bin")); err != nil || info.Size() != 5<<20 || info.Mode() != 0o755 {
		t.Errorf("%v, %v", info, err)
	}
	return nil
}

func TestBundle(t *testing.T) {
	file, locked := write(t)
	for _, named := range []string{file, filepath.Dir(file)} {
		if err := whole(t, open(named, locked)); err != nil {
			t.Errorf("%s: %v", named, err)
		}
	}
	b := open(file, locked)
	if ok, err := b.Has(t.Context(), "other-0123456789abcdef", false); ok || err != nil {
		t.Errorf("what isn't there: %v, %v", ok, err)
	}
	if ok, err := b.Has(t.Context(), "tool-fedcba9876543210", true); ok || err != nil {
		t.Errorf("what is root's under the same name: %v, %v", ok, err)
	}
}

// TestBelow: a directory of an artifact as a tar, and an error where it isn't what was packed.
func TestBelow(t *testing.T) {
	file, locked := write(t)
	below := func() (names []string, err error) {
		var out bytes.Buffer
		if err := open(file, locked).Tar(t.Context(), treeKey, "root/etc", false, &out); err != nil {
			return nil, err
		}
		for r := tar.NewReader(&out); ; {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				return names, nil
			}
			if err != nil {
				return nil, err
			}
			names = append(names, h.Name+" "+h.Linkname)
		}
	}
	names, err := below()
	if diff := cmp.Diff([]string{"hosts ", "names hosts"}, names); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	b := open(file, locked)
	m, err := b.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(m.Artifacts, func(a Artifact) bool { return a.Key == treeKey })
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	data[b.start+m.Artifacts[i].Offset+m.Artifacts[i].Size-2] ^= 1 // in zstd's own checksum, so that all of the tar is there
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := below(); err == nil || !strings.Contains(err.Error(), "has been changed") {
		t.Errorf("a changed one: %v", err)
	}
}

// TestTar: tar reads a bundle like any other .tar.zst.
func TestTar(t *testing.T) {
	file, _ := write(t)
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := zstd.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	var names, licences []string
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(h.Name, "licences/") {
			licences = append(licences, h.Name)
			continue
		}
		names = append(names, h.Name)
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		for _, purl := range []string{"pkg:deb/debian/bird@1.6.8-2.1%2Bb1?arch=amd64", "pkg:golang/golang.org/x/sys@v", "pkg:golang/std@1.", birdSum} {
			if h.Name == "sbom.spdx.json" && !strings.Contains(string(data), purl) {
				t.Errorf("%s isn't in the list of software: %s", purl, data)
			}
		}
	}
	want := []string{
		"manifest.json", toolKey + "/", toolKey + "/SHA256SUMS", toolKey + "/bin", toolKey + "/go-program", treeKey + "/", treeKey + "/root/", treeKey + "/root/etc/", treeKey + "/root/etc/hosts",
		treeKey + "/root/etc/names", treeKey + "/root/var/", treeKey + "/root/var/lib/", treeKey + "/root/var/lib/dpkg/", treeKey + "/root/" + artifact.Packages,
		"project/", "project/lab", "sbom.spdx.json",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, part := range []string{"licences/golang.org/x/sys@", "licences/std@"} {
		if !slices.ContainsFunc(licences, func(name string) bool { return strings.HasPrefix(name, part) }) {
			t.Errorf("no %s...: %v", part, licences)
		}
	}
}

// TestRefused: what can't be trusted is refused with a reason.
func TestRefused(t *testing.T) {
	file, locked := write(t)
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	changed := func(at int) []byte {
		data := append([]byte{}, good...)
		data[at] ^= 1
		return data
	}
	for name, c := range map[string]struct {
		data []byte
		b    *Bundle
		want string
	}{
		"cut off":                    {good[:len(good)/2], open(file, locked), "it ends early; fetch it again"},
		"cut off in its manifest":    {good[:100], open(file, locked), "it ends early; fetch it again"},
		"empty":                      {nil, open(file, locked), "it ends early; fetch it again"},
		"changed":                    {changed(len(good) / 2), open(file, locked), "has been changed"},
		"no bundle":                  {[]byte(strings.Repeat("not one", 100)), open(file, locked), "it is no bundle"},
		"another CPU's":              {good, &Bundle{Named: file, By: Variable, Arch: "arm64"}, "it is for amd64, and the machines are arm64; take calico-cni-lab-arm64.tar.zst"},
		"more than is locked":        {good, open(file, without(locked, "amd64/tool/bin")), "has other files than components/artifacts.lock says"},
		"nothing is locked":          {good, open(file, nil), "has other files than components/artifacts.lock says"},
		"not what is locked":         {good, open(file, with(locked, "amd64/tool/bin")), "isn't what components/artifacts.lock says"},
		"a program that isn't there": {good, open(file, with(locked, "amd64/tool/more")), "tool/more isn't what components/artifacts.lock says"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(file, c.data, 0o644); err != nil {
				t.Fatal(err)
			}
			err := whole(t, c.b)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "LAB_BUNDLE=none") {
				t.Errorf("no %q in: %v", c.want, err)
			}
		})
	}
	if err := os.WriteFile(file, good, 0o644); err != nil {
		t.Fatal(err)
	}
	b := open(file, locked)
	b.Pins = map[string]string{"Calico": "3.31.7"}
	if _, err := b.Has(t.Context(), toolKey, false); err == nil || !strings.Contains(err.Error(), "Calico 3.31.0, here 3.31.7") {
		t.Errorf("of another commit: %v", err)
	}
	if err := whole(t, open(filepath.Join(t.TempDir(), "nowhere"), locked)); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("not there: %v", err)
	}
}

func with(locked map[string]string, name string) map[string]string {
	other := maps.Clone(locked)
	other[name] = strings.Repeat("0", 64)
	return other
}

func without(locked map[string]string, name string) map[string]string {
	other := maps.Clone(locked)
	delete(other, name)
	return other
}

// TestFull: what tar says isn't taken for the bundle's fault.
func TestFull(t *testing.T) {
	file, locked := write(t)
	nowhere := filepath.Join(t.TempDir(), "nowhere")
	err := open(file, locked).Fill(t.Context(), toolKey, nowhere, false)
	if err == nil || !strings.Contains(err.Error(), nowhere) || strings.Contains(err.Error(), "LAB_BUNDLE=none") {
		t.Errorf("%v", err)
	}
}

// TestWeb: from a server, also one that knows no ranges, and one whose connections break.
func TestWeb(t *testing.T) {
	file, locked := write(t)
	files := http.FileServer(http.Dir(filepath.Dir(file)))
	var served atomic.Int64
	for name, serve := range map[string]http.HandlerFunc{
		"ranges": files.ServeHTTP,
		"none": func(w http.ResponseWriter, r *http.Request) {
			r.Header.Del("Range")
			files.ServeHTTP(w, r)
		},
		"breaks": func(w http.ResponseWriter, r *http.Request) {
			files.ServeHTTP(&breaking{ResponseWriter: w, left: 1 << 20}, r)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { served.Add(1); serve(w, r) }))
			defer s.Close()
			for _, url := range []string{s.URL, s.URL + "/" + Name("amd64")} {
				if err := whole(t, open(url, locked)); err != nil {
					t.Errorf("%s: %v", url, err)
				}
			}
		})
	}
	s := httptest.NewServer(http.NotFoundHandler())
	defer s.Close()
	if err := whole(t, open(s.URL, locked)); err == nil || !strings.Contains(err.Error(), "404 Not Found") {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	hangs := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer hangs.Close()
	if _, err := open(hangs.URL, locked).Has(ctx, toolKey, false); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a server that hangs: %v", err)
	}
}

// breaking ends the connection after some bytes.
type breaking struct {
	http.ResponseWriter
	left int
}

func (b *breaking) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		panic(http.ErrAbortHandler)
	}
	return b.ResponseWriter.Write(p)
}

// TestUnasked: a bundle that nobody named is passed over where it doesn't fit, or isn't there; one that was named is an error.
func TestUnasked(t *testing.T) {
	file, locked := write(t)
	for _, named := range []string{file, file + ".gone"} {
		b := open(named, locked)
		b.Pins = map[string]string{"Calico": "3.99.0"}
		if ok, err := b.Has(t.Context(), treeKey, false); ok || err == nil {
			t.Errorf("%s, which somebody named: %v, %v", named, ok, err)
		}
		said := 0
		b = open(named, locked)
		b.Pins, b.Unasked, b.Notice = map[string]string{"Calico": "3.99.0"}, true, func(string, ...any) { said++ }
		for range 2 {
			if ok, err := b.Has(t.Context(), treeKey, false); ok || err != nil {
				t.Errorf("%s, which nobody named: %v, %v", named, ok, err)
			}
		}
		if said != 1 {
			t.Errorf("%s: said %d times", named, said)
		}
	}
}
