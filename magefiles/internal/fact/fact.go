// Package fact is what can be seen of a lab, as types. One look at a machine is one program (package look), run there
// in one SSH session; what it prints decodes into a Machine. Conditions, reports, plans and pictures read facts and ask
// the machines nothing.
package fact

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Seen is a fact, or the reason why it isn't known. A look that fails makes a fact unknown, never false.
type Seen[T any] struct {
	Value   T      `json:"value"`
	Unknown string `json:"unknown,omitempty"` // why Value says nothing; "" where it is known
}

// Known is a fact that was seen.
func Known[T any](v T) Seen[T] { return Seen[T]{Value: v} }

// Unknown is a fact that couldn't be looked at.
func Unknown[T any](why string) Seen[T] { return Seen[T]{Unknown: why} }

// See makes a Seen of what a look returned.
func See[T any](v T, err error) Seen[T] {
	if err != nil {
		return Unknown[T](err.Error())
	}
	return Known(v)
}

// Lab is everything that one look at a whole lab found.
type Lab struct {
	At        time.Time          `json:"at"`
	Machines  map[string]Machine `json:"machines"`            // by name; those that answered
	Unreached map[string]string  `json:"unreached,omitempty"` // by name: why a machine didn't
	Off       map[string]bool    `json:"off,omitempty"`       // by name: those of the unreached ones that don't run at all
	Datastore Seen[Datastore]    `json:"datastore"`
	// DatastoreAt is when the datastore was read, by the etcd machine's clock.
	DatastoreAt time.Time                `json:"datastoreAt,omitzero"`
	Resources   Seen[Resources]          `json:"resources,omitzero"` // of the datastore; where it was asked for
	Probes      map[string]Seen[[]Probe] `json:"probes,omitempty"`   // by the node that they were sent from
}

// Machine returns what was seen of a machine; ok is false for one that didn't answer.
func (l *Lab) Machine(name string) (m Machine, ok bool) {
	m, ok = l.Machines[name]
	return m, ok
}

// Merge puts a look at some of the machines over what is known of all. Looks at the same machine may end in another order than
// they began in: the one that was taken later counts.
func (l *Lab) Merge(newer Lab) {
	if l.Machines == nil {
		l.Machines = map[string]Machine{}
	}
	if l.Unreached == nil {
		l.Unreached = map[string]string{}
	}
	if l.Off == nil {
		l.Off = map[string]bool{}
	}
	if newer.At.After(l.At) {
		l.At = newer.At
	}
	for name, m := range newer.Machines {
		if old, ok := l.Machines[name]; ok && old.At.After(m.At) {
			continue
		}
		l.Machines[name] = m
		delete(l.Unreached, name)
		delete(l.Off, name)
	}
	for name, why := range newer.Unreached {
		delete(l.Machines, name)
		l.Unreached[name] = why
		if newer.Off[name] {
			l.Off[name] = true
		} else {
			delete(l.Off, name)
		}
	}
	// Where the etcd machine didn't answer, there is no time by its clock.
	if newer.Datastore.Unknown != NotAsked && (newer.DatastoreAt.IsZero() || !l.DatastoreAt.After(newer.DatastoreAt)) {
		l.Datastore, l.DatastoreAt, l.Resources = newer.Datastore, newer.DatastoreAt, newer.Resources
	}
}

// Clone returns a copy whose maps can be changed.
func (l *Lab) Clone() Lab {
	c := *l
	c.Machines, c.Unreached, c.Off, c.Probes = maps.Clone(l.Machines), maps.Clone(l.Unreached), maps.Clone(l.Off), maps.Clone(l.Probes)
	return c
}

// NotAsked is why a fact is unknown that this look wasn't to find.
const NotAsked = "not asked for"

// Write and Read are the recorded form of a look: a file in the logs archive, a fixture of a test.
func (l *Lab) Write() ([]byte, error) { return json.MarshalIndent(l, "", " ") }

// Read reads what Write wrote.
func Read(data []byte) (Lab, error) {
	var l Lab
	if err := json.Unmarshal(data, &l); err != nil {
		return l, fmt.Errorf("recorded facts: %w", err)
	}
	return l, nil
}

// Kind is a kind of fact.
type Kind string

