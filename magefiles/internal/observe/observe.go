// Package observe looks at a lab: it runs the look program on the machines, one session each, and puts together what they
// found.
package observe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
	"github.com/calico-cni-lab/lab/magefiles/internal/spec"
	"github.com/calico-cni-lab/lab/scripts"
)

// Observer looks at the machines of a lab.
type Observer struct {
	Lab   *lab.Lab
	Hosts *remote.Hosts
	// Program returns the look program: a file on this computer, and its SHA-256.
	Program func(context.Context) (file, sum string, err error)
	// Existing says whether the machines existed before the lab.
	Existing bool
	Slow     int  // how much longer than this computer the machines take for the same work
	deep     bool // see Deep
}

// Deep returns an observer whose looks have what a baseline and explanations need, too: fact.Deep, fact.Resources, and the datastore as
// etcd has it with the machine that showed it.
func (o *Observer) Deep() *Observer {
	deep := *o
	deep.deep = true
	return &deep
}

const (
	answerTime = 15 * time.Second // a machine that runs takes to let a user in, at most
	bootTime   = 2 * time.Minute  // one that boots
	lookTime   = 20 * time.Second
	probeTime  = 4 * time.Second // an answer may take: of 9,000 beside another lab one took more than two
)

// Look looks at some machines, all at once; what until returns for one is waited for there before. A machine that doesn't
// answer is among the facts' unreached ones.
func (o *Observer) Look(ctx context.Context, machines []lab.Machine, until func(lab.Machine) *fact.Until) fact.Lab {
	f := fact.Lab{
		At: time.Now(), Machines: map[string]fact.Machine{}, Unreached: map[string]string{},
		Datastore: fact.Unknown[fact.Datastore](fact.NotAsked),
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	silent := 0 // machines of etcd's members
	for _, m := range machines {
		var u *fact.Until
		if until != nil {
			u = until(m)
		}
		all.Go(func() {
			seen, err := o.machine(ctx, m, u)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				f.Unreached[m.Name] = err.Error()
				if m.Role == lab.RoleEtcd {
					if silent++; silent == len(o.Lab.Members()) {
						f.Datastore = fact.Unknown[fact.Datastore](m.Name + " doesn't answer")
						f.Resources = fact.Unknown[fact.Resources](m.Name + " doesn't answer")
					}
				}
				return
			}
			if m.Role == lab.RoleEtcd {
				// Each member shows it, where a majority answers.
				if d := datastore(seen.Datastore); f.DatastoreAt.IsZero() || f.Datastore.Unknown != "" {
					f.Datastore, f.DatastoreAt = d, seen.At
					if o.deep {
						f.Resources = resources(seen.Datastore)
					}
				}
				if !o.deep {
					seen.Datastore = fact.Unknown[[]fact.KeyValue](fact.NotAsked)
				}
			}
			f.Machines[m.Name] = seen
		})
	}
	all.Wait()
	return f
}

func datastore(kvs fact.Seen[[]fact.KeyValue]) fact.Seen[fact.Datastore] {
	if kvs.Unknown != "" {
		return fact.Unknown[fact.Datastore](kvs.Unknown)
	}
	return fact.See(fact.ParseDatastore(kvs.Value))
}

func resources(kvs fact.Seen[[]fact.KeyValue]) fact.Seen[fact.Resources] {
	if kvs.Unknown != "" {
		return fact.Unknown[fact.Resources](kvs.Unknown)
	}
	return fact.See(fact.ParseResources(kvs.Value))
}

// Host is the connection to a machine that runs, and has as long as such a one takes to let a user in.
func (o *Observer) Host(ctx context.Context, name string) (*remote.Host, error) {
	return o.host(ctx, name, remote.DialBooted, answerTime)
}

func (o *Observer) host(ctx context.Context, name string, dial remote.Dialer, patience time.Duration) (*remote.Host, error) {
	patience *= time.Duration(o.Slow)
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("not after %s", patience))
	defer cancel()
	return o.Hosts.Get(ctx, name, dial)
}

