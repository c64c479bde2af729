package picture

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/explain"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/spec"
	"github.com/calico-cni-lab/lab/magefiles/internal/stage"
)

const (
	etcdRole   = string(lab.RoleEtcd)
	routerRole = string(lab.RoleRouter)
)

// Plan is the picture of a lab as lab.yaml has it.
func Plan(l *lab.Lab) Picture {
	b := builder{l: l, facts: &fact.Lab{}}
	p := b.picture()
	p.Planned = true
	for _, m := range b.ordered() {
		is := Machine{Name: m.Name, Role: string(m.Role), Address: m.Address, State: Planned, Reflector: l.BGP.Reflects(m.Name)}
		for _, name := range partsOf(m) {
			is.Parts = append(is.Parts, Part{Name: name, State: Planned})
		}
		if m.Role == lab.RoleCalico {
			for n := range m.Workloads.Count {
				is.Workloads = append(is.Workloads, Workload{Name: m.Name + "/" + fact.WorkloadName(n+1), State: Planned})
			}
		}
		p.Machines = append(p.Machines, is)
	}
	b.missing(&p, Planned, "planned")
	pool := fact.Pool{Name: l.Pool.Name, CIDR: l.Pool.CIDR, BlockSize: l.Pool.BlockSize, IPIPMode: l.Pool.IPIPMode, VXLANMode: l.Pool.VXLANMode, NATOutgoing: l.Pool.NATOutgoing, Disabled: l.Pool.Disabled}
	p.Pools = []Pool{poolOf(pool)}
	return p
}

// Of is the picture of a lab as it was seen. Where its conditions were compared, what they found decides what is well.
func Of(l *lab.Lab, f *fact.Lab, r *check.Report) Picture {
	b := builder{l: l, facts: f, report: r}
	p := b.picture()
	p.At, p.Conds = f.At, counted(r)
	for _, m := range b.ordered() {
		p.Machines = append(p.Machines, b.machine(m))
	}
	b.sessions(&p)
	b.missing(&p, Bad, "BIRD has no session")
	d := f.Datastore
	if p.Hidden = d.Unknown; d.Unknown == "" {
		p.Release = d.Value.Cluster.Version
		b.pools(&p)
	}
	for _, x := range d.Value.Policies {
		p.Policies = append(p.Policies, x.Name)
	}
	slices.Sort(p.Policies)
	return p
}

type builder struct {
	l      *lab.Lab
	facts  *fact.Lab
	report *check.Report
}

func (b *builder) picture() Picture {
	return Picture{
		Version: Version, Lab: b.l.Name, Underlay: Underlay{b.l.Underlay, b.l.Gateway()},
		Sessions: []Session{}, Pools: []Pool{}, Policies: []string{},
	}
}

// ordered are the machines as they are drawn.
func (b *builder) ordered() []lab.Machine {
	return slices.Concat(b.l.Members(), b.l.ByRole(lab.RoleCalico), b.l.Routers())
}

// speakers are the machines that speak BGP.
func (b *builder) speakers() []lab.Machine {
	return append(b.l.ByRole(lab.RoleCalico), b.l.Routers()...)
}

func partsOf(m lab.Machine) []string {
	switch m.Role {
	case lab.RoleEtcd:
		return []string{"etcd"}
	case lab.RoleRouter:
		return []string{"BIRD"}
	}
	return []string{"Felix", "confd", "BIRD"}
}

// judged is the state of a machine by its conditions, and what the first found that doesn't hold. Without a report it is OK.
func (b *builder) judged(machine string, kinds ...string) (State, string) {
	state, why := OK, ""
	if b.report == nil {
		return state, why
	}
	for _, r := range b.report.Results {
		kind, _, _ := strings.Cut(r.ID, "/")
		if r.Machine != machine || r.OK() || len(kinds) > 0 && !slices.Contains(kinds, kind) {
			continue
		}
		found, _, _ := strings.Cut(r.Found, "\n")
		if r.State != check.Unknown {
			return Bad, found
		}
		if state == OK {
			state, why = Unknown, found
		}
	}
	return state, why
}