// The kinds of facts of a machine, and of the datastore.
const (
	Links       Kind = "links"
	Routes      Kind = "routes"
	Neighbours  Kind = "neighbours"
	Forwarding  Kind = "forwarding"
	Processes   Kind = "processes"
	Ports       Kind = "ports"
	Engine      Kind = "docker"
	Containers  Kind = "containers"
	Sessions    Kind = "bgp"
	Felix       Kind = "felix"
	EtcdHealth  Kind = "etcd"
	EtcdAuth    Kind = "auth"
	EtcdMembers Kind = "members"
	Files       Kind = "files"
	Calicoctl   Kind = "calicoctl"

	Certificates Kind = "certificates"
	GoTree       Kind = "go"
	Attachments  Kind = "attachments"
	Sandboxes    Kind = "sandboxes"
	Nodes        Kind = "nodes"
	Pools        Kind = "pools"
	Blocks       Kind = "blocks"
	Endpoints    Kind = "endpoints"
	BGPConfig    Kind = "bgpconfig"
	Policies     Kind = "policies"
	Release      Kind = "release"
	Rules        Kind = "rules"
	Lookups      Kind = "lookups"
	RPFilter     Kind = "rpfilter"
	Learned      Kind = "learned"
	Conflists    Kind = "conflists"
	Profiles     Kind = "profiles"
	Peers        Kind = "peers"
	RouterConf   Kind = "routerconf"
	RouterBGP    Kind = "routerbgp"
)

// commands are how a person sees the same thing on the machine.
var commands = map[Kind]string{
	Links:        "ip -details address show",
	Routes:       "ip route show",
	Neighbours:   "ip neighbour show",
	Forwarding:   "/usr/sbin/sysctl net.ipv4.ip_forward",
	Processes:    "ps -e -o pid,comm",
	Ports:        "sudo ss --listening --tcp --numeric --processes",
	Engine:       "sudo docker version",
	Containers:   "sudo docker ps --all",
	Sessions:     "sudo calicoctl node status",
	Felix:        "curl -s -i http://localhost:9099/readiness",
	EtcdHealth:   "sudo docker exec etcd etcdctl endpoint health",
	EtcdAuth:     "sudo docker exec etcd etcdctl auth status",
	EtcdMembers:  "sudo docker exec etcd etcdctl member list",
	Calicoctl:    "sudo ls -l /usr/local/bin/calicoctl /etc/calico",
	Certificates: "sudo ls -lR /etc/calico/pki",
	Files:        "sudo ls -l /opt/cni/bin /etc/cni/net.d /etc/profile.d go/bin",
	GoTree:       "/usr/local/go/bin/go version",
	Attachments:  "sudo ls -l /var/lib/cni/results",
	Sandboxes:    "sudo docker exec workload ip address show",
	Nodes:        "sudo calicoctl get nodes --output=wide",
	Pools:        "sudo calicoctl get ippools --output=yaml",
	Blocks:       "sudo calicoctl ipam show --show-blocks",
	Endpoints:    "sudo calicoctl get workloadendpoints --all-namespaces",
	BGPConfig:    "sudo calicoctl get bgpconfigurations --output=yaml",
	Policies:     "sudo calicoctl get globalnetworkpolicies --output=yaml",
	Release:      "sudo calicoctl get clusterinformations --output=yaml",
	Rules:        "sudo iptables-save -c",
	Lookups:      "ip rule show",
	RPFilter:     "/usr/sbin/sysctl -a --pattern 'net.ipv4.conf.*.rp_filter'",
	Learned:      "sudo docker exec $(sudo docker ps -q --filter label=" + LabelPart + "=" + PartNode + ") birdcl -s /var/run/calico/bird.ctl show route all",
	Conflists:    "sudo sh -c 'cat /etc/cni/net.d/*'",
	Profiles:     "sudo calicoctl get profiles --output=yaml",
	Peers:        "sudo calicoctl get bgppeers",
	RouterConf:   "cat /etc/bird/bird.conf",
	RouterBGP:    "sudo docker exec bird birdc show protocols",
}

// Command is the command line with which a person sees facts of this kind on a machine.
func (k Kind) Command() string { return commands[k] }

// Kinds returns all kinds, sorted.
func Kinds() []Kind { return slices.Sorted(maps.Keys(commands)) }
