//go:build linux

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

// identity writes a certificate that signs itself, as a machine's directories have them: its authority is itself.
func identity(t testing.TB) (dir string, pair tls.Certificate, pool *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert, private := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
	dir = t.TempDir()
	for name, data := range map[string][]byte{"ca.crt": cert, "tls.crt": cert, "tls.key": private} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if pair, err = tls.X509KeyPair(cert, private); err != nil {
		t.Fatal(err)
	}
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(cert)
	return dir, pair, pool
}

// serveEtcd serves HTTP/2 to whoever has the certificate.
func serveEtcd(t testing.TB, h http.HandlerFunc) (*httptest.Server, *fact.Etcd) {
	t.Helper()
	dir, pair, pool := identity(t)
	s := httptest.NewUnstartedServer(h)
	s.EnableHTTP2 = true
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // strangers are refused
	s.StartTLS()
	t.Cleanup(s.Close)
	return s, &fact.Etcd{URL: s.URL, Health: dir, Admin: dir}
}

func TestEtcd(t *testing.T) {
	for _, c := range []struct {
		name, health, version string
		want                  fact.Health
	}{
		{"healthy", `{"health":"true","reason":""}`, `{"etcdserver":"3.6.16","etcdcluster":"3.6.0"}`, fact.Health{OK: true, Said: "healthy: true", Version: "3.6.16"}},
		{"alarm", `{"health":"false","reason":"ALARM NOSPACE"}`, `{"etcdserver":"3.6.16"}`, fact.Health{Said: "healthy: false ALARM NOSPACE", Version: "3.6.16"}},
		{"something else", `<html>`, `{}`, fact.Health{Said: "URL/health: invalid character '<' looking for beginning of value"}},
		{"no version", `{"health":"true"}`, "", fact.Health{Said: "URL/version: 404 Not Found: "}},
	} {
		s, e := serveEtcd(t, func(w http.ResponseWriter, r *http.Request) {
			body := map[string]string{"/health": c.health, "/version": c.version}[r.URL.Path]
			if body == "" {
				w.WriteHeader(http.StatusNotFound)
			}
			fmt.Fprint(w, body)
		})
		got := etcd(e).Value
		got.Said = strings.ReplaceAll(got.Said, s.URL, "URL")
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
		strange, _, _ := identity(t)
		if h := etcd(&fact.Etcd{URL: e.URL, Health: strange}); h.Value.OK || !strings.Contains(h.Value.Said, "certificate") {
			t.Errorf("a stranger: %+v", h)
		}
		if h := etcd(&fact.Etcd{URL: e.URL, Health: "/nowhere"}); h.Value.OK || !strings.HasPrefix(h.Value.Said, "nobody can ask: open /nowhere/ca.crt") {
			t.Errorf("without a certificate: %+v", h)
		}
		s.Close()
		if h := etcd(e); h.Unknown != "" || h.Value.OK || !strings.HasPrefix(h.Value.Said, "nothing answers at "+s.URL) {
			t.Errorf("nobody: %+v", h)
		}
	}
}

// grpcReply answers a call of gRPC.
func grpcReply(w http.ResponseWriter, body message, status, said string) {
	w.Header().Set("Trailer", "Grpc-Status, Grpc-Message")
	if body != nil {
		_, _ = w.Write(append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(body))), body...))
	}
	w.Header().Set("Grpc-Status", status)
	w.Header().Set("Grpc-Message", said)
}

// written is a message as text, with messages in it down to a depth.
func written(t *testing.T, m message, deep int) string {
	t.Helper()
	var parts []string
	if err := m.fields(func(field int, number uint64, value message) {
		switch {
		case value == nil:
			parts = append(parts, fmt.Sprintf("%d:%d", field, number))
		case deep > 0:
			parts = append(parts, fmt.Sprintf("%d:{%s}", field, written(t, value, deep-1)))
		default:
			parts = append(parts, fmt.Sprintf("%d:%q", field, string(value)))
		}
	}); err != nil {
		t.Errorf("%x: %v", []byte(m), err)
	}
	return strings.Join(parts, " ")
}

// calls serves one method, and notes what it was asked.
func calls(t *testing.T, method string, asked *message, answer func(http.ResponseWriter)) *fact.Etcd {
	_, e := serveEtcd(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.URL.Path != "/etcdserverpb."+method || r.ProtoMajor != 2 || len(body) < 5 {
			t.Errorf("%s %s: %v", r.Proto, r.URL, err)
			return
		}
		*asked = body[5:]
		answer(w)
	})
	return e
}

func TestDatastore(t *testing.T) {
	large := strings.Repeat("x", 1<<15)
	kv := func(key, value string) message {
		return message{}.text(1, key).number(2, 3).number(3, 300).text(5, value)
	}
	body := message{}.bytes(1, message{}.number(1, 7)).bytes(2, kv("/calico/a", large)).bytes(2, kv("/calico/b", "")).number(4, 2)
	status, said := "0", ""
	var asked message
	e := calls(t, "KV/Range", &asked, func(w http.ResponseWriter) { grpcReply(w, body, status, said) })
	want := fact.Known([]fact.KeyValue{{Key: "/calico/a", Value: []byte(large)}, {Key: "/calico/b", Value: []byte{}}})
	if diff := cmp.Diff(want, datastore(e)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// Everything that begins with the one is from the one up to the other.
	if got := written(t, asked, 0); got != `1:"/calico/" 2:"/calico0"` {
		t.Errorf("asked for %s", got)
	}
	for name, c := range map[string]struct {
		body         message
		status, said string
		want         string
	}{
		"refused":        {nil, "7", "etcdserver: permission denied, 100%25", "etcd's answer to KV/Range: etcdserver: permission denied, 100% (status 7 of gRPC, 200 OK)"},
		"nothing":        {nil, "0", "", "etcd's answer to KV/Range is not whole"},
		"no message":     {message{2<<3 | 2, 200}, "0", "", errMessage.Error()},
		"an entry's not": {message{}.bytes(2, message{1<<3 | 5, 0}), "0", "", errMessage.Error()},
		"no status":      {message{}, "", "", "etcd's answer to KV/Range:  (status  of gRPC, 200 OK)"},
	} {
		body, status, said = c.body, c.status, c.said
		if got := datastore(e).Unknown; got != c.want {
			t.Errorf("%s: %q, not %q", name, got, c.want)
		}
	}
}

func TestOrder(t *testing.T) {
	var asked message
	e := calls(t, "KV/Txn", &asked, func(w http.ResponseWriter) { grpcReply(w, message{}.number(2, 1), "0", "") })
	ops := []fact.Op{{KeyValue: fact.KeyValue{Key: "/a", Value: []byte(`{"x":1}`)}}, {KeyValue: fact.KeyValue{Key: "/b"}, Delete: true}}
	if _, err := order(fact.Order{Etcd: *e, Ops: ops}); err != nil {
		t.Error(err)
	}
	if got, want := written(t, asked, 2), `2:{2:{1:"/a" 2:"{\"x\":1}"}} 2:{3:{1:"/b"}}`; got != want {
		t.Errorf("%s, not %s", got, want)
	}
	if _, err := order(fact.Order{Etcd: fact.Etcd{URL: e.URL, Admin: "/nowhere"}, Ops: ops}); err == nil {
		t.Error("without a certificate it was done")
	}
}