func (b *builder) machine(m lab.Machine) Machine {
	is := Machine{Name: m.Name, Role: string(m.Role), Address: m.Address, Reflector: b.l.BGP.Reflects(m.Name)}
	if n, ok := b.facts.Datastore.Value.Node(m.Name); ok {
		is.AS = cmp.Or(n.AS, b.facts.Datastore.Value.BGP.AS, "64512")
	}
	seen, ok := b.facts.Machine(m.Name)
	if !ok {
		is.State, is.Why, is.Off = Bad, cmp.Or(b.facts.Unreached[m.Name], fact.NotAsked), b.facts.Off[m.Name]
		for _, name := range partsOf(m) {
			is.Parts = append(is.Parts, Part{Name: name, State: Unknown})
		}
		for n := range m.Workloads.Count { // they keep their places
			is.Workloads = append(is.Workloads, Workload{Name: m.Name + "/" + fact.WorkloadName(n+1), State: Unknown, Why: "not seen"})
		}
		return is
	}
	is.State, is.Why = b.judged(m.Name)
	is.inside(seen)
	if m.Role == lab.RoleEtcd {
		is.Parts = []Part{b.part("etcd", seen.Etcd.Unknown, seen.Etcd.Value.OK, seen.Etcd.Value.Said, m.Name, "etcd", "etcd-container")}
		return is
	}
	if m.Role == lab.RoleRouter {
		is.AS = strconv.FormatUint(uint64(m.AS), 10)
		is.Parts = []Part{b.bird(seen, m.Name, "router")}
		return is
	}
	confd := Part{Name: "confd", State: Unknown, Says: "not looked at"}
	if s := seen.Deep.Value.Services; seen.Deep.Unknown == "" && s.Unknown == "" && s.Value != nil {
		confd = b.part("confd", "", s.Value["confd"] == "run", s.Value["confd"], m.Name)
	}
	is.Parts = []Part{
		b.part("Felix", seen.Felix.Unknown, seen.Felix.Value.OK, seen.Felix.Value.Said, m.Name, "felix", "calico-node"),
		confd,
		b.bird(seen, m.Name, "calico-node"),
	}
	is.Workloads = b.workloads(m, seen)
	return is
}

// bird is BIRD in a container.
func (b *builder) bird(seen fact.Machine, machine, container string) Part {
	return b.part("BIRD", seen.BIRD.Unknown, true, "version "+seen.BIRD.Value.Version, machine, "bird", container)
}

// inside are the routes, interfaces and containers.
func (m *Machine) inside(seen fact.Machine) {
	for _, r := range seen.Routes.Value {
		m.Routes = append(m.Routes, Route{r.String(), explain.Programmer(r)})
	}
	for _, l := range seen.Links.Value {
		m.Interfaces = append(m.Interfaces, Interface{l.Name, l.Type, l.Up, l.MTU, l.Addresses})
	}
	for _, c := range seen.Docker.Value.Containers {
		m.Containers = append(m.Containers, Container{strings.TrimPrefix(c.Name, "/"), c.Config.Image, c.State.Status})
	}
	slices.SortFunc(m.Containers, func(x, y Container) int { return cmp.Compare(x.Name, y.Name) })
}

// part is a program by what was seen of it, and by the conditions on it.
func (b *builder) part(name, unknown string, ok bool, says, machine string, kinds ...string) Part {
	p := Part{Name: name, State: OK, Says: says}
	switch {
	case unknown != "":
		p.State, p.Says = Unknown, unknown
	case !ok:
		p.State = Bad
	}
	if len(kinds) > 0 {
		if state, why := b.judged(machine, kinds...); state != OK {
			p.State, p.Says = state, why
		}
	}
	return p
}

