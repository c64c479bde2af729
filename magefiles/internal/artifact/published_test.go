package artifact

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
)

// githubLike is a server with github.com's paths, and a project that may have the SHA-256 of what is there.
type githubLike struct {
	t     *testing.T
	files map[string][]byte // by URL
	asked int
	m     *Maker
}

func newGithubLike(t *testing.T) *githubLike {
	pins, err := ReadPins("../../..")
	if err != nil {
		t.Fatal(err)
	}
	m := &Maker{Store: &Store{Dir: t.TempDir(), Run: &command.Runner{}}, Root: t.TempDir(), Arch: "amd64", Pins: pins, Published: true}
	t.Cleanup(func() { _ = m.Store.Release() })
	inEtcd := fmt.Sprintf("etcd-v%s-linux-amd64/", pins.Etcd)
	s := &githubLike{t: t, m: m, files: map[string][]byte{
		m.CalicoctlURL(): []byte("published calicoctl"),
		m.PluginsURL():   tgz(t, map[string]string{"./bridge": "published bridge", "./LICENSE": "text", "./macvlan": "not the lab's"}),
		m.EtcdURL():      tgz(t, map[string]string{inEtcd + "etcd": "published etcd", inEtcd + "etcdctl": "published etcdctl", inEtcd + "etcdutl": "not the lab's"}),
	}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked++
		data, ok := s.files[github+r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(data)
	}))
	t.Cleanup(server.Close)
	t.Setenv(ReleasesVariable, server.URL)
	sums := map[string]string{}
	for url, data := range s.files {
		sum := sha256.Sum256(data)
		sums[url] = hex.EncodeToString(sum[:])
	}
	s.lock(sums)
	return s
}

func tgz(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	for name, content := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func (s *githubLike) lock(sums map[string]string) {
	s.t.Helper()
	name := filepath.Join(s.m.Root, PublishedFile)
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(sumsText(sums)), 0o644)); err != nil {
		s.t.Fatal(err)
	}
}

// compiled returns what compiles programs, all of them "own".
func (s *githubLike) compiled(names ...string) func(context.Context) (string, error) {
	s.t.Helper()
	dir := s.t.TempDir()
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("own"), 0o755); err != nil {
			s.t.Fatal(err)
		}
	}
	if err := writeSums(dir); err != nil {
		s.t.Fatal(err)
	}
	return func(context.Context) (string, error) { return dir, nil }
}

