// Package challenge breaks a lab in a hidden way, and says whether a learner has mended it. What is broken, and where, follows from a
// seed; the learner sees the symptom. He has solved it when the symptom is gone, nothing of what was broken is left, and nothing else
// was changed instead.
package challenge

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/baseline"
	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/nearest"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
	"github.com/calico-cni-lab/lab/magefiles/internal/spec"
)

// MostHints is how many hints there are.
const MostHints = 3

// Challenge is a way to break a lab, under a name that says no more than its symptom. In its texts {words} stand for what is different in
// each lab: see Case.expand.
type Challenge struct {
	Name, Title string
	Symptom     string
	Hints       [MostHints]string // each says more than the one before
	// variants are the ways in which it is broken. All have the same symptom.
	variants []variant
	// probes are what of the symptom can be tried. It is gone when all of them are well.
	probes func(*Case) []probe
	// stays are items that belong to the scene and are to stay as they are, but for a policy's order.
	stays []baseline.Key
	// harmless says of a difference from the baseline that it doesn't matter whether it is there. May be nil.
	harmless func(*Case, baseline.Difference) bool
	// lasts says whether what was broken still is, where no difference from the baseline would say so. May be nil.
	lasts func(*Case) bool
}

// variant is one way in which a challenge is broken.
type variant struct {
	breaks   func(context.Context, *Case) error
	Why      string // what it was, and how one finds it
	evidence []command
	fix      []command
}

// command is a command line on a machine.
type command struct{ machine, line string }

// Lab is what a challenge works with.
type Lab struct {
	*lab.Lab
	Baseline *baseline.Baseline
	Look     func(context.Context) fact.Lab                                // a deep look at all machines
	Peek     func(ctx context.Context, packets bool) (check.Report, error) // packets: whether those that check sends are sent, too
	Host     func(ctx context.Context, machine string) (*remote.Host, error)
	Send     func(ctx context.Context, machine, sandbox string, r fact.ProbeRequest) ([]fact.Probe, error)
	Order    func(context.Context, []fact.Op) error
	Slow     int // how much longer than usual an answer may take
}

// Find finds a challenge by its name.
func Find(name string) (Challenge, error) {
	var names []string
	for _, c := range All() {
		if c.Name == name {
			return c, nil
		}
		names = append(names, c.Name)
	}
	meant := "there are " + strings.Join(names, ", ")
	if near := nearest.Of(name, names); len(near) > 0 {
		meant = "did you mean " + strings.Join(near, ", ") + "?"
	}
	return Challenge{}, fmt.Errorf("there is no challenge %q; %s", name, meant)
}

// Case is a challenge in a lab.
type Case struct {
	Challenge
	*Lab
	State State
	// node is where it is broken, other another node; both have a workload.
	node, other lab.Machine
	variant     variant
	way         int // the variant's number
	facts       fact.Lab
}

// Open returns the case of a state. The lab must have what challenges need.
func Open(l *Lab, s State) (*Case, error) {
	c, err := Find(s.Name)
	if err != nil {
		return nil, err
	}
	nodes := slices.DeleteFunc(l.ByRole(lab.RoleCalico), func(m lab.Machine) bool { return m.Workloads.Count == 0 })
	switch {
	case len(nodes) < 2:
		return nil, errors.New("challenges need two Calico nodes with a workload on each")
	case !l.BGP.Mesh || len(l.BGP.Reflectors) > 0 || l.Pool.VXLANMode != lab.VXLANNever:
		return nil, errors.New("challenges need BGP's node-to-node mesh and a pool with vxlanMode Never, as in the project's lab.yaml")
	}
	random := rand.New(rand.NewPCG(s.Seed, version))
	pick := random.Perm(len(nodes))
	k := &Case{Challenge: c, Lab: l, State: s, node: nodes[pick[0]], other: nodes[pick[1]]}
	k.way = random.IntN(len(c.variants))
	k.variant = c.variants[k.way]
	return k, nil
}