// workloads are those that are plumbed, and the lab's that are to be.
func (b *builder) workloads(m lab.Machine, seen fact.Machine) []Workload {
	var all []Workload
	place := &explain.Lab{Lab: b.l, Facts: b.facts}
	for _, w := range place.Workloads() {
		if w.Machine != m.Name {
			continue
		}
		is := Workload{Name: w.Name, Address: w.Address, Interface: w.Interface, State: OK}
		if w.Endpoint == "" && b.facts.Datastore.Unknown == "" {
			is.State, is.Why = Bad, "no workload endpoint has its address"
		}
		for _, p := range b.facts.Probes[m.Name].Value {
			if (p.From == w.Address || !p.From.IsValid()) && p.Ping != "" {
				is.State, is.Why = Bad, "no answer from "+p.To.String()+": "+p.Ping
				break
			}
		}
		all = append(all, is)
	}
	for _, w := range seen.Workloads(b.l.Network) {
		name := m.Name + "/" + w.Name
		if slices.ContainsFunc(all, func(is Workload) bool { return is.Name == name }) || fact.WorkloadNumber(w.Name) > m.Workloads.Count {
			continue
		}
		is := Workload{Name: name, State: Bad, Why: "it has no interface of network " + b.l.Network}
		if s := w.Container.State.Status; s != "running" {
			is.Why = "its container is " + s
		}
		all = append(all, is)
	}
	for n := range m.Workloads.Count { // the lab's own that aren't there at all
		name := m.Name + "/" + fact.WorkloadName(n+1)
		if !slices.ContainsFunc(all, func(is Workload) bool { return is.Name == name }) {
			all = append(all, Workload{Name: name, State: Bad, Why: "there is no such container"})
		}
	}
	slices.SortStableFunc(all, func(x, y Workload) int {
		return cmp.Or(cmp.Compare(number(x), number(y)), x.Address.Compare(y.Address))
	})
	return all
}

// number orders a node's workloads: the lab's own first.
func number(w Workload) int {
	if n := fact.WorkloadNumber(w.Short()); n > 0 {
		return n
	}
	return 1 << 20
}

// sessions puts together what both ends of each say.
func (b *builder) sessions(p *Picture) {
	owner := map[netip.Addr]string{}
	for _, m := range b.l.Machines {
		owner[m.Address] = m.Name
	}
	at := map[[2]string]int{}
	for _, m := range b.speakers() {
		for _, x := range b.facts.Machines[m.Name].BIRD.Value.Protocols {
			peer := x.Peer()
			if !peer.IsValid() {
				continue
			}
			other := cmp.Or(owner[peer], peer.String())
			s := Session{A: m.Name, B: other, State: OK, Says: "Established", Since: x.Since}
			if !x.Established() {
				s.State, s.Says, s.Since = Bad, m.Name+" says "+strings.TrimSpace(x.State+" "+x.Info), ""
			}
			i, ok := at[[2]string{other, m.Name}]
			switch {
			case !ok:
				at[[2]string{m.Name, other}] = len(p.Sessions)
				p.Sessions = append(p.Sessions, s)
			case s.State == Bad && p.Sessions[i].State == Bad:
				p.Sessions[i].Says += ", " + s.Says
			case s.State == Bad:
				p.Sessions[i].State, p.Sessions[i].Says, p.Sessions[i].Since = Bad, s.Says, ""
			}
		}
	}
}

// missing adds the sessions that lab.yaml means and BIRD hasn't. Of a node that can't be looked at they are unknown.
func (b *builder) missing(p *Picture, state State, says string) {
	there := map[[2]string]bool{}
	for _, s := range p.Sessions {
		there[[2]string{s.A, s.B}], there[[2]string{s.B, s.A}] = true, true
	}
	s := &spec.Spec{Lab: b.l}
	byAddress := map[netip.Addr]string{}
	for _, m := range b.l.Machines {
		byAddress[m.Address] = m.Name
	}
	for _, m := range b.speakers() {
		for _, a := range stage.SessionsOf(s, m) {
			other := byAddress[a]
			if there[[2]string{m.Name, other}] {
				continue
			}
			there[[2]string{m.Name, other}], there[[2]string{other, m.Name}] = true, true
			is := Session{A: m.Name, B: other, State: state, Says: says}
			if state != Planned && b.blind(m.Name) && b.blind(other) {
				is.State, is.Says = Unknown, "neither end can be asked"
			}
			p.Sessions = append(p.Sessions, is)
		}
	}
}

