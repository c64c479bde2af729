package artifact

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
)

// quayLike is a registry that has calico-node's image under quay.io's name, and a project that may have its digest.
type quayLike struct {
	t     *testing.T
	root  string
	pins  Pins
	index string // SHA-256 of the manifest that has an image for amd64 and for arm64
	other string // of an image for s390x
	asked atomic.Int32
	layer func(w http.ResponseWriter, data []byte) // answers with a layer that isn't empty
}

const layerText = "a layer's file"

func newQuayLike(t *testing.T) *quayLike {
	pins, err := ReadPins("../../..")
	if err != nil {
		t.Fatal(err)
	}
	q := &quayLike{t: t, root: t.TempDir(), pins: pins, layer: func(w http.ResponseWriter, data []byte) { _, _ = w.Write(data) }}
	inside := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q.asked.Add(1)
		if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/blobs/") {
			inside.ServeHTTP(w, r)
			return
		}
		answer := httptest.NewRecorder()
		inside.ServeHTTP(answer, r)
		if data := answer.Body.Bytes(); data[0] != '{' {
			q.layer(w, data)
		} else {
			_, _ = w.Write(data) // the image's configuration
		}
	}))
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	t.Setenv(RegistryVariable, host)
	t.Setenv("DOCKER_CONFIG", t.TempDir()) // nobody's credentials

	image := func(arch string) v1.Image {
		layer, err := layerFrom(file{to: "/etc/arch", content: []byte(layerText + arch), mode: 0o644})
		if err != nil {
			t.Fatal(err)
		}
		img, err := (&Maker{Arch: arch}).image(v1.Config{Cmd: []string{"start_runit"}, Labels: map[string]string{"version": "published"}}, layer)
		if err != nil {
			t.Fatal(err)
		}
		return img
	}
	index := v1.ImageIndex(empty.Index)
	for _, arch := range []string{"amd64", "arm64"} {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image(arch), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
	}
	other := image("s390x")
	repository, err := name.NewRepository(host + "/" + nodeRepository)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(remote.WriteIndex(repository.Tag("index"), index), remote.Write(repository.Tag("other"), other)); err != nil {
		t.Fatal(err)
	}
	for _, pushed := range []struct {
		sum    *string
		digest func() (v1.Hash, error)
	}{{&q.index, index.Digest}, {&q.other, other.Digest}} {
		is, err := pushed.digest()
		if err != nil {
			t.Fatal(err)
		}
		*pushed.sum = is.Hex
	}
	return q
}

// maker is one for an architecture, with an empty store; sum is what the project has for the image's name.
func (q *quayLike) maker(arch, sum string) *Maker {
	q.t.Helper()
	m := &Maker{Store: &Store{Dir: q.t.TempDir(), Run: &command.Runner{}}, Root: q.root, Arch: arch, Pins: q.pins, Published: true, ImageLabel: "lab.image"}
	q.t.Cleanup(func() { _ = m.Store.Release() })
	file := filepath.Join(q.root, PublishedFile)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		q.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(sum+"  "+m.NodeImage()+"\n"), 0o644); err != nil {
		q.t.Fatal(err)
	}
	return m
}

// TestPublishedNode: the image for the machines comes out of the index, once, and gets the lab's label beside its own.
func TestPublishedNode(t *testing.T) {
	q := newQuayLike(t)
	for _, arch := range []string{"amd64", "arm64"} {
		m := q.maker(arch, q.index)
		dir, err := m.publishedNode(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		before := q.asked.Load()
		if again, err := m.publishedNode(t.Context()); err != nil || again != dir || q.asked.Load() != before {
			t.Errorf("%s again: %s, %v, asked %d times", arch, again, err, q.asked.Load()-before)
		}
		img, err := m.nodeImage(parts{published: dir}, nil)
		if err != nil {
			t.Fatal(err)
		}
		img, id, err := m.labelled(img)
		if err != nil {
			t.Fatal(err)
		}
		cf, err := img.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if l := cf.Config.Labels; cf.Architecture != arch || l["lab.image"] != id || l["version"] != "published" {
			t.Errorf("for %s: %+v", arch, cf)
		}
	}
	if dir, err := q.maker("amd64", NotPublished).publishedNode(t.Context()); err != nil || dir != "" {
		t.Errorf("what is to be compiled: %q, %v", dir, err)
	}
}

// TestPublishedNodeRefused: what isn't calico-node's image for the machines, as it is locked, isn't used.
func TestPublishedNodeRefused(t *testing.T) {
	q := newQuayLike(t)
	whole := q.layer
	for _, c := range []struct{ what, arch, sum, want string }{
		{"an architecture that isn't published", "riscv64", q.index, "linux/riscv64"},
		{"an image for another one", "amd64", q.other, "is for linux/s390x, and the machines are linux/amd64\n  what to do: put the digest there that the index"},
		{"a digest that isn't there", "amd64", strings.Repeat("0", 64), "has no calico/node@sha256:0000"},
		{"a digest with its algorithm", "amd64", "sha256:" + q.index, "without sha256: before it"},
		{"a digest that is cut off", "amd64", q.index[:63], "not 64 of the digits"},
		{"a layer that was changed", "amd64", q.index, "error verifying sha256"},
		{"a layer that is cut off", "amd64", q.index, "what to do: check that it can be reached"},
	} {
		q.layer = whole
		switch {
		case strings.HasSuffix(c.what, "was changed"):
			q.layer = func(w http.ResponseWriter, data []byte) {
				changed := bytes.Clone(data)
				changed[len(changed)-1] ^= 1
				whole(w, changed)
			}
		case strings.HasSuffix(c.what, "layer that is cut off"):
			q.layer = func(w http.ResponseWriter, data []byte) { whole(w, data[:len(data)/2]) }
		}
		m := q.maker(c.arch, c.sum)
		if _, err := m.publishedNode(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.what, err)
		}
		if left, err := filepath.Glob(filepath.Join(m.Store.Dir, "published-node-*")); err != nil || len(left) > 0 && !strings.Contains(left[0], ".lock") {
			t.Errorf("%s: left %v (%v)", c.what, left, err)
		}
	}
	for _, host := range []string{"http://" + os.Getenv(RegistryVariable), "mirror.example/quay"} {
		t.Setenv(RegistryVariable, host)
		if _, err := q.maker("amd64", q.index).publishedNode(t.Context()); err == nil || !strings.Contains(err.Error(), "name it as HOST or HOST:PORT") {
			t.Errorf("%s: %v", host, err)
		}
	}
	t.Setenv(RegistryVariable, "127.0.0.1:1")
	if _, err := q.maker("amd64", q.index).publishedNode(t.Context()); err == nil || !strings.Contains(err.Error(), RegistryVariable+"=HOST:PORT") {
		t.Errorf("a registry that isn't there: %v", err)
	}
}

// TestPublishedNodeInterrupted: who interrupts it in the middle of a layer has it by the next run.
func TestPublishedNodeInterrupted(t *testing.T) {
	q := newQuayLike(t)
	m := q.maker("amd64", q.index)
	ctx, cancel := context.WithCancel(t.Context())
	whole := q.layer
	q.layer = func(w http.ResponseWriter, data []byte) {
		whole(w, data[:len(data)/2])
		cancel()
	}
	if _, err := m.publishedNode(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	q.layer = whole
	if _, err := m.publishedNode(t.Context()); err != nil {
		t.Errorf("again: %v", err)
	}
}
