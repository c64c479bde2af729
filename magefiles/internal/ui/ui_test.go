package ui

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/calico-cni-lab/lab/magefiles/internal/calico"
	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func TestGolden(t *testing.T) {
	held := check.Result{Name: "etcd is healthy", OK: true, Seen: "etcd 3.6.16"}
	broken := check.Result{Name: "BGP is Established", Seen: "on calico1: docker exec\n  exit status 1", Hint: "go tool mage ssh calico1 sudo calicoctl node status"}
	for name, show := range map[string]func(*Console){
		"works": func(c *Console) {
			c.Report(check.Report{OK: true, Results: []check.Result{held}, Took: 700 * time.Millisecond})
		},
		"broken": func(c *Console) { c.Report(check.Report{Results: []check.Result{held, broken}, Took: 5 * time.Second}) },
		"stages": func(c *Console) {
			c.Already("up", "3 machines answer")
			c.Started("etcd", "no container etcd")
			done := c.Making("compiling etcd")
			done(nil)
			c.Done("etcd", "etcd is healthy", 1200*time.Millisecond)
			c.Started("calico", "calico1: no container")
			c.Failed("calico", errors.New("told at the end"), 61*time.Second)
			c.Failed("plumb", context.Canceled, time.Second)
			c.Making("compiling Calico")(errors.New("told at the end"))
			c.Finished(90*time.Second, "go tool mage check")
		},
		"status": func(c *Console) {
			c.Status("lab", "nspawn", []machine.Status{
				{Machine: "etcd-node", Role: lab.RoleEtcd, Address: addr("192.168.4.7"), State: machine.Running, Memory: 53 << 20},
				{Machine: "calico1", Role: lab.RoleCalico, Address: addr("192.168.4.5"), State: machine.Stopped},
			}, [][2]string{{"next", "go tool mage start"}})
		},
		"plumbed": func(c *Console) {
			result := json.RawMessage(`{"cniVersion":"1.0.0","interfaces":[{"name":"cali1"}],"ips":[{"address":"10.1.86.64/32"}]}`)
			c.Plumbed([]calico.Plumbed{{
				Node: lab.Machine{Name: "calico2"}, SandboxKey: "/var/run/docker/netns/1", Address: addr("10.1.86.64"),
				Attachment: calico.Attachment{IfName: "eth0", Result: result}, Block: netip.MustParsePrefix("10.1.86.64/26"),
			}})
		},
		"table": func(c *Console) { c.Table([]string{"what", "min"}, [][]string{{"`verify`", "1.0 s"}}) },
	} {
		t.Run(name, func(t *testing.T) {
			// Not a terminal, so without colour and movement.
			f, err := os.Create(filepath.Join(t.TempDir(), "out"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			show(New(f))
			got, err := os.ReadFile(f.Name())
			if err != nil {
				t.Fatal(err)
			}
			golden := "testdata/" + name + ".golden"
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if bytes.ContainsRune(got, '\x1b') {
				t.Error("escape codes in a file")
			}
		})
	}
}

// TestTerminal: on a terminal there is colour, and the last line tells what runs.
func TestTerminal(t *testing.T) {
	var b bytes.Buffer
	c := &Console{out: &b, color: true, live: true, ticking: true, width: func() int { return 20 }}
	c.Started("etcd", "why")
	c.Notice("note")
	const live = "\x1b[2m  etcd 0s\x1b[0m"
	want := "\x1b[2m…\x1b[0m etcd        \x1b[2mwhy\x1b[0m\n" + live + "\r\x1b[Knote\n" + live
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	b.Reset()
	c.Done("etcd", "done", time.Second)
	if got := b.String(); !bytes.HasPrefix(b.Bytes(), []byte("\r\x1b[K")) || bytes.Contains(b.Bytes(), []byte("0s\x1b")) {
		t.Errorf("the live line is still there: %q", got)
	}
}
