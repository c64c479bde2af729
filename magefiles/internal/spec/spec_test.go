package spec

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/hashicorp/go-version"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/pki"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares what was made with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := "testdata/" + name + ".golden"
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// labFile is a lab.yaml: its name, the first three bytes of its addresses, its network, its pool's name.
const labFile = `
name: %[1]s
underlay: {subnet: %[2]s.0/24}
machines:
  - {name: etcd-node, role: etcd, address: %[2]s.7}
  - {name: calico1, role: calico, address: %[2]s.5}
  - {name: calico2, role: calico, address: %[2]s.6}
network: %[3]s
pool: {name: %[4]s, cidr: 10.1.0.0/16, blockSize: 26, ipipMode: Never, natOutgoing: true, disabled: false}
versions: {debian: bookworm, go: 1.26.11}
`

// newSpec returns the spec of a lab whose artifacts are made up.
func newSpec(t *testing.T, values ...any) *Spec {
	t.Helper()
	return specOf(t, fmt.Sprintf(labFile, values...))
}

func specOf(t *testing.T, labYAML string) *Spec {
	t.Helper()
	l, err := lab.Parse("lab.yaml", []byte(labYAML))
	if err != nil {
		t.Fatal(err)
	}
	v := func(s string) *version.Version { return version.Must(version.NewVersion(s)) }
	s, err := New(l, artifact.Pins{Calico: v("3.31.0"), Etcd: v("3.6.16"), Cnitool: v("1.3.1"), Plugins: v("1.9.1")}, Artifacts{
		Calico: "/cache/calico", CNI: "/cache/cni", Toolchain: "/cache/go",
		Sums: map[string]map[string]string{
			"/cache/calico": {"calico": "sum of calico", "calicoctl": "sum of calicoctl"},
			"/cache/cni":    {"cnitool": "sum of cnitool", "portmap": "sum of portmap", "bridge": "sum of bridge"},
		},
		Images: artifact.Images{
			Etcd: artifact.Image{Ref: "lab/etcd:v3.6.16", ID: "sha256:e"}, Node: artifact.Image{Ref: "lab/node:v3.31.0", ID: "sha256:c"},
			Workload: artifact.Image{Ref: "lab/workload:bookworm", ID: "sha256:w"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Certificates.CA = pki.Pair{Cert: "/lab/pki/ca.crt", CertSum: "sum of ca"}
	s.Certificates.Issued = map[string]pki.Pair{}
	for _, subject := range Subjects(l) {
		file := "/lab/pki/" + subject.Name
		s.Certificates.Issued[subject.Name] = pki.Pair{Cert: file + ".crt", Key: file + ".key", CertSum: "sum of " + subject.Name, KeySum: "sum of its key"}
	}
	return s
}

func tutorial(t *testing.T) *Spec {
	return newSpec(t, "lab", "192.168.4", "test-calico", "my.ippool-1")
}

// TestDigest: each of these changes of lab.yaml makes another lab, and certificates that are issued anew don't.
func TestDigest(t *testing.T) {
	text := fmt.Sprintf(labFile, "lab", "192.168.4", "test-calico", "my.ippool-1")
	of := map[string]string{specOf(t, text).Digest(): "the lab itself"}
	for _, c := range [][2]string{
		{"calico2", "calico3"}, {"192.168.4.6", "192.168.4.8"}, {"address: 192.168.4.6", "address: 192.168.4.6, workloads: {count: 2}"},
		{"address: 192.168.4.6", "address: 192.168.4.6, workloads: {labels: {app: web}}"},
		{"network: ", "bgp: {reflectors: [calico1]}\nnetwork: "}, {"network: ", "bgp: {reflectors: [calico1], mesh: true}\nnetwork: "}, {"network: ", "bgp: {asNumber: 65001}\nnetwork: "},
		{"test-calico", "other"}, {"my.ippool-1", "other"}, {"10.1.0.0/16", "10.2.0.0/16"}, {"blockSize: 26", "blockSize: 28"},
		{"ipipMode: Never", "ipipMode: Never, vxlanMode: Always"}, {"natOutgoing: true", "natOutgoing: false"}, {"go: 1.26.11", "go: 1.26.10"},
	} {
		other := strings.Replace(text, c[0], c[1], 1)
		if other == text {
			t.Fatalf("lab.yaml has no %q", c[0])
		}
		digest := specOf(t, other).Digest()
		if same, ok := of[digest]; ok {
			t.Errorf("%q is the same lab as %s", c[1], same)
		}
		of[digest] = c[1]
	}
	s := specOf(t, text)
	s.Certificates.CA.CertSum = "sum of another"
	if of[s.Digest()] != "the lab itself" {
		t.Error("a certificate makes another lab")
	}
}

func node(t *testing.T, s *Spec) lab.Machine {
	t.Helper()
	m, ok := s.Lab.Machine("calico1")
	if !ok {
		t.Fatal("no calico1")
	}
	return m
}

func describe(files []remote.File) string {
	var b strings.Builder
	for _, f := range files {
		switch {
		case f.Link != "":
			fmt.Fprintf(&b, "%s -> %s\n", f.Path, f.Link)
		case f.Source != "":
			fmt.Fprintf(&b, "%s %o %q from %s, %s\n", f.Path, f.Mode, f.Owner, f.Source, f.SHA256)
		default:
			fmt.Fprintf(&b, "%s %o %q:\n%s", f.Path, f.Mode, f.Owner, f.Content)
		}
	}
	return b.String()
}

// TestFiles: every file that goes onto a machine, with what is in those that are rendered.
func TestFiles(t *testing.T) {
	s := tutorial(t)
	var b strings.Builder
	for _, part := range []struct {
		name  string
		files []remote.File
	}{
		{"CalicoctlFiles", s.CalicoctlFiles()}, {"GoFiles", s.GoFiles()}, {"PluginFiles", s.PluginFiles()},
		{"Conflist", []remote.File{s.Conflist(s.Nodes()[0])}}, {"CnitoolFiles", s.CnitoolFiles()},
		{"CertificateFiles of etcd's machine", s.CertificateFiles(s.Lab.Etcd())}, {"CertificateFiles of a node", s.CertificateFiles(node(t, s))},
	} {
		fmt.Fprintf(&b, "== %s\n%s", part.name, describe(part.files))
	}
	golden(t, "files", b.String())
}

// TestCommon: what a provider puts on a machine before lab.yaml is its own stays right when lab.yaml changes.
func TestCommon(t *testing.T) {
	one, other := tutorial(t), newSpec(t, "other", "10.9.8", "net", "pool")
	for _, role := range []lab.Role{lab.RoleEtcd, lab.RoleCalico} {
		if diff := cmp.Diff(describe(one.Common(role)), describe(other.Common(role))); diff != "" {
			t.Errorf("%s: depends on lab.yaml:\n%s", role, diff)
		}
	}
	var paths []string
	for _, f := range one.Common(lab.RoleEtcd) {
		paths = append(paths, f.Path)
	}
	if diff := cmp.Diff([]string{Calicoctl}, paths); diff != "" {
		t.Errorf("on etcd's machine (-want +got):\n%s", diff)
	}
	if n := len(one.Common(lab.RoleCalico)); n != 1+len(one.GoFiles())+len(one.PluginFiles())+len(one.CnitoolFiles()) {
		t.Errorf("%d files on a node", n)
	}
	// The comparison would see a difference.
	if describe(one.CalicoctlFiles()) == describe(other.CalicoctlFiles()) || describe([]remote.File{one.Conflist(one.Nodes()[0])}) == describe([]remote.File{other.Conflist(other.Nodes()[0])}) {
		t.Error("the two labs are too much alike")
	}
}

func TestForLogin(t *testing.T) {
	files := []remote.File{{Path: "~/go/bin/cnitool", Owner: LoginOwner}, {Path: "~/go/bin/calico", Link: "/opt/cni/bin/calico"}, {Path: "/opt/cni/bin/calico"}, {Path: "/x", Owner: "me:us"}}
	got := ForLogin(files, fact.Login{User: "admin", Group: "staff", Home: "/srv/home/admin"})
	want := []remote.File{
		{Path: "/srv/home/admin/go/bin/cnitool", Owner: "admin:staff"}, {Path: "/srv/home/admin/go/bin/calico", Link: "/opt/cni/bin/calico"},
		{Path: "/opt/cni/bin/calico"}, {Path: "/x", Owner: "me:us"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if files[0].Path != "~/go/bin/cnitool" || files[0].Owner != LoginOwner {
		t.Errorf("the argument was changed: %+v", files[0])
	}
}

func TestRequest(t *testing.T) {
	s := tutorial(t)
	etcd := &fact.Etcd{URL: "https://192.168.4.7:2379", Health: "/etc/calico/pki/health", Admin: "/etc/calico/pki/root"}
	for name, want := range map[string]fact.Request{
		"etcd-node": {
			Files: []string{Calicoctl, "/etc/calico/calicoctl.cfg"},
			Dirs:  []string{"/etc/calico/pki/etcd", "/etc/calico/pki/root", "/etc/calico/pki/health", "/etc/calico/pki/calicoctl"}, Etcd: etcd,
		},
		"calico1": {
			Files: []string{Calicoctl, "/etc/calico/calicoctl.cfg", "/etc/profile.d/golang.sh"},
			Dirs: []string{
				"/etc/calico/pki/calicoctl", "/etc/calico/pki/calico-node", "/etc/calico/pki/calico-cni", "/opt/cni/bin", "/etc/cni/net.d", "~/go/bin",
			}, GoTree: true, Dial: &fact.Dial{To: []netip.AddrPort{netip.MustParseAddrPort("192.168.4.7:2379")}, Certificate: "/etc/calico/pki/calicoctl"},
		},
	} {
		m, _ := s.Lab.Machine(name)
		if diff := cmp.Diff(want, Request(s.Lab, m, false), cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		want.Ports = map[lab.Role][]uint16{lab.RoleEtcd: {2379, 2380}, lab.RoleCalico: {179, 8080, 9099}}[m.Role]
		if diff := cmp.Diff(want, Request(s.Lab, m, true), cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
			t.Errorf("%s, which existed before (-want +got):\n%s", name, diff)
		}
	}
}

// TestRequestSees: a file that a condition compares and no look looks at would be missing for ever.
func TestRequestSees(t *testing.T) {
	s := tutorial(t)
	for name, files := range map[string][]remote.File{
		"etcd-node": s.CalicoctlFiles(),
		"calico1":   append(append(append(append(s.CalicoctlFiles(), s.GoFiles()...), s.PluginFiles()...), s.CnitoolFiles()...), s.Conflist(s.Nodes()[0])),
	} {
		m, _ := s.Lab.Machine(name)
		r := Request(s.Lab, m, false)
		for _, f := range append(files, s.CertificateFiles(m)...) {
			seen := false
			for _, p := range r.Files {
				seen = seen || p == f.Path
			}
			for _, d := range r.Dirs {
				seen = seen || strings.HasPrefix(f.Path, d+"/") && !strings.Contains(f.Path[len(d)+1:], "/")
			}
			if !seen {
				t.Errorf("%s: nobody looks at %s", name, f.Path)
			}
		}
	}
}
