package challenge

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/spec"
	"github.com/calico-cni-lab/lab/scripts"
)

// probe is something that a learner can try, too.
type probe struct {
	what string
	try  func(context.Context) string // what came of it; "" where all is well
}

// Limits of what is tried.
const (
	answerTime   = time.Second     // a packet's way there and back
	trialTime    = 5 * time.Second // an ADD
	transferTime = 2 * time.Second // without a byte
	transfer     = 1_000_000       // bytes
)

// run runs a script on a machine, as root.
func (c *Case) run(ctx context.Context, m lab.Machine, script string, args ...string) (string, error) {
	h, err := c.Host(ctx, m.Name)
	if err != nil {
		return "", err
	}
	return h.Script(ctx, script, args...)
}

// packet is an echo request, or a connection where port isn't 0, from one node's workload to another's.
func (c *Case) packet(from, to lab.Machine, port uint16) probe {
	what := named(from) + " pings " + named(to)
	if port != 0 {
		what = fmt.Sprintf("%s talks to %s, TCP port %d", named(from), named(to), port)
	}
	return probe{what, func(ctx context.Context) string {
		got, err := c.send(ctx, c.workload(from).sandbox, from, c.workload(to).address, port)
		switch {
		case err != nil:
			return err.Error()
		case port != 0:
			return got.TCP
		}
		return got.Ping
	}}
}

// named is a node's first workload as explain names it.
func named(m lab.Machine) string { return m.Name + "/" + fact.PartWorkload }

func (c *Case) send(ctx context.Context, sandbox string, from lab.Machine, to netip.Addr, port uint16) (fact.Probe, error) {
	if sandbox == "" || !to.IsValid() {
		return fact.Probe{}, fmt.Errorf("nothing was sent: the workloads don't run")
	}
	got, err := c.Send(ctx, from.Name, sandbox, fact.ProbeRequest{To: []netip.Addr{to}, Port: port, Within: answerTime * time.Duration(c.Slow)})
	if err == nil && len(got) != 1 {
		err = fmt.Errorf("%d answers, not 1", len(got))
	}
	if err != nil {
		return fact.Probe{}, err
	}
	return got[0], nil
}

// bothWays is packets between the workloads of the two nodes.
func bothWays(c *Case) []probe {
	return []probe{c.packet(c.node, c.other, 0), c.packet(c.other, c.node, 0)}
}

// newcomers is a trial ADD on each of the two nodes.
func newcomers(c *Case) []probe { return []probe{c.trial(c.node), c.trial(c.other)} }

// trial has cnitool give a network namespace an interface, and takes both away again.
func (c *Case) trial(m lab.Machine) probe {
	return probe{"a new workload on " + m.Name + " gets an interface", func(ctx context.Context) string {
		seen := c.facts.Machines[m.Name]
		said, err := c.run(ctx, m, scripts.Text("trial-add.sh"), seen.Login.Cnitool(), c.Network, strconv.Itoa(int(trialTime.Seconds())*c.Slow), spec.PluginDir, spec.ConfDir)
		if err != nil {
			return err.Error()
		}
		return said
	}}
}

// full is an echo request that just fits into the underlay's MTU, and may not be cut.
func (c *Case) full(from, to lab.Machine) probe {
	return probe{named(from) + " pings " + named(to) + " with full-size packets", func(ctx context.Context) string {
		const headers = 20 + 8 // IPv4 and ICMP
		want := c.mtu()
		out, err := c.run(ctx, from, `nsenter --net="$1" ping -c 1 -W 1 -M do -s "$2" "$3" 2>&1 || true`, c.workload(from).sandbox, strconv.Itoa(want-headers), c.workload(to).address.String())
		switch {
		case err != nil:
			return err.Error()
		case strings.Contains(out, " bytes from "):
			return ""
		case strings.Contains(out, "Frag needed"), strings.Contains(out, "too long"):
			return "fragmentation needed"
		}
		return fmt.Sprintf("no reply to %d bytes", want)
	}}
}

// mtu is the underlay's, as the node that isn't broken has it: what a workload was given instead, to let something pass, doesn't count.
func (c *Case) mtu() int {
	l, ok := c.facts.Machines[c.other.Name].LinkWith(c.other.Address)
	if !ok {
		return 1500
	}
	return l.MTU
}

// download has one node's workload fetch some data from another's. What the sandbox has learned of paths' MTUs is forgotten before, as
// it would hide what is wrong for ten minutes.
func (c *Case) download(to, from lab.Machine) probe {
	return probe{named(to) + " downloads 1 MB from " + named(from), func(ctx context.Context) string {
		const port = "9000"
		_, err := c.run(ctx, from, `docker exec --detach "$1" timeout 20 socat -u -b1448 "SYSTEM:head -c $2 /dev/zero" "TCP-LISTEN:$3,reuseaddr,nodelay"`, fact.PartWorkload, strconv.Itoa(transfer), port)
		if err != nil {
			return err.Error()
		}
		out, err := c.run(ctx, to, scripts.Text("trial-download.sh"), c.workload(to).sandbox, fact.PartWorkload, c.workload(from).address.String(), port, strconv.Itoa(int(transferTime.Seconds())*c.Slow))
		switch n, _ := strconv.Atoi(out); {
		case err != nil:
			return err.Error()
		case n < transfer:
			return fmt.Sprintf("it hangs after %d bytes", n)
		}
		return ""
	}}
}

// comesBack is calico-node on a machine, which runs and says that it is ready.
func (c *Case) comesBack(m lab.Machine) probe {
	return probe{"calico-node on " + m.Name + " runs", func(context.Context) string {
		seen := c.facts.Machines[m.Name]
		for _, n := range seen.Docker.Value.Part(fact.PartNode) {
			if n.State.Status != "running" {
				return "its container is " + n.State.Status
			}
		}
		if !seen.Felix.Value.OK {
			return "it isn't ready"
		}
		return ""
	}}
}

// closedPort is one at which nobody listens.
const closedPort = 9

// closed is that a packet filter lets nothing to a port at which nobody listens: else the workload itself would refuse.
func (c *Case) closed(from, to lab.Machine) probe {
	return probe{named(from) + " reaches no other port of " + named(to), func(ctx context.Context) string {
		got, err := c.send(ctx, c.workload(from).sandbox, from, c.workload(to).address, closedPort)
		switch {
		case err != nil:
			return err.Error()
		case got.TCP == "" || strings.Contains(got.TCP, "refused"):
			return fmt.Sprintf("TCP port %d is open, too", closedPort)
		}
		return ""
	}}
}
