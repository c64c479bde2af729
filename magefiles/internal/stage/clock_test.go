package stage

import (
	"slices"
	"testing"
	"time"
)

// TestClocks: a machine whose clock is a day ahead, or behind, is as good as any other: times are only compared with those of the same
// machine. Containers share their computer's clock, so no lab of theirs can try it.
func TestClocks(t *testing.T) {
	for _, name := range []string{"etcd-node", "calico1", "calico2"} {
		for _, off := range []time.Duration{24 * time.Hour, -24 * time.Hour} {
			f := recording(t, healthyFile)
			f.DatastoreAt = f.Machines["etcd-node"].At
			m := f.Machines[name]
			m.At = m.At.Add(off)
			m.Docker.Value.Containers = slices.Clone(m.Docker.Value.Containers)
			for i, c := range m.Docker.Value.Containers {
				started, err := time.Parse(time.RFC3339Nano, c.State.StartedAt)
				if err != nil {
					t.Fatal(err)
				}
				m.Docker.Value.Containers[i].State.StartedAt = started.Add(off).Format(time.RFC3339Nano)
			}
			f.Machines[name] = m
			if name == "etcd-node" {
				f.DatastoreAt = f.DatastoreAt.Add(off)
				f.Datastore.Value.Nodes = slices.Clone(f.Datastore.Value.Nodes)
				for i := range f.Datastore.Value.Nodes { // which were registered there
					f.Datastore.Value.Nodes[i].Created = f.Datastore.Value.Nodes[i].Created.Add(off)
				}
			}
			r := results(envOf(t, f, ""), f)
			for _, u := range r.Unmet() {
				t.Errorf("%s is %s off, and %s doesn't hold: %s", name, off, u.ID, u.Found)
			}
			if len(r.Results) == 0 {
				t.Error("nothing was looked at")
			}
		}
	}
}
