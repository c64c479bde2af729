package stage

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact/recorded"
)

// TestBroken: of everything that is wrong in a recorded lab, the report says the cause first.
func TestBroken(t *testing.T) {
	files, err := filepath.Glob("testdata/broken-*.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	// A dead machine can't be recorded, and an old network needs another lab.yaml.
	recorded := map[string]bool{"machine": true, "old-network": true}
	for _, file := range files {
		kind, _, _ := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(filepath.Base(file), "broken-"), ".json.gz"), "_")
		recorded[kind] = true
	}
	for _, c := range Conditions(envOf(t, recording(t, healthyFile), ""), All()) {
		if kind, _, _ := strings.Cut(c.ID, "/"); !recorded[kind] {
			t.Errorf("no recording of a lab in which %s doesn't hold", kind)
		}
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			if want, got := firstUnmet(t, file); got != want {
				t.Errorf("the first that doesn't hold is %q, not %s", got, want)
			}
		})
	}
}

// TestFirstUnmet: recordings are read as TestBroken needs them, also where what is broken hides what should be there.
func TestFirstUnmet(t *testing.T) {
	dir := t.TempDir()
	for name, do := range map[string]func(*fact.Lab){
		"broken-docker_calico1.json.gz":           at("calico1", noDocker),
		"broken-docker_etcd-node.json.gz":         at("etcd-node", noDocker),
		"broken-machine_calico2.json.gz":          unreachable("calico2"),
		"broken-machine_etcd-node.json.gz":        unreachable("etcd-node"),
		"broken-plugins_calico2.json.gz":          at("calico2", file("/opt/cni/bin/calico", fact.File{SHA256: "other", Mode: "755", Owner: "root:root"})),
		"broken-go_calico1.json.gz":               at("calico1", func(m *fact.Machine) { m.Go = fact.Known(fact.Tree{}) }),
		"broken-etcd-container_etcd-node.json.gz": at("etcd-node", func(m *fact.Machine) { m.Docker.Value.Containers = nil }),
		"broken-mesh.json.gz":                     func(f *fact.Lab) { f.Datastore.Value.BGP.MeshOff = true },
	} {
		f := recording(t, healthyFile)
		do(f)
		data, err := f.Write()
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		recorded.Write(t, path, data)
		if want, got := firstUnmet(t, path); got != want {
			t.Errorf("%s: the first that doesn't hold is %q, not %s", name, got, want)
		}
	}
	if want, got := firstUnmet(t, healthyFile); got != "" {
		t.Errorf("%s: %q doesn't hold", want, got)
	}
}
