//go:build linux

package main

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

// FuzzBIRD: whatever BIRD's control socket says is protocols or an error, and each protocol has a name.
func FuzzBIRD(f *testing.F) {
	const greeting = "0001 BIRD 1.6.8 ready.\n"
	for _, s := range []string{
		greeting + "2002-name     proto    table    state  since       info\n1002-kernel1  Kernel   master   up     09:00:00    \n" +
			" Mesh_192_168_4_6 BGP      master   up     09:00:03    Established   \n0000 \n",
		greeting + "9001 syntax error, unexpected SHOW\n", greeting, "", "0000", "0000 ", "8001", "\x1b[2J 1 2 3 4 5\n0013 \n", "1002-\n 1 2 3 4\n0000 x\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, reply string) {
		lines, err := readBIRD(strings.NewReader(reply))
		if err == nil && !strings.ContainsAny(reply, "0123456789") {
			t.Error("the reply has no end, and no error either")
		}
		for _, p := range parseBIRD(lines).Protocols {
			if p.Name == "" || p.Proto == "" || p.State == "" {
				t.Errorf("%+v", p)
			}
			_, _ = p.Peer(), p.Established()
		}
	})
}

// FuzzReply: a packet that came in is the reply to an echo request or it isn't.
func FuzzReply(f *testing.F) {
	packet := append([]byte{0x45, 0, 0, 36, 0, 0, 0, 0, 62, 1, 0, 0, 10, 1, 0, 1, 10, 1, 0, 2}, echo(7, 3)...)
	f.Add(packet, uint16(7))
	packet[20] = 0 // echo reply
	f.Add(packet, uint16(7))
	f.Add(packet[:27], uint16(7))
	f.Add([]byte{0x4f, 19: 0}, uint16(0))
	f.Fuzz(func(t *testing.T, p []byte, id uint16) {
		seq, ttl, from, ok := reply(p, id)
		if ok && (!from.Is4() || ttl != int(p[8]) || len(p) < 28) || !ok && (seq != 0 || ttl != 0) {
			t.Errorf("%d, %d, %s, %t of %x", seq, ttl, from, ok, p)
		}
	})
}

// answers is a server that answers every question alike.
type answers struct {
	status int
	body   string
}

func (a answers) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: a.status, Status: http.StatusText(a.status), Body: io.NopCloser(strings.NewReader(a.body))}, nil
}

// FuzzDocker: what Docker Engine's API answers is containers and images, or the reason why they aren't known; and it can be
// printed.
func FuzzDocker(f *testing.F) {
	for _, s := range []string{
		`{"Version":"29.0.0"}`, `[]`, `[{"Id":"1","RepoTags":["a:b"]}]`, `{"Id":"1","Name":"/etcd","State":{"Status":"running"},"Config":{"Labels":null,"Cmd":null}}`,
		`null`, `[null]`, `{"Version":`, "\x1b[2J", `{"message":"\u001b]0;x\u0007"}`,
	} {
		f.Add(s, uint16(200))
		f.Add(s, uint16(500))
	}
	f.Fuzz(func(t *testing.T, body string, status uint16) {
		d := (&engine{http.Client{Transport: answers{int(status), body}}}).look()
		if status != http.StatusOK && d.Unknown == "" {
			t.Errorf("status %d: %+v", status, d.Value)
		}
		// The same as one answer among good ones.
		var c fact.Container
		if json.Unmarshal([]byte(body), &c) == nil {
			d = fact.Known(fact.Docker{Containers: []fact.Container{c}})
			sandboxes(fact.Known(fact.Docker{Containers: []fact.Container{{Name: c.Name}}}))
		}
		if _, err := json.Marshal(d); err != nil {
			t.Error(err)
		}
	})
}

// FuzzEtcd: what etcd, or who answers in its place, says of its health and of Calico's entries.
func FuzzEtcd(f *testing.F) {
	for _, s := range []string{
		`{"health":"true","reason":"","etcdserver":"3.6.5"}`, "\x12\x10\x0a\x09/calico/x*\x03{ }", "\x12\x00", "\x12\xff", `null`, `{"health":true}`, "\x1b[2J",
	} {
		f.Add(s, uint16(200))
		f.Add(s, uint16(503))
	}
	var now answers
	_, e := serveEtcd(f, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			grpcReply(w, message(now.body), strconv.Itoa(now.status-http.StatusOK), "")
			return
		}
		w.WriteHeader(now.status)
		_, _ = io.WriteString(w, now.body)
	})
	f.Fuzz(func(t *testing.T, body string, status uint16) {
		now = answers{200 + int(status)%400, body}
		if h := etcd(e); h.Unknown != "" || h.Value.OK && !strings.Contains(body, "true") {
			t.Errorf("%+v", h)
		}
		kvs := datastore(e)
		if kvs.Unknown == "" && now.status != http.StatusOK {
			t.Errorf("status %d: %+v", now.status, kvs.Value)
		}
		_, _ = fact.ParseDatastore(kvs.Value)
	})
}

// FuzzSums: a file of sums that is damaged never makes a file have another sum than it has.
func FuzzSums(f *testing.F) {
	dir := f.TempDir()
	path, sums := filepath.Join(dir, "file"), filepath.Join(dir, "sums")
	if err := os.WriteFile(path, []byte("content\n"), 0o600); err != nil {
		f.Fatal(err)
	}
	const sum = "434728a410a78f56fc1b5899c3593436e61ab0c731e9072d95e96db290205e53"
	for _, s := range []string{"", "\t", "/x\t1 2 3 4 5", path + "\t0 0 0.0 0.0 " + strings.Repeat("0", 64), strings.Repeat("x", 70_000)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, kept string) {
		if err := os.WriteFile(sums, []byte(kept), 0o600); err != nil {
			t.Fatal(err)
		}
		seen := files(fact.Request{Files: []string{path}}, fact.Login{}, sums)
		if is := seen.Value[path]; seen.Unknown != "" || is.SHA256 != sum {
			t.Errorf("%+v", seen)
		}
		if err := os.Remove(sums); err != nil {
			t.Fatal(err)
		}
	})
}
