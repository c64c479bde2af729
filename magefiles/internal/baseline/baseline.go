// Package baseline is what a lab was when it was made, and the way back to it. A baseline is a list of items, one for each thing
// that a reader may change: a key of Calico's datastore, a container, a route, a chain of the firewall. It is compared with
// facts, item by item, and what differs is taken away or put back.
package baseline

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/keep"
)

// File is where a baseline is kept in a lab's state directory.
const File = "baseline.json"

// Baseline is a lab's recorded state.
type Baseline struct {
	At         time.Time           `json:"at"`
	Definition string              `json:"definition"`       // digest of what the lab was to be when it was recorded (spec.Spec.Digest)
	Partly     bool                `json:"partly,omitempty"` // whether it is in part another definition's, of which a stage alone was run since
	Network    string              `json:"network"`          // the CNI network's name
	Shared     bool                `json:"shared"`           // whether the machines are somebody's who has other things there: only the lab's own is an item
	Workloads  map[string]Workload `json:"workloads"`        // by fact.WorkloadKey
	Items      []Item              `json:"items"`            // sorted
}

// Workload is what is another one whenever a workload is plumbed anew. Items have tokens in its place, so that a workload that
// was made anew and has its address is the same.
type Workload struct {
	ID        string     `json:"id"`        // container ID, to CNI: cnitool-...
	Interface string     `json:"interface"` // on the machine: cali...
	MAC       string     `json:"mac"`       // of the interface in the sandbox
	Sandbox   string     `json:"sandbox"`   // the sandbox key
	Address   netip.Addr `json:"address"`
}

// Kind is a kind of item.
type Kind string

// The kinds, in the order in which they are put back.
const (
	Sysctl    Kind = "sysctl"
	Container Kind = "container"
	Network   Kind = "Docker network"
	Namespace Kind = "network namespace"
	Link      Kind = "interface"
	Qdisc     Kind = "queueing discipline"
	Rule      Kind = "routing rule"
	Route     Kind = "route"
	Neighbour Kind = "neighbour"
	Chain     Kind = "firewall chain"
	Path      Kind = "file"
	Entry     Kind = "datastore entry"
	Service   Kind = "service" // of calico-node
	Rendered  Kind = "configuration of BIRD"
	Sandbox   Kind = "sandbox"
)

// Key names an item.
type Key struct {
	Kind    Kind   `json:"kind"`
	Machine string `json:"machine,omitempty"` // "" is the datastore
	Name    string `json:"name"`
}

// Item is one thing as it was, or is.
type Item struct {
	Key
	Value string `json:"value"`         // what is compared
	Raw   string `json:"raw,omitempty"` // what it is put back from, where that is more
}

// ErrNone is that there is no baseline yet.
var ErrNone = errors.New("no baseline has been recorded, so there is nothing to go back to; record one with: go tool mage verify")

// Read reads the baseline of a lab; ErrNone where there is none.
func Read(stateDir string) (*Baseline, error) {
	var b Baseline
	there, err := keep.ReadJSON(filepath.Join(stateDir, File), &b)
	if err != nil {
		return nil, fmt.Errorf("%w; remove it, and record the lab as it is with: go tool mage verify", err)
	}
	if !there {
		return nil, ErrNone
	}
	return &b, nil
}

// Write keeps the baseline, whole or not at all.
func (b *Baseline) Write(stateDir string) error {
	return keep.WriteJSON(filepath.Join(stateDir, File), b, 0o600)
}

// New makes the baseline of a lab from the facts of a deep look. It is an error where something couldn't be seen.
func New(f *fact.Lab, definition, network string, shared bool) (*Baseline, error) {
	return record(f, Baseline{Definition: definition, Network: network, Shared: shared})
}

func record(f *fact.Lab, like Baseline) (*Baseline, error) {
	b := &like
	b.At, b.Workloads = f.At, workloads(f, b.Network, b.Workloads)
	s := b.state(f)
	for scope, why := range s.unknown {
		return nil, fmt.Errorf("no baseline can be recorded: %s on %s: %s", scope.Kind, scope.Machine, why)
	}
	b.Items = s.list()
	return b, nil
}

// Addresses are what the workloads have, by fact.WorkloadKey.
func (b *Baseline) Addresses() map[string]netip.Addr {
	all := map[string]netip.Addr{}
	for m, w := range b.Workloads {
		all[m] = w.Address
	}
	return all
}

// Follow returns the baseline after a run that changed the lab because its definition changed: what the run changed is taken over,
// what somebody else had changed before is not. before and after are facts of deep looks.
func (b *Baseline) Follow(before, after *fact.Lab, definition, network string) (*Baseline, error) {
	now, err := record(after, Baseline{Definition: definition, Network: network, Shared: b.Shared, Workloads: b.Workloads})
	if err != nil {
		return nil, err
	}
	// In the tokens of the workloads as they are now: what was plumbed anew is no change.
	then, old, items := now.state(before).items, map[Key]Item{}, state{items: map[Key]Item{}}
	machines := map[string]bool{"": true}
	for _, base := range b.Items {
		old[base.Key] = base
		machines[base.Machine] = true
	}
	for _, i := range now.Items {
		was, had := then[i.Key]
		base, in := old[i.Key]
		switch {
		case !had || was.Value != i.Value || !machines[i.Machine]: // the run made or changed it, or the whole machine
			items.items[i.Key] = i
		case in:
			items.items[i.Key] = base
		} // else somebody had made it before
	}
	for k, base := range old {
		if k.Machine != "" && !inLab(after, k.Machine) {
			continue
		}
		_, had := then[k]
		if _, is := items.items[k]; !is && !had { // somebody had taken it away before
			items.items[k] = base
		}
	}
	now.Items = items.list()
	had := workloads(before, network, nil)
	for m, w := range now.Workloads {
		if !inLab(after, fact.WorkloadMachine(m)) {
			delete(now.Workloads, m)
			continue
		}
		if had[m].Address == w.Address { // plumbed or not, the run left it where somebody had it
			w.Address = b.Workloads[m].Address
			now.Workloads[m] = w
		}
	}
	return now, nil
}

// inLab says whether a machine is lab.yaml's: a deep look is one at all of them.
func inLab(f *fact.Lab, machine string) bool {
	_, seen := f.Machines[machine]
	_, unreached := f.Unreached[machine]
	return seen || unreached
}
