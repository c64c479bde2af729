//go:build linux

package e2e

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
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

// published: the lab runs on what a server and a registry have that are laid out as github.com and quay.io, instead of what is compiled, and
// then on what is compiled again. What they have was compiled here, and is marked.
func published(l *lab) {
	const mark = "published"
	dir := l.t.TempDir()
	cache, project := filepath.Join(dir, "cache"), filepath.Join(dir, "project")
	linkCache(l.t, cache)
	l.copyTo(project, nil)
	l.root = project
	m := &artifact.Maker{
		Store: &artifact.Store{Dir: cache, Run: &command.Runner{}}, Run: &command.Runner{}, Root: project, Arch: runtime.GOARCH,
		Debian: l.want.Versions.Debian, GoOnNode: l.want.Versions.Go.String(), Pins: l.pins, ImageLabel: fact.LabelImage,
	}
	defer m.Store.Release() //nolint:errcheck // it goes with the directory

	// marked are programs of a directory, by the names that they are to have.
	marked := func(get func(context.Context) (string, error), names map[string]string) map[string][]byte {
		dir, err := get(l.t.Context())
		if err != nil {
			l.t.Fatal(err)
		}
		programs := map[string][]byte{}
		for from, to := range names {
			data, err := os.ReadFile(filepath.Join(dir, from))
			if err != nil {
				l.t.Fatal(err)
			}
			programs[to] = append(data, mark...)
		}
		return programs
	}
	calicoctl := marked(m.Calico, map[string]string{"calicoctl": "calicoctl"})["calicoctl"]
	plugins := marked(m.CNI, map[string]string{"loopback": "./loopback", "portmap": "./portmap"})
	etcd := marked(m.Etcd, map[string]string{"server": "etcd-v/etcd", "etcdctl": "etcd-v/etcdctl"})
	files := map[string][]byte{m.CalicoctlURL(): calicoctl, m.PluginsURL(): packed(l, plugins), m.EtcdURL(): packed(l, etcd)}
	registry, digest := pushesNode(l, m, mark)
	sums := map[string]string{m.NodeImage(): digest}
	for file, data := range files {
		sums[file] = sum(data)
	}
	l.locks(sums)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write(files["https://github.com"+r.URL.Path])
	}))
	l.t.Cleanup(server.Close)
	l.env = append(l.env, "LAB_CACHE="+cache, artifact.ReleasesVariable+"="+server.URL, artifact.RegistryVariable+"="+registry)

	installed := []struct{ machine, cmd, want string }{
		{"calico1", "sudo sha256sum /usr/local/bin/calicoctl", sum(calicoctl)},
		{"calico1", "sudo sha256sum /opt/cni/bin/portmap", sum(plugins["./portmap"])},
		{"etcd-node", "sudo sha256sum /proc/$(pgrep -x etcd)/exe", sum(etcd["etcd-v/etcd"])},
		{"calico2", "sudo docker exec $(sudo docker ps --quiet --filter name=calico-release) ls /etc", mark},
	}
	back := l.change("\nversions:", "\nversions:\n  source: release")
	l.has(l.ok("verify"), "fetching calicoctl-linux-", "fetching cni-plugins-linux-", "fetching etcd-v", "fetching quay.io/calico/node:v")
	l.holds()
	for _, i := range installed {
		l.has(l.ssh(i.machine, i.cmd), i.want)
	}
	l.did(l.ok("verify"), true)
	back()
	l.ok("verify")
	l.holds()
	for _, i := range installed {
		if out := l.ssh(i.machine, i.cmd); strings.Contains(out, i.want) {
			l.t.Errorf("%s$ %s: still\n%s", i.machine, i.cmd, out)
		}
	}
}

func sum(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// packed are files as a tar.
func packed(l *lab, files map[string][]byte) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	for name, data := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(data))}); err != nil {
			l.t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			l.t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		l.t.Fatal(err)
	}
	return out.Bytes()
}

// pushesNode puts calico-node's image, with a file /etc/MARK more, into a registry: for two architectures, as in quay.io. It returns the
// registry and the digest, without "sha256:".
func pushesNode(l *lab, m *artifact.Maker, mark string) (host, digest string) {
	l.t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	l.t.Cleanup(server.Close)
	host = strings.TrimPrefix(server.URL, "http://")
	images, err := m.Images(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	tag, err := name.NewTag(images.Node.Ref)
	if err != nil {
		l.t.Fatal(err)
	}
	own, err := tarball.ImageFromPath(images.Node.Archive, &tag)
	if err != nil {
		l.t.Fatal(err)
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	if err := errors.Join(w.WriteHeader(&tar.Header{Name: "etc/" + mark, Mode: 0o644}), w.Close()); err != nil {
		l.t.Fatal(err)
	}
	more, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer.Bytes())), nil })
	if err != nil {
		l.t.Fatal(err)
	}
	img, err := mutate.AppendLayers(own, more)
	if err != nil {
		l.t.Fatal(err)
	}
	index := v1.ImageIndex(empty.Index)
	for arch, img := range map[string]v1.Image{m.Arch: img, "s390x": empty.Image} {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
	}
	ref, err := name.ParseReference(host + "/calico/node:v" + m.Pins.Calico.String())
	if err != nil {
		l.t.Fatal(err)
	}
	if err := remote.WriteIndex(ref, index); err != nil {
		l.t.Fatal(err)
	}
	is, err := index.Digest()
	if err != nil {
		l.t.Fatal(err)
	}
	return host, is.Hex
}

// locks writes the checkout's list of what is published.
func (l *lab) locks(sums map[string]string) {
	l.t.Helper()
	text := ""
	for name, sum := range sums {
		text += fmt.Sprintf("%s  %s\n", sum, name)
	}
	if err := os.WriteFile(filepath.Join(l.root, artifact.PublishedFile), []byte(text), 0o644); err != nil {
		l.t.Fatal(err)
	}
}
