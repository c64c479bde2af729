package check

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-version"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
)

func TestPoll(t *testing.T) {
	n := 0
	for _, c := range []struct {
		name string
		test func(context.Context) (string, error)
		want Result
	}{
		{"at once", func(context.Context) (string, error) { return "up", nil }, Result{Name: "c", OK: true, Seen: "up"}},
		{"later", func(context.Context) (string, error) {
			if n++; n < 3 {
				return "", errors.New("not yet")
			}
			return "up", nil
		}, Result{Name: "c", OK: true, Seen: "up"}},
		{"never", func(ctx context.Context) (string, error) {
			if ctx.Err() != nil {
				return "", ctx.Err()
			}
			return "", errors.New("down")
		}, Result{Name: "c", Seen: "down", Hint: "look"}},
		{"no answer", func(ctx context.Context) (string, error) { <-ctx.Done(); return "", ctx.Err() },
			Result{Name: "c", Seen: "no answer in time", Hint: "look"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			got := Condition{Name: "c", Hint: "look", Test: c.test}.poll(ctx)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestIsRelease(t *testing.T) {
	want := version.Must(version.NewVersion("3.31.0"))
	for have, ok := range map[string]bool{"3.31.0": true, "3.31": true, " 3.31.0\n": true, "3.31.1": false, "3.31.0-rc1": false, "": false, "unknown": false} {
		if _, err := isRelease("calicoctl", have, want); (err == nil) != ok {
			t.Errorf("%q: %v", have, err)
		}
	}
	_, err := isRelease("calicoctl", "3.14.0", want)
	if err == nil || err.Error() != "calicoctl is 3.14.0; pinned is 3.31.0" {
		t.Errorf("error: %v", err)
	}
}

func TestField(t *testing.T) {
	const text = "Client Version:    v3.31.0\nGit commit:        b1f3c43\nCluster Version:   v3.31.0\n"
	if got := field(text, "Git commit:"); got != "b1f3c43" {
		t.Errorf("got %q", got)
	}
	if got := field(text, "nothing"); got != "" {
		t.Errorf("got %q", got)
	}
}

// TestConditions: every machine, every node and every pair of nodes is looked at, whatever their number.
func TestConditions(t *testing.T) {
	v := version.Must(version.NewVersion("1.2.3"))
	l := &lab.Lab{Name: "l", Pool: lab.Pool{Name: "p"}, Versions: lab.Versions{Go: v}}
	for i, name := range []string{"e", "n1", "n2", "n3"} {
		m := lab.Machine{Name: name, Role: lab.RoleCalico, Address: netip.AddrFrom4([4]byte{192, 168, 4, byte(5 + i)})}
		if i == 0 {
			m.Role = lab.RoleEtcd
		}
		l.Machines = append(l.Machines, m)
	}
	count := map[string]int{}
	names := map[string]bool{}
	for _, c := range Conditions(Subject{Lab: l, Pins: artifact.Pins{Calico: v, Etcd: v, Cnitool: v, Plugins: v}}) {
		if names[c.Name] {
			t.Errorf("%q is there twice", c.Name)
		}
		names[c.Name] = true
		if !strings.Contains(c.Hint, "go tool mage") {
			t.Errorf("%q has no command to look with: %q", c.Name, c.Hint)
		}
		for _, kind := range []string{"answers SSH", "BGP", "by ping", "by TCP", "proto bird", "has an address of the pool"} {
			if strings.Contains(c.Name, kind) {
				count[kind]++
			}
		}
	}
	want := map[string]int{"answers SSH": 4, "BGP": 6, "by ping": 6, "by TCP": 6, "proto bird": 6, "has an address of the pool": 3}
	if diff := cmp.Diff(want, count); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !names["BGP 192.168.4.6 -> 192.168.4.7 is Established"] || !names["n1 and n2 and n3 are registered with their addresses"] {
		t.Errorf("names: %v", names)
	}
}

// TestJSON: programs read this.
func TestJSON(t *testing.T) {
	r := Report{Lab: "l", Results: []Result{{Name: "a", OK: true, Seen: "x"}, {Name: "b", Seen: "y", Hint: "z"}}, Took: time.Second, Millis: 1000}
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"lab":"l","ok":false,"results":[{"name":"a","ok":true,"seen":"x"},{"name":"b","ok":false,"seen":"y","hint":"z"}],"milliseconds":1000}`
	if string(data) != want {
		t.Errorf("got  %s\nwant %s", data, want)
	}
	if f := r.Failed(); len(f) != 1 || f[0].Name != "b" {
		t.Errorf("failed: %v", f)
	}
}
