package stage

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
	"github.com/calico-cni-lab/lab/magefiles/internal/spec"
)

// calico puts calicoctl on every machine that has to do with Calico, and runs calico-node on the nodes and BIRD on the routers, until
// the nodes are registered and every BGP session is Established.
func calico() Stage {
	return Stage{
		Name: Calico, Needs: []string{Etcd}, Datastore: true,
		Conditions: calicoConditions,
		Done: func(e *Env, _ *fact.Lab) string {
			return fmt.Sprintf("calico-node v%s runs on %s, %s", e.Pins.Calico, plural(len(e.Nodes()), "node"), established(e.Lab.BGP))
		},
		Prepare: prepareCalico,
		Apply:   applyCalico,
		Until: func(e *Env, m lab.Machine, _ *fact.Lab) fact.Until {
			if m.Role == lab.RoleEtcd {
				return fact.Until{}
			}
			return fact.Until{Within: 20 * time.Second, Felix: m.Role == lab.RoleCalico, Peers: SessionsOf(e.Spec, m)}
		},
	}
}

// established says what BGP has come to.
func established(bgp lab.BGP) string {
	if len(bgp.Reflectors) == 0 {
		return "BGP Established between all"
	}
	return "BGP Established with " + check.Names(bgp.Reflectors)
}

func calicoConditions(e *Env) []check.Condition {
	var all []check.Condition
	for _, m := range e.Nodes() {
		all = append(all, certificatesCondition(e, "certificates", m))
	}
	for _, m := range e.WithCalicoctl() {
		all = append(all, on("calicoctl", m, fact.Calicoctl,
			"calicoctl v"+e.Pins.Calico.String()+" and its configuration are on "+m.Name, "writes the files",
			func(seen fact.Machine, _ *fact.Lab) check.Finding {
				return filesFinding(e, seen, e.CalicoctlFiles(), spec.Calicoctl+" is v"+e.Pins.Calico.String())
			}))
	}
	for _, m := range e.Nodes() {
		all = append(all, datastoreCondition(e, m))
	}
	for _, m := range e.Nodes() {
		c := e.Node(m)
		all = append(all, on("calico-node", m, fact.Containers,
			"calico-node's container runs as it should on "+m.Name, "starts calico-node",
			func(seen fact.Machine, _ *fact.Lab) check.Finding {
				return containerFinding(e, seen, c.Faults(seen.Docker.Value, true), c.Name)
			}))
	}
	all = append(all, routerConditions(e)...)
	for _, m := range e.gone() {
		all = append(all, goneCondition(m))
	}
	all = append(all, bgpConditions(e)...)
	for _, m := range e.Nodes() {
		all = append(all, nodeConditions(e, m)...)
	}
	for _, m := range e.Lab.Routers() {
		all = append(all, routerSpeaks(e, m)...)
	}
	return append(all, stored("calico-release", "", e.Lab, fact.Release,
		"calico-node is of the pinned release", "starts calico-node again",
		func(d *fact.Datastore) check.Finding {
			if want := "v" + e.Pins.Calico.String(); d.Cluster.Version != want {
				return check.Not("the datastore says that Calico is %q; pinned is %s", d.Cluster.Version, want)
			}
			return check.OK("Calico %s", d.Cluster.Version)
		}))
}

// datastoreCondition wants packets to etcd to arrive: without them calico-node goes on with what it knows, and says that it is ready.
func datastoreCondition(e *Env, m lab.Machine) check.Condition {
	c := on("datastore", m, fact.Rules, m.Name+" reaches etcd", "", func(seen fact.Machine, f *fact.Lab) check.Finding {
		if seen.Dialled.Unknown != "" {
			return check.CantSee("%s", seen.Dialled.Unknown)
		}
		for _, d := range seen.Dialled.Value {
			there := slices.IndexFunc(e.Lab.Machines, func(m lab.Machine) bool { return m.Address == d.To.Addr() })
			switch {
			case d.Said == "":
			case d.Refused, linkFinding(seen, m.Address).State != check.Holds, there < 0 || !f.Machines[e.Lab.Machines[there].Name].Etcd.Value.OK:
				return check.CantSee("something else comes first: %s", d.Said)
			default:
				return check.Not("%s", d.Said)
			}
		}
		return check.OK("etcd answers")
	})
	c.Left = "packets to etcd are lost, by a packet filter, say; what was changed on the machines is undone by: go tool mage reset"
	return c
}

// nodeConditions are what calico-node does on a machine.
func nodeConditions(e *Env, m lab.Machine) []check.Condition {
	return []check.Condition{
		nodeCondition(e, m),
		forwardingCondition(m, "no workload reaches another node"),
		on("felix", m, fact.Felix, "Felix on "+m.Name+" is ready", "starts Felix", func(seen fact.Machine, _ *fact.Lab) check.Finding {
			if seen.Felix.Unknown != "" {
				return check.CantSee("%s", seen.Felix.Unknown)
			}
			if !seen.Felix.Value.OK {
				return check.Not("%s", seen.Felix.Value.Said)
			}
			return check.OK("%s", seen.Felix.Value.Said)
		}),
		birdCondition(m),
		sessionsCondition(e, m),
	}
}

