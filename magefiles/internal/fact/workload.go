package fact

import (
	"cmp"
	"encoding/json"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Attachment is an interface that a network gave to a network namespace, as libcni remembers it
// (containernetworking/cni, libcni/api.go: cachedInfo, one file each in /var/lib/cni/results).
type Attachment struct {
	Network     string `json:"networkName"`
	ContainerID string `json:"containerId"`
	IfName      string `json:"ifName"`
	NetNS       string `json:"netns"` // the sandbox key
	// What the plugins were asked with, beside the network's name and the namespace.
	Conflist     string                     `json:"conflist,omitempty"`       // libcni's config, as text: so what is secret in it is found
	CNIArgs      [][2]string                `json:"cniArgs,omitempty"`        // CNI_ARGS: IP=..., say
	Capabilities map[string]json.RawMessage `json:"capabilityArgs,omitempty"` // runtime configuration: port mappings, say
	Result       json.RawMessage            `json:"result"`
	Live         bool                       `json:"live"` // whether NetNS still is a network namespace
}

// result is what the lab reads of a CNI result, in every version of the specification. libcni's own types take an entry that is
// null for one that is there.
type result struct {
	Interfaces []struct{ Name string }
	IPs        []struct{ Address string }
	IP4        struct{ IP string } // until 0.2.0
}

func (a Attachment) result() (r result) {
	if json.Unmarshal(a.Result, &r) != nil {
		return result{}
	}
	return r
}

// Labels are those that the workload was to have, by the conflist that it was plumbed with.
func (a Attachment) Labels() map[string]string {
	var conf struct {
		Plugins []struct {
			Args LabelArgs `json:"args"`
		} `json:"plugins"`
	}
	if json.Unmarshal([]byte(a.Conflist), &conf) != nil {
		return nil
	}
	all := map[string]string{}
	for _, p := range conf.Plugins {
		for _, l := range p.Args.Mesos.NetworkInfo.Labels.Labels {
			all[l.Key] = l.Value
		}
	}
	return all
}

// LabelArgs is where Calico's CNI plugin finds the labels of a workload endpoint where there is no Kubernetes: in Mesos' place
// (cni-plugin/pkg/types).
type LabelArgs struct {
	Mesos struct {
		NetworkInfo struct {
			Labels struct {
				Labels []Label `json:"labels"`
			} `json:"labels"`
		} `json:"network_info"`
	} `json:"org.apache.mesos"`
}

// Label is a label as Mesos writes it.
type Label struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// Address is the attachment's first address; zero where the result has none.
func (a Attachment) Address() netip.Addr {
	r := a.result()
	first := r.IP4.IP
	if len(r.IPs) > 0 {
		first = r.IPs[0].Address
	}
	p, _ := netip.ParsePrefix(first)
	return p.Addr().Unmap()
}

// HostInterface is the attachment's end on the machine.
func (a Attachment) HostInterface() string {
	for _, i := range a.result().Interfaces {
		return i.Name
	}
	return ""
}

// Sandbox is the network namespace of a running container that isn't in the machine's.
type Sandbox struct {
	Key       string  `json:"key"`       // its path on the machine
	Container string  `json:"container"` // ID
	Links     []Link  `json:"links"`
	Routes    []Route `json:"routes"`
}

// Workload is a plumbed container: its attachment to a network and its sandbox.
type Workload struct {
	Name       string // the container's
	Container  Container
	Attachment Attachment // zero where it has none
	Sandbox    Sandbox    // zero where it doesn't run
}

// Workload returns the first of the lab's workloads; ok is false where there is none.
func (m Machine) Workload(network string) (w Workload, ok bool) {
	all := m.Workloads(network)
	if len(all) == 0 {
		return w, false
	}
	return all[0], true
}

// Workloads are the lab's, in the order of their numbers.
func (m Machine) Workloads(network string) []Workload {
	attachments, sandboxes := map[string]Attachment{}, map[string]Sandbox{}
	for _, a := range m.Attachments.Value {
		if a.Network == network && a.NetNS != "" {
			attachments[a.NetNS] = a
		}
	}
	for _, s := range m.Sandboxes.Value {
		sandboxes[s.Key] = s
	}
	var all []Workload
	for _, c := range m.Docker.Value.Part(PartWorkload) {
		w := Workload{Name: strings.TrimPrefix(c.Name, "/"), Container: c}
		if key := c.NetworkSettings.SandboxKey; key != "" {
			w.Attachment, w.Sandbox = attachments[key], sandboxes[key]
		}
		all = append(all, w)
	}
	slices.SortStableFunc(all, func(a, b Workload) int { return cmp.Compare(WorkloadNumber(a.Name), WorkloadNumber(b.Name)) })
	return all
}

// WorkloadName is the container of a node's nth workload: workload, workload-2, workload-3, ...
func WorkloadName(n int) string {
	if n == 1 {
		return PartWorkload
	}
	return PartWorkload + "-" + strconv.Itoa(n)
}

// WorkloadNumber is n of WorkloadName's; 0 of another name.
func WorkloadNumber(name string) int {
	rest, ok := strings.CutPrefix(name, PartWorkload+"-")
	if n, err := strconv.Atoi(rest); ok && err == nil && name == WorkloadName(n) {
		return n
	}
	if name == PartWorkload {
		return 1
	}
	return 0
}

// WorkloadKey names a workload among those of all machines: the first by its machine alone.
func WorkloadKey(machine, name string) string {
	if name == WorkloadName(1) {
		return machine
	}
	return machine + "/" + name
}

// WorkloadMachine is the machine of the workload that a key names.
func WorkloadMachine(key string) string {
	machine, _, _ := strings.Cut(key, "/")
	return machine
}

// Probe is what a workload's packets to another workload came to.
type Probe struct {
	From netip.Addr    `json:"from,omitzero"` // whose they were, where the request says it
	To   netip.Addr    `json:"to"`
	TTL  int           `json:"ttl,omitempty"` // of the echo reply; 0: none came
	RTT  time.Duration `json:"rtt,omitempty"`
	Said string        `json:"said,omitempty"` // what the server there answered over TCP
	TCP  string        `json:"tcp,omitempty"`  // why it didn't; "" where it did
	Ping string        `json:"ping,omitempty"` // why no reply came; "" where one did
	// Echo says that nothing was asked over TCP.
	Echo bool `json:"echo,omitempty"`
}
