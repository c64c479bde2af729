package challenge

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/baseline"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/spec"
	"github.com/calico-cni-lab/lab/scripts"
)

// on breaks something by a script on the node, as root. It reaches the machine by standard input, which no log has.
func on(script string) func(context.Context, *Case) error {
	return func(ctx context.Context, c *Case) error { return c.on(ctx, c.node, script) }
}

// inDatastore breaks something by a script on the etcd machine.
func inDatastore(script string) func(context.Context, *Case) error {
	return func(ctx context.Context, c *Case) error { return c.on(ctx, c.Etcd(), script) }
}

// on runs a script on a machine, with words in braces expanded.
func (c *Case) on(ctx context.Context, m lab.Machine, script string) error {
	login := c.facts.Machines[m.Name].Login
	_, err := c.run(ctx, m, "set -euo pipefail\nexport CNI_PATH="+spec.PluginDir+" NETCONFPATH="+spec.ConfDir+
		"\nwrite() { cat >\"$1.new\" && cat \"$1.new\" >\"$1\" && rm \"$1.new\"; }\ncnitool="+login.Cnitool()+"\n"+c.expand(script))
	return err
}

// edit is a script that has one of Calico's resources changed by a filter of jq's.
func edit(kind, name, filter string) string {
	return scripts.Text("edit-resource.sh") + fmt.Sprintf("edit %s %s '%s'\n", kind, name, filter)
}

// dropBGP drops what the one of the two nodes that connects sends, on the node, and restarts BIRD on both: an open session would last
// until its hold timer ends.
func dropBGP(ctx context.Context, c *Case) error {
	chain := "OUTPUT"
	if c.passive().Name == c.node.Name {
		chain = "INPUT"
	}
	const restart = "\ndocker exec \"$(docker ps --quiet --filter label=" + fact.LabelPart + "=" + fact.PartNode + ")\" sv restart bird >/dev/null"
	if err := c.on(ctx, c.node, "iptables -I "+chain+" -p tcp --dport 179 -j DROP"+restart); err != nil {
		return err
	}
	return c.on(ctx, c.other, restart)
}

// replumb plumbs the node's workload anew, after a change; network is what it is attached to then.
func replumb(change, network string) string {
	return `key=$(docker inspect --format '{{.NetworkSettings.SandboxKey}}' ` + fact.PartWorkload + `)
"$cnitool" del {network} "$key"
` + change + `
"$cnitool" add ` + network + ` "$key" >/dev/null
`
}

// otherNetwork is the name of a network that nobody asked for.
const otherNetwork = "staging"

// twin is the name of a node that isn't there.
const twin = "rack7"

// takeAddress registers the node's address as another node's, and has calico-node start as on a machine that was installed anew.
func takeAddress(ctx context.Context, c *Case) error {
	bits := c.SubnetOf(c.node.Address).Bits()
	script := fmt.Sprintf(`calicoctl apply --filename=- >/dev/null <<<'{"apiVersion":"projectcalico.org/v3","kind":"Node","metadata":{"name":"%s"},"spec":{"bgp":{"ipv4Address":"{node-address}/%d"}}}'
`, twin, bits) + edit("Node", "{node}", "del(.spec.bgp)")
	if err := c.on(ctx, c.Etcd(), script); err != nil {
		return err
	}
	return c.on(ctx, c.node, "docker restart --time 2 {calico-node} >/dev/null")
}

// fillBlock takes all addresses of the node's block, as containers that were killed with their machine leave them, and allows no more than
// that block.
func fillBlock(ctx context.Context, c *Case) error {
	ops, err := leak(c.facts.Machines[c.Etcd().Name].Datastore.Value, c.block(c.node), c.node.Name, c.Network, c.State.Seed)
	if err != nil {
		return err
	}
	if err := c.Order(ctx, ops); err != nil {
		return err
	}
	return c.on(ctx, c.Etcd(), "calicoctl ipam configure --strictaffinity=true --max-blocks-per-host=1 >/dev/null")
}

// leak returns what gives each free address of a block to a container that nobody has.
func leak(all []fact.KeyValue, block netip.Prefix, node, network string, seed uint64) ([]fact.Op, error) {
	key := assignments + "ipv4/block/" + strings.ReplaceAll(block.String(), "/", "-")
	i := slices.IndexFunc(all, func(kv fact.KeyValue) bool { return kv.Key == key })
	if i < 0 {
		return nil, fmt.Errorf("%s has no block %s", node, block)
	}
	var entry map[string]json.RawMessage
	var part struct {
		Allocations []*int
		Unallocated []int
		Attributes  []json.RawMessage
	}
	if err := json.Unmarshal(all[i].Value, &entry); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(all[i].Value, &part); err != nil {
		return nil, err
	}
	random := rand.New(rand.NewPCG(seed, version))
	var ops []fact.Op
	for _, ordinal := range part.Unallocated {
		handle := fmt.Sprintf("%s.cnitool-%020x", network, random.Uint64())
		attribute, err := json.Marshal(map[string]any{"handle_id": handle, "secondary": map[string]string{
			"node": node, "timestamp": time.Now().UTC().Add(-time.Duration(random.IntN(100_000)) * time.Second).Format("2006-01-02 15:04:05.999999999 -0700 MST"),
		}})
		if err != nil {
			return nil, err
		}
		n := len(part.Attributes)
		part.Attributes, part.Allocations[ordinal] = append(part.Attributes, attribute), &n
		ops = append(ops, fact.Op{KeyValue: fact.KeyValue{
			Key: fact.IPAMPrefix + "handle/" + handle, Value: fmt.Appendf(nil, `{"block":{%q:1},"deleted":false}`, block),
		}})
	}
	for field, value := range map[string]any{"allocations": part.Allocations, "unallocated": []int{}, "attributes": part.Attributes} {
		data, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		entry[field] = data
	}
	value, err := json.Marshal(entry)
	return append(ops, fact.Op{KeyValue: fact.KeyValue{Key: key, Value: value}}), err
}