// forwardingCondition wants a machine to forward; otherwise is what comes of it if it doesn't.
func forwardingCondition(m lab.Machine, otherwise string) check.Condition {
	return on("forwarding", m, fact.Forwarding, m.Name+" forwards IPv4", "switches forwarding on",
		func(seen fact.Machine, _ *fact.Lab) check.Finding {
			switch {
			case seen.Forwarding.Unknown != "":
				return check.CantSee("%s", seen.Forwarding.Unknown)
			case !seen.Forwarding.Value:
				return check.Not("net.ipv4.ip_forward is 0: %s", otherwise)
			}
			return check.OK("net.ipv4.ip_forward is 1")
		})
}

func birdCondition(m lab.Machine) check.Condition {
	return on("bird", m, fact.Sessions, "BIRD on "+m.Name+" runs", "starts BIRD", func(seen fact.Machine, _ *fact.Lab) check.Finding {
		if seen.BIRD.Unknown != "" {
			return check.Not("%s", seen.BIRD.Unknown)
		}
		return check.OK("BIRD %s", seen.BIRD.Value.Version)
	})
}

// nodeCondition wants a node registered, by or before the calico-node that runs. One that was running before, in an etcd that has
// lost its data since, watches for changes of a revision that this etcd will only come to: it hears nothing.
func nodeCondition(e *Env, m lab.Machine) check.Condition {
	c := stored("node", m.Name, e.Lab, fact.Nodes,
		m.Name+" is registered with its address, and its calico-node knows", "registers the node, starts calico-node again",
		func(d *fact.Datastore) check.Finding {
			n, ok := d.Node(m.Name)
			switch {
			case !ok:
				return check.Not("the datastore doesn't know the node")
			case !n.Address.IsValid():
				return check.Not("%s is registered without an address", m.Name)
			case n.Address.Addr() != m.Address:
				return check.Not("%s is registered with %s, not with %s", m.Name, n.Address, m.Address)
			}
			return check.OK("%s", n.Address)
		})
	registered := c.Test
	c.Test = func(f *fact.Lab) check.Finding {
		found := registered(f)
		if found.State == check.Holds {
			if ran := ranBefore(e, m, f); ran > 0 {
				return check.Not("calico-node had run for %s when %s was registered: it watches a datastore that is no longer there", ran.Round(time.Second), m.Name)
			}
		}
		return found
	}
	return c
}

// ranBefore is how long a machine's calico-node had been running when the node was registered, 0 where it did that itself: it
// needs less than a minute for it, on an emulated machine too. Ages are compared, each by its own machine's clock.
func ranBefore(e *Env, m lab.Machine, f *fact.Lab) time.Duration {
	const itself = time.Minute
	n, _ := f.Datastore.Value.Node(m.Name)
	seen := f.Machines[m.Name]
	started, ok := e.Node(m).Started(seen.Docker.Value)
	if !ok || n.Created.IsZero() || f.DatastoreAt.IsZero() {
		return 0
	}
	if ran := seen.At.Sub(started) - f.DatastoreAt.Sub(n.Created); ran > itself {
		return ran
	}
	return 0
}

func filesFinding(e *Env, seen fact.Machine, files []remote.File, ok string) check.Finding {
	if e.Artifacts.Missing != "" {
		return check.CantSee("nothing to compare with: %s", e.Artifacts.Missing)
	}
	if seen.Files.Unknown != "" {
		return check.CantSee("%s", seen.Files.Unknown)
	}
	if fault := filesFault(files, seen); fault != "" {
		return check.Not("%s", fault)
	}
	return check.OK("%s", ok)
}

// prepareCalico puts calicoctl in its place and makes the containers: that needs no datastore.
func prepareCalico(ctx context.Context, e *Env, j Job) error {
	return e.on(ctx, e.where(j), func(ctx context.Context, m lab.Machine, h *remote.Host) error {
		seen := j.Facts.Machines[m.Name]
		if m.Role == lab.RoleCalico {
			if e.certificatesGone(m, seen) && e.Node(m).Runs(seen.Docker.Value) {
				// One that runs on without them can't be told later from one that has them: it is stopped until they are back.
				if _, err := h.Sudo(ctx, "docker", "stop", "--time=1", e.NodeContainer()); err != nil {
					return err
				}
			}
			if err := e.putCertificates(ctx, h, m, seen); err != nil {
				return err
			}
		}
		if err := e.put(ctx, h, e.CalicoFiles(m), seen); err != nil {
			return err
		}
		switch {
		case j.Has(m.Name, "calico-node"):
			return e.prepare(ctx, h, e.Node(m), seen.Docker, spec.NodeDirs...)
		case j.Has(m.Name, "router"):
			return e.prepare(ctx, h, e.Router(), seen.Docker, spec.RouterDirs...)
		}
		return nil
	})
}

