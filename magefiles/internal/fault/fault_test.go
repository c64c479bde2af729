package fault

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/pki"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
	"github.com/calico-cni-lab/lab/magefiles/internal/spec"
)

// TestTable: each fault has a name of its own and a way to break it; what is left to the user has a way back.
func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range All() {
		if seen[f.Name] || f.Name == "" || f.Break == nil || strings.ContainsAny(f.Name, ",;|") {
			t.Errorf("%q: twice, without a way to break it, or no name that -only and the table can have", f.Name)
		}
		seen[f.Name] = true
		if f.Left != "" && f.Undo == nil || f.Chance && f.Undo == nil {
			t.Errorf("%s: left to the user, and no way back", f.Name)
		}
	}
}

// TestFiles: each of the lab's files is removed, and each that isn't a link is truncated and made unreadable, too.
func TestFiles(t *testing.T) {
	l, err := lab.Load("../../../lab.yaml")
	if err != nil {
		t.Fatal(err)
	}
	s, err := spec.New(l, artifact.Pins{}, spec.Artifacts{CNI: "cni", Sums: map[string]map[string]string{"cni": {"loopback": "x", "cnitool": "y"}}})
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{}
	for _, f := range Files(s) {
		names[f.Name] = f.First
	}
	for name, first := range map[string]string{
		"etcd-node:/etc/calico/pki/root/tls.key truncated":          "etcd-certificates/etcd-node",
		"calico2:/opt/cni/bin/calico-ipam removed":                  "plugins/calico2",
		"calico2:/opt/cni/bin/loopback unreadable":                  "plugins/calico2",
		"calico2:~/go/bin/cnitool removed":                          "cnitool/calico2",
		"calico2:/etc/cni/net.d/10-test-calico.conflist unreadable": "conflist/calico2",
		"calico2:/opt/cni/bin/calico-ipam truncated":                "",
	} {
		if names[name] != first {
			t.Errorf("%s: %q is named first, not %q", name, names[name], first)
		}
	}
}

// TestReissued: some end when they are to and are the authority's, one is another authority's; all have the key that there is.
func TestReissued(t *testing.T) {
	dir := t.TempDir()
	if _, err := pki.Issue(dir, []pki.Subject{{Name: "calico-node"}}, time.Now()); err != nil {
		t.Fatal(err)
	}
	read := func(data []byte) *x509.Certificate {
		block, _ := pem.Decode(data)
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	file := func(name string) *x509.Certificate {
		data, err := os.ReadFile(filepath.Join(dir, name+".crt"))
		if err != nil {
			t.Fatal(err)
		}
		return read(data)
	}
	for _, until := range []time.Time{time.Now().Add(-time.Hour), time.Now().Add(time.Hour), {}} {
		text, err := reissued(dir, "calico-node", until)
		if err != nil {
			t.Fatal(err)
		}
		c := read([]byte(text))
		if !until.IsZero() && !c.NotAfter.Equal(until.Truncate(time.Second)) || time.Now().Before(c.NotBefore) {
			t.Errorf("it is good from %s until %s", c.NotBefore, c.NotAfter)
		}
		if ours := c.CheckSignatureFrom(file(pki.CA)) == nil; ours == until.IsZero() {
			t.Errorf("it is the authority's: %t", ours)
		}
		if c.Subject.CommonName != "calico-node" || string(c.RawSubjectPublicKeyInfo) != string(file("calico-node").RawSubjectPublicKeyInfo) {
			t.Errorf("it is another's: %s", c.Subject)
		}
	}
}

// TestFileFaults: a file in the login user's home is where a session begins.
func TestFileFaults(t *testing.T) {
	all := fileFaults("calico2", "cnitool", "", remote.File{Path: "~/go/bin/cnitool"})
	if len(all) != 3 || all[0].Name != "calico2:~/go/bin/cnitool removed" {
		t.Errorf("%+v", all)
	}
}