// contents are the programs' that there are then, which have the sums that stand beside them.
func (s *githubLike) contents(get func(context.Context) (string, error)) map[string]string {
	s.t.Helper()
	dir, err := get(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	sums, err := Sums(dir)
	if is, herr := Hash(dir); err != nil || herr != nil || !maps.Equal(sums, is) {
		s.t.Errorf("the sums are %v, of %v (%v, %v)", sums, is, err, herr)
	}
	all := map[string]string{}
	for name := range sums {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			s.t.Fatal(err)
		}
		all[name] = string(data)
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode() != 0o755 {
			s.t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	return all
}

// linked are the files of an artifact that have more names than the one in there.
func (s *githubLike) linked(get func(context.Context) (string, error)) (names []string) {
	s.t.Helper()
	dir, err := get(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			s.t.Fatal(err)
		}
		if info.Sys().(*syscall.Stat_t).Nlink > 1 {
			names = append(names, file)
		}
	}
	return names
}

// TestPublished: published programs take the places of compiled ones, and are fetched once. What was compiled is copied: a link
// changes it, and somebody may be packing it.
func TestPublished(t *testing.T) {
	s := newGithubLike(t)
	for _, c := range []struct {
		url  string
		make func(context.Context) (string, error)
		want map[string]string
	}{
		{s.m.CalicoctlURL(), s.compiled("calicoctl", "calico"), map[string]string{"calicoctl": "published calicoctl", "calico": "own"}},
		{s.m.PluginsURL(), s.compiled("bridge", "cnitool"), map[string]string{"bridge": "published bridge", "cnitool": "own"}},
		{s.m.EtcdURL(), s.compiled("server", "etcdctl"), map[string]string{"server": "published etcd", "etcdctl": "published etcdctl"}},
	} {
		get := s.m.OrPublished(c.make, c.url)
		for range 2 {
			if diff := cmp.Diff(c.want, s.contents(get)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		}
		if names := s.linked(c.make); names != nil {
			t.Errorf("what was compiled was linked: %v", names)
		}
	}
	if s.asked != len(s.files) {
		t.Errorf("the server was asked %d times for %d files", s.asked, len(s.files))
	}
}

// TestPublishedRefused: what isn't as it is locked isn't used, and what is to be compiled isn't fetched.
func TestPublishedRefused(t *testing.T) {
	s := newGithubLike(t)
	url := s.m.CalicoctlURL()
	get := s.m.OrPublished(s.compiled("calicoctl"), url)
	for _, c := range []struct{ what, sum, want string }{
		{"others than are locked", strings.Repeat("0", 64), ", and components/published.lock says 0000"},
		{"a SHA-256 that is none", strings.Repeat("A", 64), "not 64 of the digits"},
		{"a release that isn't locked", "", "has no SHA-256 of https://github.com/projectcalico/calico/releases/download/v"},
	} {
		s.lock(map[string]string{url: c.sum})
		if _, err := get(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
	clear(s.files)
	s.lock(map[string]string{url: strings.Repeat("1", 64)})
	if _, err := get(t.Context()); err == nil || !strings.Contains(err.Error(), "the server says 404 Not Found\n  what to do: ") {
		t.Errorf("a file that isn't there: %v", err)
	}
	s.lock(map[string]string{url: NotPublished})
	for _, wanted := range []bool{true, false} {
		s.m.Published = wanted
		if diff := cmp.Diff(map[string]string{"calicoctl": "own"}, s.contents(get)); diff != "" {
			t.Errorf("what is to be compiled (-want +got):\n%s", diff)
		}
	}
}

// TestCheckPublished: everything that is wrong is said at once, before anything is fetched.
func TestCheckPublished(t *testing.T) {
	s := newGithubLike(t)
	sums := map[string]string{s.m.NodeImage(): NotPublished, s.m.CalicoctlURL(): "1234", s.m.PluginsURL(): NotPublished}
	s.lock(sums)
	t.Setenv(ReleasesVariable, "mirror.example")
	t.Setenv(RegistryVariable, "http://mirror.example")
	err := s.m.CheckPublished()
	for _, want := range []string{`is "1234", and not 64`, "has no SHA-256 of " + s.m.EtcdURL(), "LAB_RELEASES isn't the URL of a server", "LAB_REGISTRY=http://mirror.example: "} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in: %v", want, err)
		}
	}
	sums[s.m.CalicoctlURL()], sums[s.m.EtcdURL()] = strings.Repeat("1", 64), NotPublished
	s.lock(sums)
	t.Setenv(ReleasesVariable, "")
	t.Setenv(RegistryVariable, "")
	if err := s.m.CheckPublished(); err != nil {
		t.Error(err)
	}
	s.lock(nil)
	s.m.Published = false
	if err := s.m.CheckPublished(); err != nil || s.asked > 0 {
		t.Errorf("what nobody asked for: %v, asked %d times", err, s.asked)
	}
}

// TestPublishedLock: the releases that are pinned are locked, for both architectures.
func TestPublishedLock(t *testing.T) {
	pins, err := ReadPins("../../..")
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join("../../..", PublishedFile))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range PublishedNames(pins) {
		if sum := parseSums(string(data))[name]; !isSHA256.MatchString(sum) && sum != NotPublished {
			t.Errorf("%s has no SHA-256 of %s; write the one there that its project publishes, or %s", PublishedFile, name, NotPublished)
		}
	}
}
