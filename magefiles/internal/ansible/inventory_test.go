package ansible

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-version"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/pki"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
	"github.com/calico-cni-lab/lab/magefiles/internal/spec"
)

// testInventory is that of the project's lab.yaml: calico1 sees this computer's cache, calico2 doesn't.
func testInventory(t *testing.T) (*spec.Spec, Inventory) {
	t.Helper()
	return inventoryOf(t, Machine{Login: fact.Login{User: "admin", Group: "staff", Home: "/srv/admin"}, Lacks: []string{"jq"}})
}

func inventoryOf(t *testing.T, calico2 Machine) (*spec.Spec, Inventory) {
	t.Helper()
	l, err := lab.Load("../../../lab.yaml")
	if err != nil {
		t.Fatal(err)
	}
	v := version.Must(version.NewVersion("3.31.0"))
	s, err := spec.New(l, artifact.Pins{Calico: v, Etcd: v, Cnitool: v, Plugins: v}, spec.Artifacts{
		Calico: "/cache/calico-1", CNI: "/cache/cni-1", Toolchain: "/cache/go-1", GoFiles: 7,
		Sums:   map[string]map[string]string{"/cache/cni-1": {"loopback": "1", "cnitool": "2"}},
		Images: artifact.Images{Node: artifact.Image{Ref: "node:v3", ID: "sha256:1", Archive: "/cache/images-1/node.tar"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Certificates.Issued = map[string]pki.Pair{}
	for _, subject := range spec.Subjects(l) {
		s.Certificates.Issued[subject.Name] = pki.Pair{Cert: "/lab/pki/" + subject.Name + ".crt", Key: "/lab/pki/" + subject.Name + ".key"}
	}
	s.Certificates.CA = pki.Pair{Cert: "/lab/pki/ca.crt"}
	vagrant := fact.Login{User: "vagrant", Group: "vagrant", Home: "/home/vagrant"}
	inv, err := New(s, map[string]Machine{
		"etcd-node": {Login: vagrant},
		"calico1":   {Login: vagrant, Endpoint: remote.Endpoint{Shares: remote.Shares{{Here: "/cache", There: "/run/lab"}}}},
		"calico2":   calico2,
	}, "/my lab/.lab/ssh_config")
	if err != nil {
		t.Fatal(err)
	}
	return s, inv
}

func TestInventory(t *testing.T) {
	_, inv := testInventory(t)
	if diff := cmp.Diff([][]string{{"etcd-node"}, {"calico1", "calico2"}, {"etcd", "calico", "router"}}, [][]string{inv.Etcd.Hosts, inv.Calico.Hosts, inv.All.Children}); diff != "" {
		t.Error(diff)
	}
	vars := inv.All.Vars.(vars)
	if got, want := vars.SSHArgs, "-F '/my lab/.lab/ssh_config'"; got != want {
		t.Errorf("ssh's arguments are %s, not %s", got, want)
	}
	if etcd := inv.Meta.HostVars["etcd-node"].Etcd; etcd == nil || etcd.URL != "https://192.168.4.7:2379" || inv.Meta.HostVars["calico1"].Etcd != nil {
		t.Errorf("how etcd is asked: %+v", etcd)
	}
	if vars.Pool.Spec.CIDR != "10.1.0.0/16" {
		t.Errorf("variables of all machines: %+v", vars)
	}
	for name, want := range map[string]struct {
		there         bool
		lacks         []said
		archive, tool string
		cnitool       file
		dirs          []directory
	}{
		"calico1": {
			there: true, lacks: []said{}, archive: "/run/lab/images-1/node.tar", tool: "/run/lab/go-1/go.tar",
			cnitool: file{Path: "/home/vagrant/go/bin/cnitool", Mode: "0755", Owner: "vagrant", Group: "vagrant", Src: "/run/lab/cni-1/cnitool", There: true},
			dirs:    []directory{{Path: "/home/vagrant/go/bin", Owner: "vagrant", Group: "vagrant"}},
		},
		"calico2": {
			lacks: []said{"jq"}, archive: "/cache/images-1/node.tar", tool: "/cache/go-1/go.tar",
			cnitool: file{Path: "/srv/admin/go/bin/cnitool", Mode: "0755", Owner: "admin", Group: "staff", Src: "/cache/cni-1/cnitool"},
			dirs:    []directory{{Path: "/srv/admin/go/bin", Owner: "admin", Group: "staff"}},
		},
	} {
		v := inv.Meta.HostVars[name]
		tools := v.Files["cnitool"]
		if v.ArtifactsThere != want.there || v.Containers[0].Image.Archive != want.archive || v.Go.Tar != want.tool || v.Go.Files != 7 {
			t.Errorf("%s: %+v", name, v)
		}
		if diff := cmp.Diff(want.lacks, v.Lacks); diff != "" {
			t.Errorf("%s lacks: %s", name, diff)
		}
		if diff := cmp.Diff([]file{want.cnitool}, tools.Programs); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if diff := cmp.Diff(want.dirs, tools.Dirs); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if v.Cnitool != want.cnitool.Path {
			t.Errorf("%s: cnitool is %s", name, v.Cnitool)
		}
	}
	if v := inv.Meta.HostVars["etcd-node"]; v.Go != nil || v.Cnitool != "" || len(v.Files) != 2 || len(v.Containers) != 1 {
		t.Errorf("etcd-node: %+v", v)
	}
}

// TestOneTruth: every file and container of the spec gets to its machine, as the spec has it.
func TestOneTruth(t *testing.T) {
	s, inv := testInventory(t)
	for _, m := range s.Lab.Machines {
		v := inv.Meta.HostVars[m.Name]
		for i, c := range s.Containers(m) {
			if m.Role == lab.RoleEtcd {
				c = s.Founding(m)
			}
			if got := v.Containers[i]; !slices.Equal(got.Flags, c.Flags()) || got.Part != c.Part {
				t.Errorf("%s: container %+v is %+v", m.Name, c, got)
			}
		}
		want := len(s.CalicoctlFiles()) + len(s.CertificateFiles(m))
		if m.Role == lab.RoleCalico {
			want += len(s.GoFiles()) + len(s.PluginFiles()) + 1 + len(s.CnitoolFiles())
		}
		got := 0
		for _, f := range v.Files {
			got += len(f.Programs) + len(f.Rendered) + len(f.Links)
		}
		if got != want {
			t.Errorf("%s gets %d files, not %d", m.Name, got, want)
		}
	}
	// Keys are brought from their files: the inventory is printed.
	for _, f := range inv.Meta.HostVars["calico1"].Files[certificates].Programs {
		if f.Path == "/etc/calico/pki/calico-node/tls.key" && (f.Mode != "0600" || f.Src != "/lab/pki/calico-node.key" || f.There || f.Content != "") {
			t.Errorf("calico-node's key is %+v", f)
		}
	}
	rendered := inv.Meta.HostVars["calico1"].Files["cniPlugins"].Rendered
	if len(rendered) != 1 || rendered[0].Content != string(s.Conflist(s.Nodes()[0]).Content) || rendered[0].Mode != "0644" {
		t.Errorf("the conflist is %+v", rendered)
	}
}

// TestNoNull: in a playbook null has no filters.
func TestNoNull(t *testing.T) {
	_, inv := testInventory(t)
	data, err := json.Marshal(inv.Meta)
	if err != nil {
		t.Fatal(err)
	}
	var tree any
	if err := json.Unmarshal(data, &tree); err != nil {
		t.Fatal(err)
	}
	var walk func(at string, v any)
	walk = func(at string, v any) {
		switch v := v.(type) {
		case nil:
			t.Errorf("%s is null", at)
		case map[string]any:
			for k, one := range v {
				walk(at+"."+k, one)
			}
		case []any:
			for _, one := range v {
				walk(at+"[]", one)
			}
		}
	}
	walk("", tree)
}

// TestControlPath: OpenSSH keeps a connection for each machine of each lab, so that none is spoken to in the place of another.
func TestControlPath(t *testing.T) {
	paths := map[string]string{}
	for _, config := range []string{"/one/.lab/ssh_config", "/two/.lab/ssh_config"} {
		for _, machine := range []string{"etcd-node", "calico1", "calico2"} {
			at := controlPath(config, machine)
			if other, ok := paths[at]; ok {
				t.Errorf("%s of %s and %s share %s", machine, config, other, at)
			}
			paths[at] = machine + " of " + config
		}
	}
	_, inv := testInventory(t)
	for name, v := range inv.Meta.HostVars {
		if want := controlPath("/my lab/.lab/ssh_config", name); v.ControlPath != want {
			t.Errorf("%s is entered at %s, not at %s", name, v.ControlPath, want)
		}
	}
}

// TestEmptyGroup: a lab without a router has a group of them without hosts, as Ansible takes a group that says nothing for a host.
func TestEmptyGroup(t *testing.T) {
	_, inv := testInventory(t)
	data, err := json.Marshal(inv)
	if err != nil {
		t.Fatal(err)
	}
	var groups map[string]json.RawMessage
	if err := json.Unmarshal(data, &groups); err != nil {
		t.Fatal(err)
	}
	if got := string(groups["router"]); got != `{"hosts":[]}` {
		t.Errorf("routers: %s", got)
	}
}

func TestMissingMachine(t *testing.T) {
	s, _ := testInventory(t)
	if _, err := New(s, map[string]Machine{}, ""); err == nil {
		t.Error("an inventory without machines")
	}
}
