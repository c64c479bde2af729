//go:build linux

package main

import (
	"net"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

// daemon answers at a socket as Docker Engine does, by path.
func daemon(t *testing.T, answers map[string]string) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "docker.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a, ok := answers[r.URL.Path]; ok {
			w.Write([]byte(a)) //nolint:errcheck // the test sees what is missing
			return
		}
		http.NotFound(w, r)
	})}
	go s.Serve(l) //nolint:errcheck // it ends with the test
	t.Cleanup(func() { s.Close() })
	return socket
}

// TestDockerStores: what an image's ID is differs from store to store, its label doesn't. The answers are those of Debian's Docker
// Engine 26.1 on its two kinds of stores, after `docker load` of the same archive, shortened.
func TestDockerStores(t *testing.T) {
	for name, images := range map[string]string{
		"overlay2": `[{"Containers":-1,"Created":0,"Id":"sha256:c0f1","Labels":{"calico-cni-lab.image":"sha256:c0de"},"ParentId":"","RepoDigests":[],"RepoTags":["calico-cni-lab/etcd:v3.6.16"],"SharedSize":-1,"Size":1},
			{"Id":"sha256:1234","Labels":null,"RepoDigests":["debian@sha256:5678"],"RepoTags":["debian:bookworm","debian:12"]},{"Id":"sha256:9abc","Labels":{},"RepoTags":null}]`,
		"containerd": `[{"Containers":0,"Created":0,"Id":"sha256:d16e","Labels":{"calico-cni-lab.image":"sha256:c0de"},"ParentId":"","RepoDigests":["calico-cni-lab/etcd@sha256:d16e"],"RepoTags":["calico-cni-lab/etcd:v3.6.16"],"SharedSize":-1,"Size":2},
			{"Id":"sha256:5678","Labels":null,"RepoDigests":["debian@sha256:5678"],"RepoTags":["debian:bookworm","debian:12"]}]`,
	} {
		d := docker(daemon(t, map[string]string{
			"/version": `{"Version":"26.1.5+dfsg1"}`, "/containers/json": `[{"Id":"c1"},{"Id":"gone"}]`, "/images/json": images,
			"/containers/c1/json": `{"Id":"c1","Name":"/etcd","State":{"Status":"exited"},"Config":{"Labels":{"calico-cni-lab.part":"etcd"}},"HostConfig":{},"NetworkSettings":{}}`,
			"/volumes":            `{"Volumes":[{"Driver":"local","Labels":{"calico-cni-lab.part":"etcd"},"Name":"calico-cni-lab-etcd","Scope":"local"},{"Labels":null,"Name":"data"}],"Warnings":null}`,
		}), 1)
		if d.Unknown != "" {
			t.Fatalf("%s: %s", name, d.Unknown)
		}
		want := map[string]string{"calico-cni-lab/etcd:v3.6.16": "sha256:c0de", "debian:bookworm": "", "debian:12": ""}
		if diff := cmp.Diff(want, d.Value.Images); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if len(d.Value.Part(fact.PartEtcd)) != 1 || len(d.Value.Containers) != 1 {
			t.Errorf("%s: containers %+v", name, d.Value.Containers)
		}
		volumes := []fact.Volume{{Name: "calico-cni-lab-etcd", Labels: map[string]string{fact.LabelPart: fact.PartEtcd}}, {Name: "data"}}
		if diff := cmp.Diff(volumes, d.Value.Volumes); diff != "" {
			t.Errorf("%s: volumes (-want +got):\n%s", name, diff)
		}
	}
	if d := docker(filepath.Join(t.TempDir(), "none"), 1); d.Unknown == "" {
		t.Errorf("no Docker: %+v", d)
	}
}