func (o *Observer) machine(ctx context.Context, m lab.Machine, until *fact.Until) (seen fact.Machine, err error) {
	var h *remote.Host
	if until != nil {
		h, err = o.host(ctx, m.Name, remote.Dial, bootTime)
	} else {
		h, err = o.Host(ctx, m.Name)
	}
	if err != nil {
		return seen, err
	}
	r := spec.Request(o.Lab, m, o.Existing)
	if o.deep {
		r = spec.Deep(r)
	}
	r.Until, r.Slow = until, o.Slow
	if of, but, ok := o.Hosts.Alone(); ok {
		r.Alone = &fact.Alone{Of: of, But: but}
	}
	limit := lookTime * time.Duration(o.Slow)
	if until != nil {
		limit += until.Within
	}
	err = o.ask(ctx, h, limit, r, &seen)
	return seen, err
}

// Survey looks at a machine that isn't the lab's yet, and leaves nothing behind there.
func (o *Observer) Survey(ctx context.Context, h *remote.Host) (seen fact.Machine, err error) {
	file, _, err := o.Program(ctx)
	if err != nil {
		return seen, err
	}
	program, err := os.Open(file)
	if err != nil {
		return seen, err
	}
	defer program.Close()
	m, _ := o.Lab.Machine(h.Name)
	r := spec.Survey(m)
	r.Slow = o.Slow
	request, err := json.Marshal(r)
	if err != nil {
		return seen, err
	}
	out, err := h.Exec(ctx, lookTime*time.Duration(o.Slow), program, "sh", "-c", scripts.Text("look-once.sh"), "look-once.sh", string(request))
	if err != nil {
		return seen, err
	}
	if err := json.Unmarshal(out, &seen); err != nil {
		return seen, fmt.Errorf("what the look at %s printed: %w", h.Name, err)
	}
	return seen, nil
}

