package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var (
	server = Subject{Name: "etcd", Names: []string{"etcd-node", "localhost"}, Addresses: []netip.Addr{netip.MustParseAddr("192.168.4.7"), netip.MustParseAddr("127.0.0.1")}}
	client = Subject{Name: "calico-cni"}
	both   = []Subject{server, client}
	now    = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
)

func mustIssue(t *testing.T, dir string, wanted []Subject, at time.Time) Set {
	t.Helper()
	s, err := Issue(dir, wanted, at)
	if err != nil || len(s.Faults) > 0 || len(s.Issued) != len(wanted) {
		t.Fatalf("%v, %+v", err, s)
	}
	return s
}

// contents are the files of a directory, with their modes.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		info, serr := e.Info()
		if err != nil || serr != nil {
			t.Fatal(err, serr)
		}
		all[e.Name()] = fmt.Sprintf("%o %s", info.Mode().Perm(), sum(data))
	}
	return all
}

// TestIssue: what one run made is good for the next ones, which write nothing.
func TestIssue(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "lab", "pki")
	first := mustIssue(t, dir, both, now)
	before := contents(t, dir)
	if len(before) != 6 {
		t.Errorf("files: %v", before)
	}
	for name, text := range before {
		if want := map[string]string{".key": "600", ".crt": "644"}[filepath.Ext(name)]; !strings.HasPrefix(text, want+" ") {
			t.Errorf("%s has mode %s, not %s", name, text[:3], want)
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory: %v, %v", info, err)
	}
	again := mustIssue(t, dir, both, now.Add(lifetime-Early-time.Hour))
	if diff := cmp.Diff(first, again); diff != "" {
		t.Errorf("again (-first +again):\n%s", diff)
	}
	if diff := cmp.Diff(before, contents(t, dir)); diff != "" {
		t.Errorf("something was written again:\n%s", diff)
	}
	if want, got := now.Add(lifetime), first.Issued["etcd"].Until; !got.Equal(want) {
		t.Errorf("etcd's ends %s, not %s", got, want)
	}
}

// TestMended: what is wrong is said, and made anew, and nothing else is.
func TestMended(t *testing.T) {
	file := func(change func(string) error, name string) func(string) error {
		return func(dir string) error { return change(filepath.Join(dir, name)) }
	}
	truncate := func(f string) error { return os.Truncate(f, 40) }
	open := func(f string) error { return os.Chmod(f, 0o644) }
	other := server
	other.Addresses = other.Addresses[:1]
	for name, tt := range map[string]struct {
		harm    func(dir string) error
		wanted  []Subject
		at      time.Duration
		fault   string
		changed string // which are made anew
	}{
		"no key":              {file(os.Remove, "etcd.key"), both, 0, "there is no certificate of etcd", "etcd"},
		"no certificate":      {file(os.Remove, "calico-cni.crt"), both, 0, "there is no certificate of calico-cni", "calico-cni"},
		"half a certificate":  {file(truncate, "etcd.crt"), both, 0, "the certificate of etcd and its key are damaged", "etcd"},
		"readable":            {file(open, "calico-cni.key"), both, 0, "others may read the key of calico-cni", "calico-cni"},
		"another's key":       {func(d string) error { return os.Rename(d+"/etcd.key", d+"/calico-cni.key") }, both, 0, "there is no certificate of etcd", "etcd calico-cni"},
		"another address":     {nil, []Subject{other, client}, 0, "is for etcd-node, localhost, 192.168.4.7, 127.0.0.1, not for etcd-node, localhost, 192.168.4.7", "etcd"},
		"a client now":        {nil, []Subject{{Name: "etcd"}, client}, 0, "not for no address", "etcd"},
		"another member":      {nil, append(both, Subject{Name: "health"}), 0, "there is no certificate of health", "health"},
		"about to end":        {nil, both, lifetime - Early + time.Hour, "the certificate of etcd ends on 28 November 2027", "etcd calico-cni"},
		"ended":               {nil, both, lifetime + time.Hour, "the certificate of calico-cni ended on 28 November 2027", "etcd calico-cni"},
		"a clock that is off": {nil, both, -3 * 24 * time.Hour, "see that this computer's clock is right", "ca etcd calico-cni"},
		"no authority":        {file(os.Remove, "ca.key"), both, 0, "there is no certificate of ca", "ca etcd calico-cni"},
		"a client's for the authority's": {
			func(d string) error {
				return os.Rename(d+"/calico-cni.crt", d+"/ca.crt")
			}, both, 0, "the certificate of ca and its key are damaged", "ca etcd calico-cni",
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			mustIssue(t, dir, both, now)
			good := contents(t, dir)
			if tt.harm != nil {
				if err := tt.harm(dir); err != nil {
					t.Fatal(err)
				}
			}
			harmed := contents(t, dir)
			s, err := Read(dir, tt.wanted, now.Add(tt.at))
			if err != nil || !strings.Contains(strings.Join(slices.Collect(maps.Values(s.Faults)), "\n"), tt.fault) {
				t.Errorf("%v, %q, not %q", err, s.Faults, tt.fault)
			}
			if diff := cmp.Diff(harmed, contents(t, dir)); diff != "" {
				t.Errorf("reading changed it:\n%s", diff)
			}
			mustIssue(t, dir, tt.wanted, now.Add(tt.at))
			changed := map[string]bool{}
			for file, text := range contents(t, dir) {
				if good[file] != text {
					changed[strings.TrimSuffix(file, filepath.Ext(file))] = true
				}
			}
			want := map[string]bool{}
			for _, n := range strings.Fields(tt.changed) {
				want[n] = true
			}
			if !maps.Equal(want, changed) {
				t.Errorf("made anew: %v, not %v", changed, want)
			}
		})
	}
}

