package lab

import (
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/calico-cni-lab/lab/magefiles/internal/lab/labtest"
)

// pair writes a lab file and, in the directory above, the one that it extends; it returns the first.
func pair(t *testing.T, own, under string) string {
	t.Helper()
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.Mkdir("labs", 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"labs/own.yaml": own, "lab.yaml": under} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return "labs/own.yaml"
}

// TestExtends: single values and lists are the file's own, keys below a key may be of both; a key without a value says nothing.
func TestExtends(t *testing.T) {
	file := pair(t, `extends: ../lab.yaml
name: own
pool: {vxlanMode: Always, natOutgoing: false, name: }
bgp: {reflectors: []}
machines:
  - {name: etcd1, role: etcd, address: 192.168.4.7}
  - {name: calico, role: calico, count: 3, address: 192.168.4.11}
`, strings.Replace(labtest.Base, "mesh: false", "mesh: true", 1))
	l, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	if want := (Pool{Name: "p", CIDR: netip.MustParsePrefix("10.1.0.0/16"), BlockSize: 26, IPIPMode: "Never", VXLANMode: VXLANAlways}); l.Pool != want {
		t.Errorf("pool %+v, not %+v", l.Pool, want)
	}
	if got := strings.Join(l.Names(), " "); got != "etcd1 calico1 calico2 calico3" || l.Name != "own" || len(l.BGP.Reflectors) > 0 || l.BGP.AS != 64513 || l.Vagrant.Box != "a/b" {
		t.Errorf("machines %s, lab %+v", got, l)
	}
	if diff := cmp.Diff([]string{"labs/own.yaml", "lab.yaml"}, l.Files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	whole, err := Whole(file)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse("elsewhere.yaml", whole)
	if err != nil {
		t.Fatalf("%v in\n%s", err, whole)
	}
	again.Files = l.Files
	if diff := cmp.Diff(l, again, cmpopts.EquateComparable(l.Subnet, l.Gateway()), sameVersion, sameConstraints); diff != "" {
		t.Errorf("written as one it is another lab (-two +one):\n%s\n%s", diff, whole)
	}
}

// TestExtendsFaults: each fault is found in the file that has it.
func TestExtendsFaults(t *testing.T) {
	under := strings.Replace(labtest.Base, "blockSize: 26", "blocksize: 26", 1)
	for _, tt := range []struct{ name, own, under, want string }{
		{"both", "extends: ../lab.yaml\nname: Own\nmachines:\n- {name: a, role: etcd, address: 192.168.4.7}\n- {name: a, role: calico, address: 192.168.4.8}\n", under,
			`labs/own.yaml can't be used; nothing was changed
  labs/own.yaml:2: name "Own": only lower-case letters, digits and hyphens, and none of those at an end
  labs/own.yaml:4: machines: there are 1 with role calico; routing between machines needs two
  labs/own.yaml:5: machine "a": duplicate of line 4
  lab.yaml:10: bgp.reflectors: there is no machine "calico1"; there are a
  lab.yaml:10: bgp.reflectors: there is no machine "more2"; there are a
  lab.yaml:11: unknown key "pool.blocksize"; did you mean "blockSize"?
  lab.yaml:11: pool.blockSize is missing`},
		{"what is the other's", "# nothing but this\n\nextends: ../lab.yaml\nunderlay: {subnet: 10.1.0.0/24}\n", labtest.Base, "  lab.yaml:11: pool.cidr 10.1.0.0/16 overlaps 10.1.0.0/24, the underlay"},
		{"no file", "name: own\nextends: lab.yaml\n", labtest.Base, "  labs/own.yaml:2: extends: there is no file labs/lab.yaml; paths start at the file that names them"},
		{"a directory", "extends: ..\n", labtest.Base, "  labs/own.yaml:1: extends: . is no file"},
		{"a list", "extends: [../lab.yaml]\n", labtest.Base, "  labs/own.yaml:1: extends: expected a single value"},
		{"three", "extends: ../lab.yaml\n", "extends: labs/own.yaml\n" + labtest.Base, "  lab.yaml:1: extends: a file that another one extends, as labs/own.yaml does, can't extend a third"},
		{"itself", "name: own\nextends: own.yaml\n", labtest.Base, "  labs/own.yaml:2: extends: a file that another one extends"},
		{"not YAML", "extends: ../lab.yaml\n", "name: lab\n\tno: tabs\n", "labs/own.yaml can't be used; nothing was changed\n  lab.yaml:2: found a tab character that violates indentation\n"},
		{"empty", "extends: ../lab.yaml\n", "", "  lab.yaml:1: the file is empty"},
		{"other text", "extends: no\n", labtest.Base, `  labs/own.yaml:1: extends: YAML may take no for something else than text; write "no"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := pair(t, tt.own, tt.under)
			if _, err := Load(file); err == nil || !strings.Contains(err.Error()+"\n", tt.want) {
				t.Errorf("want\n%s\ngot\n%v", tt.want, err)
			}
		})
	}
}

// TestLabs: the lab files of labs/ are valid, to editors too; they say only what differs from lab.yaml, and can be there beside each other.
func TestLabs(t *testing.T) {
	const root = "../../.."
	files, err := filepath.Glob(filepath.Join(root, "labs", "*.yaml"))
	if err != nil || len(files) < 3 {
		t.Fatal(files, err)
	}
	ours, err := Load(filepath.Join(root, "lab.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	names, subnets := map[string]string{ours.Name: "lab.yaml"}, map[string]string{ours.Subnet.String(): "lab.yaml"}
	schema, nodes := compiledSchema(t), map[string]int{}
	for _, file := range files {
		l, err := Load(file)
		if err != nil {
			t.Error(err)
			continue
		}
		base := filepath.Base(file)
		if names[l.Name] != "" || subnets[l.Subnet.String()] != "" {
			t.Errorf("%s has the name of %q, and the subnet of %q", base, names[l.Name], subnets[l.Subnet.String()])
		}
		names[l.Name], subnets[l.Subnet.String()], nodes[base] = base, base, len(l.ByRole(RoleCalico))
		if l.Versions.Debian != ours.Versions.Debian || !l.Versions.Go.Equal(ours.Versions.Go) || len(l.Files) != 2 {
			t.Errorf("%s has pins of its own: %+v", base, l.Versions)
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := bySchema(t, schema, data); err != nil {
			t.Errorf("%s: %v", base, err)
		}
	}
	for file, want := range map[string]int{"three-nodes.yaml": 3, "reflectors.yaml": 4, "fifty.yaml": 50} {
		if nodes[file] != want {
			t.Errorf("%s: %d nodes, not %d, of %v", file, nodes[file], want, slices.Sorted(maps.Keys(nodes)))
		}
	}
}

// TestVagrantfileExtends: the Vagrantfile's Ruby makes the same machines of them.
func TestVagrantfileExtends(t *testing.T) {
	files, err := filepath.Glob("../../../labs/*.yaml")
	if err != nil || len(files) < 3 {
		t.Fatal(files, err)
	}
	ruby := newRuby(t)
	for _, file := range files {
		l, err := Load(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(vagrantSees(l), ruby.readsFile(t, file)); diff != "" {
			t.Errorf("%s (-lab.yaml +Vagrantfile):\n%s", file, diff)
		}
	}
}
