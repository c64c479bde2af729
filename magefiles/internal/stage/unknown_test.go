package stage

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

// unmetKinds are the kinds of the conditions that don't hold, each with its states.
func unmetKinds(e *Env, f *fact.Lab) []string {
	var all []string
	r := results(e, f)
	for _, res := range r.Unmet() {
		kind, _, _ := strings.Cut(res.ID, "/")
		all = append(all, fmt.Sprint(kind, " ", res.State))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// forget makes a fact of a machine unknown, by its field's name; ok is false where there is none of that name.
func forget(m *fact.Machine, field string) (ok bool) {
	v := reflect.ValueOf(m).Elem().FieldByName(field)
	if !v.IsValid() || v.Kind() != reflect.Struct || !v.FieldByName("Unknown").IsValid() {
		return false
	}
	v.SetZero()
	v.FieldByName("Unknown").SetString("it can't be seen")
	return true
}

// TestUnknown: a fact that couldn't be looked at makes conditions unknown, never broken, but for those that say that it can be
// seen; and never lets one hold that is about it.
func TestUnknown(t *testing.T) {
	unknown := func(kinds ...string) (all []string) {
		for _, k := range kinds {
			all = append(all, k+" "+string(check.Unknown))
		}
		return all
	}
	want := map[string][]string{
		"Mark":        nil, // of machines that existed before the lab, as the next two: TestMark, TestForeignUnknown
		"Rivals":      nil,
		"Listeners":   nil,
		"Links":       unknown("link", "attachment"),
		"Routes":      unknown("default-route", "routes", "endpoint"),
		"Neighbours":  nil, // nothing depends on them
		"Forwarding":  unknown("forwarding"),
		"Docker":      append(unknown("etcd-container", "calico-node", "workload", "attachment", "address", "endpoint"), "docker broken"),
		"BIRD":        append(unknown("bgp", "routes"), "bird broken"),
		"Felix":       unknown("felix"),
		"MTU":         unknown("attachment"),
		"Etcd":        unknown("etcd"),
		"Auth":        unknown("etcd-auth"),
		"Dialled":     unknown("datastore"),
		"Dropping":    nil, // TestDropped
		"Members":     nil, // of a single one nobody asks; TestMembers
		"Files":       unknown("etcd-certificates", "certificates", "calicoctl", "go-path", "plugins", "conflist", "cnitool", "old-network"),
		"Go":          unknown("go"),
		"Owned":       unknown("old-network"),
		"Attachments": unknown("attachment", "address", "endpoint"),
		"Sandboxes":   unknown("attachment", "address", "endpoint"),
		"Datastore":   nil, // observe has put it where the whole lab's is
		"Deep":        nil, // only a baseline and explanations need it
	}
	typ := reflect.TypeFor[fact.Machine]()
	for i := range typ.NumField() {
		field := typ.Field(i).Name
		if !forget(&fact.Machine{}, field) {
			continue // a plain field is always known
		}
		if _, ok := want[field]; !ok {
			t.Errorf("this test doesn't know %s", field)
		}
		f := recording(t, healthyFile)
		e := envOf(t, f, "")
		for name, m := range f.Machines {
			forget(&m, field)
			f.Machines[name] = m
		}
		// What depends on an address that can't be known then isn't asked here: the probes stay as they were.
		got := slices.DeleteFunc(unmetKinds(e, f), func(k string) bool { return strings.HasPrefix(k, "reach ") })
		slices.Sort(want[field])
		if diff := cmp.Diff(want[field], got, cmp.Transformer("nil", func(s []string) string { return strings.Join(s, ", ") })); diff != "" {
			t.Errorf("%s is unknown (-want +got):\n%s", field, diff)
		}
	}
	f := recording(t, healthyFile)
	e := envOf(t, f, "")
	f.Datastore = fact.Unknown[fact.Datastore]("it can't be seen")
	wanted := unknown("address", "calico-release", "mesh", "node", "pool", "reflectors", "routes")
	if diff := cmp.Diff(wanted, unmetKinds(e, f)); diff != "" {
		t.Errorf("the datastore is unknown (-want +got):\n%s", diff)
	}
}

// TestAllUnknown: where nothing could be looked at, nothing but the look is broken.
func TestAllUnknown(t *testing.T) {
	healthy := recording(t, healthyFile)
	e := envOf(t, healthy, "")
	for name, f := range map[string]*fact.Lab{
		"nothing was looked at": {Datastore: fact.Unknown[fact.Datastore](fact.NotAsked), Probes: map[string]fact.Seen[[]fact.Probe]{}},
		"empty machines": {
			Machines:  map[string]fact.Machine{"etcd-node": blind(), "calico1": blind(), "calico2": blind()},
			Datastore: fact.Unknown[fact.Datastore](fact.NotAsked), Probes: map[string]fact.Seen[[]fact.Probe]{},
		},
	} {
		for _, res := range results(e, f).Results {
			kind, _, _ := strings.Cut(res.ID, "/")
			if broken := res.State == check.Broken; broken != (len(f.Machines) > 0 && (kind == "docker" || kind == "bird")) {
				t.Errorf("%s: %s is %s: %s", name, res.ID, res.State, res.Found)
			}
			if res.State == check.Holds && kind != "machine" && kind != "packages" {
				t.Errorf("%s: %s holds: %s", name, res.ID, res.Found)
			}
		}
	}
}

// blind is a machine that answers, and of which nothing could be seen.
func blind() fact.Machine {
	var m fact.Machine
	for i := range reflect.TypeFor[fact.Machine]().NumField() {
		forget(&m, reflect.TypeFor[fact.Machine]().Field(i).Name)
	}
	return m
}

// TestReasonOnce: what is unknown for one reason says it once.
func TestReasonOnce(t *testing.T) {
	f := recording(t, healthyFile)
	e := envOf(t, f, "")
	at("calico1", noDocker)(f)
	r := results(e, f)
	for _, res := range r.Unmet() {
		if strings.Count(res.Found, "connection refused") > 1 {
			t.Errorf("%s: %s", res.ID, res.Found)
		}
	}
}