// TestStrange: what isn't a certificate of the lab's doesn't pass for one.
func TestStrange(t *testing.T) {
	dir, strange := t.TempDir(), t.TempDir()
	mustIssue(t, dir, both, now)
	mustIssue(t, strange, both, now)
	for _, name := range []string{"etcd.crt", "etcd.key"} {
		data, err := os.ReadFile(filepath.Join(strange, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	s, err := Read(dir, both, now)
	if err != nil || len(s.Faults) != 1 || s.Faults["etcd"] != "the certificate of etcd is another authority's" || s.Issued["etcd"].Cert != "" {
		t.Errorf("%v, %+v", err, s)
	}
}

// TestHandshake: with these, a server and its clients know one another; a client is no server, and a stranger is nobody.
func TestHandshake(t *testing.T) {
	at := time.Now()
	s, strange := mustIssue(t, t.TempDir(), both, at), mustIssue(t, t.TempDir(), both, at)
	for name, tt := range map[string]struct {
		server, client Pair
		called         string
		ok             bool
	}{
		"by address":         {s.Issued["etcd"], s.Issued["calico-cni"], "192.168.4.7", true},
		"by name":            {s.Issued["etcd"], s.Issued["calico-cni"], "etcd-node", true},
		"a peer":             {s.Issued["etcd"], s.Issued["etcd"], "192.168.4.7", true},
		"another address":    {s.Issued["etcd"], s.Issued["calico-cni"], "192.168.4.8", false},
		"a client as server": {s.Issued["calico-cni"], s.Issued["calico-cni"], "192.168.4.7", false},
		"a stranger":         {s.Issued["etcd"], strange.Issued["calico-cni"], "192.168.4.7", false},
		"nobody":             {s.Issued["etcd"], Pair{}, "192.168.4.7", false},
	} {
		t.Run(name, func(t *testing.T) {
			if err := handshake(t, s, tt.server, tt.client, tt.called); (err == nil) != tt.ok {
				t.Errorf("%v", err)
			}
		})
	}
}

func handshake(t *testing.T, trusted Set, server, client Pair, called string) error {
	t.Helper()
	load := func(p Pair) []tls.Certificate {
		if p.Cert == "" {
			return nil
		}
		c, err := tls.LoadX509KeyPair(p.Cert, p.Key)
		if err != nil {
			t.Fatal(err)
		}
		return []tls.Certificate{c}
	}
	ca, err := os.ReadFile(trusted.CA.Cert)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: load(server), ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	said := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			err = c.(*tls.Conn).HandshakeContext(t.Context())
			c.Close()
		}
		said <- err
	}()
	c, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{Certificates: load(client), RootCAs: pool, ServerName: called})
	if err != nil {
		return errors.Join(err, <-said)
	}
	defer c.Close()
	return <-said
}