// leaked says whether addresses of the node's block are taken that no workload has.
func leaked(c *Case) bool {
	d := c.facts.Datastore.Value
	for _, b := range d.Blocks {
		if b.CIDR != c.block(c.node) {
			continue
		}
		for _, a := range b.Used {
			if !slices.ContainsFunc(d.Endpoints, func(e fact.Endpoint) bool { return slices.Contains(e.Addresses, netip.PrefixFrom(a, a.BitLen())) }) {
				return true
			}
		}
	}
	return false
}

// The policies of the scene, as etcd names them.
const (
	allowWeb = "allow-web"
	lockDown = "lock-down"
	tierName = "default."
)

// denyFirst is two policies, of which the one that denies comes first.
func denyFirst() string {
	const policy = `calicoctl apply --filename=- >/dev/null <<<'{"apiVersion":"projectcalico.org/v3","kind":"GlobalNetworkPolicy","metadata":{"name":"%s"},"spec":{"order":%d,"selector":"all()","types":["Ingress"],"ingress":[%s]}}'
`
	return fmt.Sprintf(policy, allowWeb, 200, fmt.Sprintf(`{"action":"Allow","protocol":"TCP","destination":{"ports":[%d]}}`, spec.WorkloadPort)) +
		fmt.Sprintf(policy, lockDown, 100, `{"action":"Allow","protocol":"ICMP"},{"action":"Deny"}`)
}

// deniedFirst says whether the policy that denies still comes first.
func deniedFirst(c *Case) bool {
	order := map[string]float64{}
	for _, p := range c.facts.Resources.Value.Policies {
		name := strings.TrimPrefix(p.Name, tierName)
		order[name] = 1e9 // none is behind all others
		if p.Order != nil {
			order[name] = *p.Order
		}
	}
	// Of two with the same order the name decides.
	return order[allowWeb] > order[lockDown]
}

// throughOtherNetwork says whether the node's workload hangs on another network than the lab's.
func throughOtherNetwork(c *Case) bool {
	seen := c.facts.Machines[c.node.Name]
	key := c.workload(c.node).sandbox
	return slices.ContainsFunc(seen.Attachments.Value, func(a fact.Attachment) bool { return a.NetNS == key && a.Live && a.Network != c.Network })
}

// leftovers are a network that nobody uses, and its profile: they do no harm.
func leftovers(_ *Case, d baseline.Difference) bool {
	return d.Key == resource("profiles", otherNetwork) || d.Kind == baseline.Path && strings.HasSuffix(d.Name, "-"+otherNetwork+".conflist")
}

// sameDefault says whether a default route leads to where the baseline's does, whatever its metric and protocol.
func sameDefault(c *Case, d baseline.Difference) bool {
	if d.Kind != baseline.Route || d.Machine != c.node.Name || !strings.HasPrefix(d.Name, "0.0.0.0/0 ") {
		return false
	}
	was := strings.Fields(c.defaultRoute())
	for _, r := range c.facts.Machines[c.node.Name].Routes.Value {
		is := strings.Fields(r.String())
		if len(is) >= 5 && len(was) >= 5 && slices.Equal(is[:5], was[:5]) { // default via ADDRESS dev NAME
			return true
		}
	}
	return false
}

// webPort is what allow-web opens.
const webPort = spec.WorkloadPort

// meshOn says whether a BGPConfiguration that the baseline hasn't says nothing but what Calico does without it.
func meshOn(d baseline.Difference) bool {
	var v struct {
		Spec map[string]any `json:"spec"`
	}
	if d.How != baseline.Extra || json.Unmarshal([]byte(d.Is.Value), &v) != nil {
		return false
	}
	on, said := v.Spec["nodeToNodeMeshEnabled"]
	delete(v.Spec, "nodeToNodeMeshEnabled")
	return len(v.Spec) == 0 && (!said || on == true)
}

// sameConflist says whether the network's conflist says what the baseline's does, however it is written.
func sameConflist(c *Case, d baseline.Difference) bool {
	if d.Kind != baseline.Path || d.Name != c.conflist() || d.How != baseline.Changed {
		return false
	}
	contents := func(raw string) (v any) {
		var text struct{ Content string }
		if json.Unmarshal([]byte(raw), &text) != nil || json.Unmarshal([]byte(text.Content), &v) != nil {
			return nil
		}
		return v
	}
	was := contents(d.Was.Raw)
	return was != nil && reflect.DeepEqual(was, contents(d.Is.Raw))
}
