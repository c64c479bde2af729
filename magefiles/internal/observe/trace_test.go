package observe

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

// events are what happened on the machines, in its order.
type events struct {
	mu  sync.Mutex
	all []string
}

func (e *events) add(what string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, what)
}

// tracer is a machine on which `look trace` runs. It takes a while until its captures are open.
func tracer(e *events, name string, late time.Duration) *server {
	return &server{talk: func(_ string, ch io.ReadWriter) uint32 {
		in := bufio.NewReader(ch)
		line, err := in.ReadBytes('\n')
		var r fact.TraceRequest
		if err != nil || json.Unmarshal(line, &r) != nil {
			return 1
		}
		<-time.After(late)
		e.add(name + " is ready")
		fmt.Fprintln(ch, fact.Ready)
		_, err = in.ReadBytes('\n')
		t := fact.Trace{Lost: 7}
		if r.Send != nil {
			if err != nil {
				return 1
			}
			e.add(name + " sends")
			t.Sent = &fact.Sent{Replies: 3}
		}
		e.add(name + " is done")
		_ = json.NewEncoder(ch).Encode(t)
		return 0
	}}
}

// TestTrace: nothing is sent before every capture is open, and nobody stops capturing before what was sent is answered.
func TestTrace(t *testing.T) {
	e := &events{}
	o, _ := newObserver(t, serve(t, "calico1", tracer(e, "calico1", 0)), serve(t, "calico2", tracer(e, "calico2", 200*time.Millisecond)))
	got := o.Trace(t.Context(), map[string]fact.TraceRequest{
		"calico1": {Of: []netip.Addr{netip.MustParseAddr("10.1.0.1")}, Send: &fact.Send{Tries: 3}}, "calico2": {},
	})
	if why := got["calico1"].Unknown + got["calico2"].Unknown; why != "" || got["calico1"].Value.Sent.Replies != 3 || got["calico2"].Value.Sent != nil || got["calico2"].Value.Lost != 7 {
		t.Errorf("%+v", got)
	}
	if all := strings.Join(e.all, ", "); all != "calico1 is ready, calico2 is ready, calico1 sends, calico1 is done, calico2 is done" {
		t.Error(all)
	}
}

// TestTraceFails: where one machine can't capture, nothing is sent, and it is said which one and why.
func TestTraceFails(t *testing.T) {
	e := &events{}
	broken := &server{talk: func(string, io.ReadWriter) uint32 { return 1 }}
	o, _ := newObserver(t, serve(t, "calico1", tracer(e, "calico1", 0)), serve(t, "calico2", broken))
	got := o.Trace(t.Context(), map[string]fact.TraceRequest{"calico1": {Send: &fact.Send{}}, "calico2": {}, "etcd-node": {}})
	for name, want := range map[string]string{"calico2": "exit", "etcd-node": "nothing says how to enter etcd-node", "calico1": "nothing was sent"} {
		if !strings.Contains(got[name].Unknown, want) {
			t.Errorf("%s: %q", name, got[name].Unknown)
		}
	}
	if all := strings.Join(e.all, ", "); strings.Contains(all, "sends") {
		t.Error(all)
	}
}

func TestLookDeep(t *testing.T) {
	var asked fact.Request
	key := fact.KeyValue{Key: "/calico/resources/v3/projectcalico.org/bgppeers/up", Value: []byte(`{"spec":{"peerIP":"192.168.4.9"}}`)}
	o, _ := newObserver(t, serve(t, "etcd-node", &server{answer: looked(t, fact.Machine{Datastore: fact.Known([]fact.KeyValue{key})}, &asked)}))
	f := o.Look(t.Context(), o.Lab.Machines[:1], nil)
	if asked.Deep || len(f.Resources.Value.Peers) != 0 || f.Machines["etcd-node"].Datastore.Unknown != fact.NotAsked {
		t.Errorf("asked %+v, seen %+v", asked, f.Resources)
	}
	f = o.Deep().Look(t.Context(), o.Lab.Machines[:1], nil)
	if !asked.Deep || len(asked.Texts) == 0 || len(f.Machines["etcd-node"].Datastore.Value) != 1 || len(f.Resources.Value.Peers) != 1 || f.Resources.Value.Peers[0].PeerIP != "192.168.4.9" {
		t.Errorf("asked %+v, seen %+v", asked, f.Resources)
	}
}
