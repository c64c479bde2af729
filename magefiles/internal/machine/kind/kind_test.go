package kind

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
)

func TestFind(t *testing.T) {
	for _, k := range All() {
		got, err := Find(k.Name)
		if err != nil || got.Name != k.Name || got.New == nil || got.Chosen == nil {
			t.Errorf("%s: %v, or no New, or no Chosen", k.Name, err)
			continue
		}
		if p := got.New(machine.Options{StateDir: t.TempDir()}); p.Name() != k.Name {
			t.Errorf("the provider of %s is called %s", k.Name, p.Name())
		}
	}
	for name, want := range map[string]string{"hosts": "LAB_HARDWARE=ssh", "": names(), "embedded": names()} {
		if _, err := Find(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: no %q in %v", name, want, err)
		}
	}
}

// names are what LAB_HARDWARE may be, as an error lists them.
func names() string {
	all := ""
	for _, k := range All() {
		all += k.Name + ", "
	}
	return all + Auto
}

// TestChoose: what a lab is on, by what somebody asked for, what is there, and what lab.yaml says.
func TestChoose(t *testing.T) {
	own := &lab.Lab{Machines: []lab.Machine{{Name: "calico1"}}}
	others := &lab.Lab{Machines: []lab.Machine{{Name: "calico1", SSH: lab.SSH{User: "netadmin"}}}}
	for _, c := range []struct {
		name           string
		asked          string
		plan           string // the kind that the lab was made by
		virtual        bool   // Vagrant's machines exist
		lab            *lab.Lab
		want, why, bad string
	}{
		{name: "a new lab", lab: own, want: "nspawn", why: "default"},
		{name: "auto", asked: "auto", lab: own, want: "nspawn", why: "default"},
		{name: "machines that exist", lab: others, want: "ssh", why: "lab.yaml says how to log in"},
		{name: "machines that exist, beside Vagrant's", lab: others, virtual: true, want: "ssh", why: "lab.yaml"},
		{name: "Vagrant's exist", lab: own, virtual: true, want: "vagrant", why: "exist already"},
		{name: "a plan", plan: "nspawn", lab: others, virtual: true, want: "nspawn", why: "uses it already"},
		{name: "a plan, auto", asked: "auto", plan: "vagrant", lab: own, want: "vagrant", why: "uses it already"},
		{name: "a plan, lab.yaml is broken", plan: "ssh", want: "ssh", why: "uses it already"},
		{name: "no plan, lab.yaml is broken", want: "nspawn", why: "default"},
		{name: "no plan, lab.yaml is broken, Vagrant's exist", virtual: true, want: "vagrant", why: "exist already"},
		{name: "asked", asked: "vagrant", lab: own, want: "vagrant", why: "LAB_HARDWARE"},
		{name: "asked against all", asked: "nspawn", plan: "vagrant", virtual: true, lab: others, want: "nspawn", why: "LAB_HARDWARE"},
		{name: "asked for the old name", asked: "hosts", lab: others, bad: "called ssh now"},
		{name: "asked for nonsense", asked: "vargant", lab: own, bad: `"vargant"; LAB_HARDWARE is one of ` + names()},
		{name: "a plan of the future", plan: "qemu", lab: own, bad: "another version"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := machine.Options{Lab: c.lab, StateDir: filepath.Join(t.TempDir(), ".lab"), Plan: machine.Plan{Hardware: c.plan}}
			if c.virtual {
				id := filepath.Join(filepath.Dir(o.StateDir), ".vagrant", "machines", "calico1", "libvirt", "id")
				if err := os.MkdirAll(filepath.Dir(id), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(id, nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			kinds := All()
			for i := range kinds {
				if kinds[i].Name == "nspawn" { // on whatever computer, for whomever
					kinds[i].Chosen = func(context.Context, machine.Options) (string, bool) { return "the default", true }
				}
			}
			k, why, err := choose(t.Context(), kinds, c.asked, o)
			switch {
			case c.bad != "":
				if err == nil || !strings.Contains(err.Error(), c.bad) {
					t.Errorf("no %q in %v", c.bad, err)
				}
			case err != nil || k.Name != c.want || !strings.Contains(why, c.why):
				t.Errorf("%s (%s), %v; expected %s (... %s ...)", k.Name, why, err, c.want, c.why)
			}
		})
	}
}

// TestChooseNone: every kind says why not.
func TestChooseNone(t *testing.T) {
	no := func(context.Context, machine.Options) (string, bool) { return "not here", false }
	_, _, err := choose(t.Context(), []machine.Kind{{Name: "a", Chosen: no}, {Name: "b", Chosen: no}}, "", machine.Options{})
	if err == nil || !strings.Contains(err.Error(), "a: not here\n  b: not here") {
		t.Error(err)
	}
}

// TestChooseOtherwise: a kind that is sure comes before one that may be tried, wherever it stands.
func TestChooseOtherwise(t *testing.T) {
	says := func(reason string, ok bool) func(context.Context, machine.Options) (string, bool) {
		return func(context.Context, machine.Options) (string, bool) { return reason, ok }
	}
	perhaps := machine.Kind{Name: "nspawn", Chosen: says("not known", false), Otherwise: says("to be tried", true)}
	for _, c := range []struct {
		docker    bool
		want, why string
	}{{true, "docker", "a daemon"}, {false, "nspawn", "to be tried"}} {
		k, why, err := choose(t.Context(), []machine.Kind{perhaps, {Name: "docker", Chosen: says("a daemon", c.docker)}}, Auto, machine.Options{})
		if k.Name != c.want || why != c.why || err != nil {
			t.Errorf("docker %t: %s (%s), %v", c.docker, k.Name, why, err)
		}
	}
}

// TestCapabilities: what code outside of the hardware layer decides by.
func TestCapabilities(t *testing.T) {
	of := map[string]machine.Capabilities{}
	for _, k := range All() {
		of[k.Name] = k.New(machine.Options{StateDir: filepath.Join(t.TempDir(), ".lab")}).Capabilities()
	}
	if c := of["nspawn"]; c != (machine.Capabilities{RepairsNetwork: true}) {
		t.Errorf("nspawn: %+v", c)
	}
	if c := of["ssh"]; !c.Undo || c.RepairsNetwork {
		t.Errorf("ssh: %+v", c)
	}
	if names := slices.Sorted(func(yield func(string) bool) {
		for name, c := range of {
			if c.Undo && !yield(name) {
				return
			}
		}
	}); !slices.Equal(names, []string{"ssh"}) {
		t.Errorf("these outlive the lab: %v", names)
	}
}
