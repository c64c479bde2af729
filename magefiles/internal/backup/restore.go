package backup

import (
	"bytes"
	"cmp"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
)

const (
	calico    = "/calico/"
	endpoints = fact.ResourcePrefix + "workloadendpoints/"
)

// Restoration is what brings a datastore back to what a backup has.
type Restoration struct {
	Ops []fact.Op
	// Replaced is whether the datastore isn't the one that the backup is of.
	Replaced bool
	// Lost are addresses of workloads that are gone since. Calico would keep them for ever.
	Lost []netip.Addr
	// Addresses are what workloads that are made anew are to have, by fact.WorkloadKey.
	Addresses map[string]netip.Addr
}

// Plan compares a backup with what there is: was is what the backup has, f a deep look at all machines. Keys that aren't Calico's are
// put back, and never taken away.
func Plan(l *lab.Lab, was []fact.KeyValue, f *fact.Lab) Restoration {
	r := Restoration{Addresses: map[string]netip.Addr{}}
	is := map[string][]byte{}
	for _, m := range f.Machines {
		for _, kv := range m.Datastore.Value {
			is[kv.Key] = kv.Value
		}
	}
	live := map[string]bool{}
	for _, m := range f.Machines {
		for _, a := range m.Attachments.Value {
			live[a.ContainerID] = live[a.ContainerID] || a.Live
		}
	}
	lost := map[string][]netip.Addr{} // by node
	wanted, kept := map[string]bool{}, map[string]bool{}
	for _, kv := range was {
		if strings.HasPrefix(kv.Key, fact.FelixPrefix) {
			continue
		}
		if e, ok := endpoint(kv); ok {
			if !live[e.container] {
				lost[e.node] = append(lost[e.node], e.addresses...)
				r.Lost = append(r.Lost, e.addresses...)
				continue
			}
			kept[e.container] = true
		}
		wanted[kv.Key] = true
		if have, there := is[kv.Key]; !there || !bytes.Equal(have, kv.Value) {
			r.Ops = append(r.Ops, fact.Op{KeyValue: kv})
			r.Replaced = r.Replaced || kv.Key == fact.ClusterKey && fact.Replaced(kv.Value, have)
		}
	}
	for key := range is {
		if strings.HasPrefix(key, calico) && !strings.HasPrefix(key, fact.FelixPrefix) && !wanted[key] {
			r.Ops = append(r.Ops, fact.Op{KeyValue: fact.KeyValue{Key: key}, Delete: true})
		}
	}
	// Policies and the like come before what is plumbed.
	slices.SortFunc(r.Ops, func(a, b fact.Op) int { return cmp.Compare(b.Key, a.Key) })
	for node, addresses := range lost {
		keeps := map[string]bool{} // its workloads whose endpoints are put back
		for _, w := range f.Machines[node].Workloads(l.Network) {
			keeps[w.Name] = kept[w.Attachment.ContainerID]
		}
		m, _ := l.Machine(node)
		for n := 1; n <= m.Workloads.Count && len(addresses) > 0; n++ {
			if name := fact.WorkloadName(n); !keeps[name] {
				r.Addresses[fact.WorkloadKey(node, name)], addresses = addresses[0], addresses[1:]
			}
		}
	}
	return r
}

type workload struct {
	node, container string
	addresses       []netip.Addr
}

// endpoint reads a workload endpoint.
func endpoint(kv fact.KeyValue) (w workload, ok bool) {
	if !strings.HasPrefix(kv.Key, endpoints) {
		return w, false
	}
	var e struct {
		Spec struct {
			Node, ContainerID string
			IPNetworks        []netip.Prefix
		}
	}
	if json.Unmarshal(kv.Value, &e) != nil {
		return w, false
	}
	w.node, w.container = e.Spec.Node, e.Spec.ContainerID
	for _, p := range e.Spec.IPNetworks {
		w.addresses = append(w.addresses, p.Addr())
	}
	return w, true
}