// prepare makes a container that isn't there as it should be. dirs are what Docker makes for its volumes.
func (e *Env) prepare(ctx context.Context, h *remote.Host, c spec.Container, have fact.Seen[fact.Docker], dirs ...string) error {
	if have.Unknown != "" {
		return nil // it is looked at again
	}
	if err := e.load(ctx, h, c.Image, have.Value); err != nil || c.Faults(have.Value, false) == "" {
		return err
	}
	var s script
	s.fills(dirs...)
	s.create(c, have.Value)
	return s.run(ctx, h)
}

func applyCalico(ctx context.Context, e *Env, j Job) error {
	if err := j.readable(); err != nil {
		return err
	}
	if err := retire(ctx, e, j.Facts); err != nil {
		return err
	}
	if err := register(ctx, e, j); err != nil {
		return err
	}
	if err := configureBGP(ctx, e, j); err != nil {
		return err
	}
	if err := startRouters(ctx, e, j); err != nil {
		return err
	}
	first := e.Nodes()[0].Name
	err := e.on(ctx, e.Nodes(), func(ctx context.Context, m lab.Machine, h *remote.Host) error {
		var s script
		switch {
		case j.Facts.Machines[m.Name].Docker.Unknown != "": // it is looked at again
		case j.Has(m.Name, "calico-node"):
			s.cmd("docker", "start", e.NodeContainer())
		case j.Has(m.Name, "node") && e.Node(m).Runs(j.Facts.Machines[m.Name].Docker.Value),
			e.certificatesGone(m, j.Facts.Machines[m.Name]),
			j.Has("", "calico-release") && m.Name == first: // any node writes the release when it starts
			s.cmd("docker", "restart", e.NodeContainer())
		}
		if j.Has(m.Name, "forwarding") {
			s.cmd("sysctl", "-w", "net.ipv4.ip_forward=1")
		}
		return s.run(ctx, h)
	})
	if err != nil {
		return err
	}
	return e.revive(ctx, j, "felix", "bird", "bgp")
}

// StopNodes stops calico-node everywhere; its stage starts it again. Felix and confd watch a datastore from a revision on, and would
// wait for ever for one that an etcd without its data doesn't get to.
func (e *Env) StopNodes(ctx context.Context) error {
	return e.on(ctx, e.Nodes(), func(ctx context.Context, _ lab.Machine, h *remote.Host) error {
		_, err := h.Script(ctx, `set -o pipefail; docker ps --quiet --filter label="$1" | xargs -r docker stop --time 1`, fact.LabelPart+"="+fact.PartNode)
		return err
	})
}

// revive starts what was stopped in calico-node where a condition of the given kinds isn't met: services (one that runs isn't
// touched, sv(8)), and what was switched off in BIRD. Where that has been tried, it starts calico-node again.
func (e *Env) revive(ctx context.Context, j Job, kinds ...string) error {
	return e.on(ctx, e.Nodes(), func(ctx context.Context, m lab.Machine, h *remote.Host) error {
		var s script
		switch name := e.NodeContainer(); {
		case !j.broken(m.Name, kinds...) || j.Has(m.Name, "calico-node"):
		case !e.Node(m).Runs(j.Facts.Machines[m.Name].Docker.Value): // it was just started, or is the other stage's
		case j.Round > 0:
			s.cmd("docker", "restart", name)
		default:
			s.cmd("docker", "exec", name, "sh", "-c", "sv up /etc/service/enabled/*; birdcl -s /var/run/calico/bird.ctl enable all; true")
		}
		return s.run(ctx, h)
	})
}

// register writes the nodes that the datastore doesn't know before calico-node starts anywhere: so every confd renders
// once, and every BIRD knows all its peers from the start.
func register(ctx context.Context, e *Env, j Job) error {
	var all bytes.Buffer
	for _, m := range e.Nodes() {
		if !j.Has(m.Name, "node") {
			continue
		}
		address := netip.PrefixFrom(m.Address, e.Lab.SubnetOf(m.Address).Bits())
		if l, ok := j.Facts.Machines[m.Name].LinkWith(m.Address); ok {
			for _, p := range l.Addresses { // on machines that exist already the prefix may be another
				if p.Addr() == m.Address {
					address = p
				}
			}
		}
		fields := map[string]any{"bgp": map[string]string{"ipv4Address": address.String()}}
		if _, there := j.Facts.Datastore.Value.Node(m.Name); there {
			// Only this one field: others may be the user's.
			patch, err := json.Marshal(map[string]any{"spec": fields})
			if err != nil {
				return err
			}
			if err := e.datastore(ctx, "giving "+m.Name+" its address", []string{"patch", "node", m.Name, "--patch=" + string(patch)}, nil); err != nil {
				return err
			}
			continue
		}
		all.WriteString("---\n") // of documents that only follow one another calicoctl reads the first
		if err := json.NewEncoder(&all).Encode(spec.NewResource("Node", m.Name, fields)); err != nil {
			return err
		}
	}
	if all.Len() > 0 {
		if err := e.datastore(ctx, "registering the nodes", []string{"apply", "--filename=-"}, all.Bytes()); err != nil {
			return err
		}
	}
	return nil
}
