package pins

import (
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
)

// TestDebianImage asks a real registry, which has tags as Docker Hub has them.
func TestDebianImage(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	repository := strings.TrimPrefix(server.URL, "http://") + "/library/debian"
	index, err := random.Index(8, 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	for _, tag := range []string{
		"bookworm-20261005-slim", "bookworm-20261109-slim", "bookworm-20261109", "bookworm-20261116", "bookworm-slim", "bookworm-20269999-slim",
		"bookworm-backports-20261116-slim", "trixie-20261116-slim", "12.12-slim", "latest",
	} {
		ref, err := name.NewTag(repository + ":" + tag)
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.WriteIndex(ref, index); err != nil {
			t.Fatal(err)
		}
	}
	b := project(t)
	file := filepath.Join(b.Root, artifact.DebianImageFile)
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(before), "FROM debian:", "FROM "+repository+":", 1)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	p, err := b.Find("debian-image")
	if err != nil {
		t.Fatal(err)
	}
	if o := p.look(t.Context()); o.Err != nil || Text(o.Newest) != "20261109" || !o.Newest.GreaterThan(o.Have) {
		t.Errorf("newest %v, pinned %v, %v", o.Newest, o.Have, o.Err)
	}
	if err := b.Bump(t.Context(), "debian-image", "20261108"); err == nil || !strings.Contains(err.Error(), "bookworm-20261108-slim") {
		t.Errorf("a day without one: %v", err)
	}
	if err := b.Bump(t.Context(), "debian-image", "20261109"); err != nil {
		t.Fatal(err)
	}
	digest, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	line := strings.LastIndex(text, "FROM ")
	if diff := cmp.Diff(text[:line]+"FROM "+repository+":bookworm-20261109-slim@"+digest.String()+"\n", string(after)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	server.Close()
	if o := p.look(t.Context()); o.Err == nil || !strings.Contains(o.Err.Error(), repository+" can't be reached") {
		t.Errorf("without a registry: %v", o.Err)
	}
}