// ask runs the look program with a request on a machine and decodes its answer. The program is brought to a machine that
// doesn't see this computer's.
func (o *Observer) ask(ctx context.Context, h *remote.Host, limit time.Duration, request, answer any, args ...string) error {
	file, sum, err := o.Program(ctx)
	if err != nil {
		return err
	}
	data, err := json.Marshal(request)
	if err != nil {
		return err
	}
	there, shared := where(h, file, sum)
	line := append(args, there)
	if len(args) > 0 { // the last of args is the program's own
		line = append(append([]string{}, args[:len(args)-1]...), there, args[len(args)-1])
	}
	out, err := h.Exec(ctx, limit, bytes.NewReader(data), line...)
	var failed *command.Error
	if !shared && errors.As(err, &failed) && (failed.Status == 126 || failed.Status == 127) { // it isn't there
		program := remote.File{Path: there, Mode: 0o755, Source: file, SHA256: sum}
		if _, err := h.Put(ctx, program); err != nil {
			return fmt.Errorf("bringing the look program: %w", err)
		}
		out, err = h.Exec(ctx, limit, bytes.NewReader(data), line...)
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(out, answer); err != nil {
		return fmt.Errorf("what the look at %s printed: %w", h.Name, err)
	}
	return nil
}

// where the look program is on a machine, and whether it is this computer's own file.
func where(h *remote.Host, file, sum string) (there string, shared bool) {
	if there, shared = h.Sees(file); !shared {
		there = fact.Home + "/look-" + sum[:12]
	}
	return there, shared
}

// mostProbes keeps a lab of many workloads from costing the square of them: an answer over TCP starts a program.
var mostProbes = fact.Most{Ping: 256, TCP: 8}

// Probe sends packets from every plumbed workload to the others: one session a node, whatever their number.
func (o *Observer) Probe(ctx context.Context, f *fact.Lab) map[string]fact.Seen[[]fact.Probe] {
	nodes := o.Lab.ByRole(lab.RoleCalico)
	r := fact.ProbeRequest{Port: spec.WorkloadPort, Within: probeTime * time.Duration(o.Slow), Most: mostProbes}
	senders := map[string][]fact.Sender{}
	for _, m := range nodes {
		for _, w := range f.Machines[m.Name].Workloads(o.Lab.Network) {
			if a := w.Attachment.Address(); a.IsValid() && fact.WorkloadNumber(w.Name) <= m.Workloads.Count {
				senders[m.Name] = append(senders[m.Name], fact.Sender{Sandbox: w.Sandbox.Key, Address: a})
			}
		}
	}
	// Each one's neighbours in the list are on other nodes.
	for i, more := 0, true; more; i++ {
		more = false
		for _, m := range nodes {
			if all := senders[m.Name]; i < len(all) {
				r.To, more = append(r.To, all[i].Address), true
			}
		}
	}
	all := map[string]fact.Seen[[]fact.Probe]{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, m := range nodes {
		if m.Workloads.Count == 0 {
			continue
		}
		wg.Go(func() {
			seen := o.probe(ctx, m.Name, senders[m.Name], r)
			mu.Lock()
			defer mu.Unlock()
			all[m.Name] = seen
		})
	}
	wg.Wait()
	return all
}

func (o *Observer) probe(ctx context.Context, from string, senders []fact.Sender, r fact.ProbeRequest) fact.Seen[[]fact.Probe] {
	if len(senders) == 0 {
		return fact.Unknown[[]fact.Probe]("the workload there is not plumbed")
	}
	r.From = senders
	return fact.See(o.Send(ctx, from, "", r))
}

// Send sends packets from a machine, or from a sandbox on it where the sandbox' key is given.
func (o *Observer) Send(ctx context.Context, from, sandbox string, r fact.ProbeRequest) ([]fact.Probe, error) {
	h, err := o.Host(ctx, from)
	if err != nil {
		return nil, err
	}
	args := []string{"probe"}
	if sandbox != "" {
		args = []string{"nsenter", "--net=" + sandbox, "probe"}
	}
	var probes []fact.Probe
	err = o.ask(ctx, h, r.Within+lookTime*time.Duration(o.Slow), r, &probes, args...)
	return probes, err
}

// orderTime is how long etcd may take for an order.
const orderTime = time.Minute

// Order has something changed in etcd, as etcd's administrator, from a member's machine: the named one, or where none is, the first that
// answers.
func (o *Observer) Order(ctx context.Context, on string, order fact.Order) (done fact.Ordered, err error) {
	for _, m := range o.Lab.Members() {
		if on != "" && m.Name != on {
			continue
		}
		var silent silentError
		if err = o.order(ctx, m, order, &done); !errors.As(err, &silent) {
			return done, err
		}
	}
	return done, err
}

func (o *Observer) order(ctx context.Context, on lab.Machine, order fact.Order, done *fact.Ordered) error {
	h, err := o.Host(ctx, on.Name)
	if err != nil {
		return silentError{err}
	}
	order.Etcd = spec.EtcdAccess(o.Lab, on)
	order.Within *= time.Duration(o.Slow)
	return o.ask(ctx, h, order.Within+orderTime*time.Duration(o.Slow), order, done, "etcd")
}

// silentError is that of a machine that doesn't answer.
type silentError struct{ error }

func (e silentError) Unwrap() error { return e.error }

// Snapshot is a snapshot of etcd, with its hash at the end, from the first member that can give one.
func (o *Observer) Snapshot(ctx context.Context) (data []byte, err error) {
	for _, m := range o.Lab.Members() {
		if data, err = o.snapshot(ctx, m); err == nil || context.Cause(ctx) != nil {
			return data, err
		}
	}
	return nil, err
}

func (o *Observer) snapshot(ctx context.Context, on lab.Machine) ([]byte, error) {
	h, err := o.Host(ctx, on.Name)
	if err != nil {
		return nil, err
	}
	var s fact.Snapshot
	err = o.ask(ctx, h, orderTime*time.Duration(o.Slow), spec.EtcdAccess(o.Lab, on), &s, "snapshot")
	return s.Data, err
}