// blind says that BIRD on a machine can't be asked.
func (b *builder) blind(machine string) bool {
	m, ok := b.facts.Machine(machine)
	return !ok || m.BIRD.Unknown != ""
}

func poolOf(x fact.Pool) Pool {
	p := Pool{Name: x.Name, CIDR: x.CIDR, BlockSize: x.BlockSize, Carried: "routed", NATOutgoing: x.NATOutgoing, Disabled: x.Disabled, Blocks: []Block{}}
	switch {
	case x.VXLANMode != "" && x.VXLANMode != lab.VXLANNever:
		p.Carried = "VXLAN " + x.VXLANMode
	case x.IPIPMode != "" && x.IPIPMode != lab.VXLANNever:
		p.Carried = "IP in IP " + x.IPIPMode
	}
	return p
}

func (b *builder) pools(p *Picture) {
	d := b.facts.Datastore.Value
	for _, x := range d.Pools {
		p.Pools = append(p.Pools, poolOf(x))
	}
	slices.SortFunc(p.Pools, func(x, y Pool) int { return x.CIDR.Addr().Compare(y.CIDR.Addr()) })
	for _, x := range d.Blocks {
		i := slices.IndexFunc(p.Pools, func(pool Pool) bool { return pool.CIDR.Contains(x.CIDR.Addr()) })
		if i < 0 {
			p.Pools = append(p.Pools, Pool{Name: "of no pool", CIDR: x.CIDR, BlockSize: x.CIDR.Bits(), Carried: "routed"})
			i = len(p.Pools) - 1
		}
		is := Block{CIDR: x.CIDR, Node: x.Node, Used: x.Used, Free: x.Free}
		if is.Used == nil {
			is.Used = []netip.Addr{}
		}
		for _, a := range d.Affinities {
			if a.Block == x.CIDR && a.Node == x.Node {
				is.Affinity = a.State
			}
		}
		p.Pools[i].Blocks = append(p.Pools[i].Blocks, is)
	}
	for i := range p.Pools {
		slices.SortFunc(p.Pools[i].Blocks, func(x, y Block) int { return x.CIDR.Addr().Compare(y.CIDR.Addr()) })
	}
}

// blocksOf are a node's.
func (p *Picture) blocksOf(node string) []Block {
	var all []Block
	for _, pool := range p.Pools {
		for _, b := range pool.Blocks {
			if b.Node == node {
				all = append(all, b)
			}
		}
	}
	return all
}

// judged says whether how any session is, is known.
func (p *Picture) judged() bool {
	return slices.ContainsFunc(p.Sessions, func(s Session) bool { return s.State == OK || s.State == Bad })
}

// established counts the sessions that are.
func (p *Picture) established() int {
	n := 0
	for _, s := range p.Sessions {
		if s.State == OK {
			n++
		}
	}
	return n
}

// Conceal takes out of the picture what it thinks of what it shows: states and findings. What anybody sees who logs in stays.
func (p *Picture) Conceal() {
	p.Conds = nil
	for i := range p.Machines {
		m := &p.Machines[i]
		m.State, m.Why = Unknown, ""
		for j := range m.Parts {
			m.Parts[j].State, m.Parts[j].Says = Unknown, ""
		}
		for j := range m.Workloads {
			m.Workloads[j].State, m.Workloads[j].Why = Unknown, ""
		}
	}
	for i := range p.Sessions {
		p.Sessions[i].State, p.Sessions[i].Says, p.Sessions[i].Since = Unknown, "", ""
	}
}