// Way is what is broken, and where. It is for tests.
func (c *Case) Way() string { return fmt.Sprintf("%s %d", c.node.Name, c.way) }

// See looks at the lab as it is.
func (c *Case) See(ctx context.Context) {
	c.facts = c.Look(ctx)
}

// symptomTime is how long Calico may take to show what was broken.
const symptomTime = 20 * time.Second

// Break breaks the lab, waits until the symptom is there, and takes down what differs then.
func (c *Case) Break(ctx context.Context) error {
	c.See(ctx)
	if err := c.variant.breaks(ctx, c); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, symptomTime*time.Duration(c.Slow), errors.New("the lab doesn't show the symptom, on this hardware or with this lab.yaml"))
	defer cancel()
	for {
		c.See(ctx)
		if found := c.tried(ctx); len(found) > 0 && context.Cause(ctx) == nil {
			break
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
	report, err := c.Peek(ctx, false)
	if err != nil {
		return err
	}
	c.See(ctx)
	c.State.Scars, c.State.Unmet = nil, nil
	for _, d := range baseline.Differences(c.Baseline, &c.facts) {
		c.State.Scars = append(c.State.Scars, c.scar(d))
	}
	for _, r := range report.Unmet() {
		c.State.Unmet = append(c.State.Unmet, c.State.digest(r.ID))
	}
	c.State.Begun = time.Now()
	return nil
}

// pause waits a moment, or for ctx to end.
func pause(ctx context.Context) error {
	timer := time.NewTimer(300 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// tried is what of the symptom is there.
func (c *Case) tried(ctx context.Context) []string {
	probes := c.probes(c)
	found := make([]string, len(probes))
	var wg sync.WaitGroup
	for i, p := range probes {
		wg.Go(func() {
			if said := p.try(ctx); said != "" {
				found[i] = p.what + ": " + said
			}
		})
	}
	wg.Wait()
	return slices.DeleteFunc(found, func(s string) bool { return s == "" })
}

// Story is the symptom, for people.
func (c *Case) Story() string { return fold(c.expand(c.Symptom)) }

// Hint is one of the three, from 1 on.
func (c *Case) Hint(n int) string { return fold(c.expand(c.Hints[n-1])) }

// Why is what was broken.
func (c *Case) Why() string { return fold(c.expand(c.variant.Why)) }

// Shown is a command and what it prints.
type Shown struct{ Machine, Command, Printed string }

// mostLines is how much of a command's output is evidence.
const mostLines = 12

// Evidence runs the commands that show the cause, and returns what they print.
func (c *Case) Evidence(ctx context.Context) ([]Shown, error) {
	var all []Shown
	for _, e := range c.variant.evidence {
		s := c.shown(e)
		h, err := c.Host(ctx, s.Machine)
		if err != nil {
			return all, err
		}
		out, err := h.Run(ctx, "bash", "-c", s.Command+" 2>&1; true")
		if err != nil {
			return all, err
		}
		lines := strings.Split(out, "\n")
		if len(lines) > mostLines {
			lines = append(lines[:mostLines], "...")
		}
		s.Printed = strings.Join(lines, "\n")
		all = append(all, s)
	}
	return all, nil
}

// Fix is what mends it.
func (c *Case) Fix() []Shown {
	var all []Shown
	for _, e := range c.variant.fix {
		all = append(all, c.shown(e))
	}
	return all
}

func (c *Case) shown(e command) Shown {
	return Shown{Machine: c.expand(e.machine), Command: c.expand(e.line)}
}

// expand puts what is in this lab in the place of words in braces.
func (c *Case) expand(text string) string {
	dev, _ := c.facts.Machines[c.node.Name].LinkWith(c.node.Address)
	return strings.NewReplacer(
		"{node}", c.node.Name, "{other}", c.other.Name, "{etcd}", c.Etcd().Name,
		"{node-address}", c.node.Address.String(), "{other-address}", c.other.Address.String(), "{etcd-address}", c.Etcd().Address.String(),
		"{workload}", c.workload(c.node).address.String(), "{peer}", c.workload(c.other).address.String(),
		"{mtu}", fmt.Sprint(c.mtu()), "{leaked}", leakedRange(c.block(c.node)), "{node-block}", c.block(c.node).String(), "{other-block}", c.block(c.other).String(),
		"{network}", c.Network, "{pool}", c.Pool.Name, "{port}", fmt.Sprint(spec.WorkloadPort), "{underlay}", dev.Name,
		"{conflist}", c.conflist(), "{calico-node}", c.calicoNode(c.node), "{default-route}", c.defaultRoute(),
		"{passive}", c.passive().Name, "{cnitool}", cnitool, "{key}", sandboxKey,
	).Replace(text)
}

// What a learner types to run cnitool, and to name the workload's sandbox to it.
const (
	cnitool    = "sudo CNI_PATH=" + spec.PluginDir + " NETCONFPATH=" + spec.ConfDir + " ~/go/bin/cnitool"
	sandboxKey = "$(sudo docker inspect -f '{{.NetworkSettings.SandboxKey}}' " + fact.PartWorkload + ")"
)

func (c *Case) conflist() string { return spec.ConfDir + "/10-" + c.Network + ".conflist" }

// calicoNode is the name of a machine's container.
func (c *Case) calicoNode(m lab.Machine) string {
	for _, n := range c.facts.Machines[m.Name].Docker.Value.Part(fact.PartNode) {
		return strings.TrimPrefix(n.Name, "/")
	}
	return "calico-node"
}

// plumbed is a node's first workload: its sandbox, and the address that it has from whatever network.
type plumbed struct {
	sandbox string
	address netip.Addr
}

func (c *Case) workload(m lab.Machine) plumbed {
	seen := c.facts.Machines[m.Name]
	w, _ := seen.Workload(c.Network)
	p := plumbed{sandbox: w.Container.NetworkSettings.SandboxKey, address: c.Baseline.Workloads[fact.WorkloadKey(m.Name, w.Name)].Address}
	for _, a := range seen.Attachments.Value {
		if a.NetNS == p.sandbox && a.Live && a.Address().IsValid() {
			p.address = a.Address()
		}
	}
	return p
}

// block is a node's, as the baseline has it: the one that its workload's address is from.
func (c *Case) block(m lab.Machine) netip.Prefix {
	a := c.Baseline.Workloads[fact.WorkloadKey(m.Name, fact.WorkloadName(1))].Address
	block, err := a.Prefix(c.Pool.BlockSize)
	if err != nil {
		return netip.Prefix{}
	}
	return block
}

// defaultRoute is the node's, as `ip route add` takes it.
func (c *Case) defaultRoute() string {
	for _, i := range c.Baseline.Items {
		if i.Kind == baseline.Route && i.Machine == c.node.Name && strings.HasPrefix(i.Value, "default ") {
			if _, metric, ok := strings.Cut(i.Name, " metric "); ok && metric != "0" {
				return i.Value + " metric " + metric
			}
			return i.Value
		}
	}
	return "default"
}

// passive is the one of the two nodes that the other one connects to: the one whose address is less, as text (confd's
// bird.cfg.template).
func (c *Case) passive() lab.Machine {
	if c.node.Address.String() < c.other.Address.String() {
		return c.node
	}
	return c.other
}

// leakedRange is all of a block but its first address, as bash expands it.
func leakedRange(block netip.Prefix) string {
	if block.Bits() < 24 {
		return block.String()
	}
	a := block.Addr().As4()
	return fmt.Sprintf("%d.%d.%d.{%d..%d}", a[0], a[1], a[2], a[3]+1, int(a[3])+1<<(32-block.Bits())-1)
}
