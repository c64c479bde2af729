package baseline

import (
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/spec"
)

// machine takes in what is seen of a machine. Where the machine is somebody else's, only what is the lab's own is an item.
func (s *state) machine(m string, seen fact.Machine) {
	s.containers(m, seen)
	s.links(m, seen)
	s.routes(m, seen)
	s.files(m, seen)
	if !known(s, Sysctl, m, seen.Deep) {
		return
	}
	deep := seen.Deep.Value
	s.texts(m, seen)
	s.sandbox(m, seen)
	s.node(m, seen)
	if s.shared {
		return
	}
	s.names(Namespace, m, deep.Namespaces)
	s.names(Network, m, fact.Seen[[]string]{Value: slices.Collect(maps.Keys(deep.Networks.Value)), Unknown: deep.Networks.Unknown})
	s.values(Sysctl, m, deep.Sysctls)
	s.values(Qdisc, m, deep.Qdiscs)
	if known(s, Rule, m, deep.Lookups) {
		for _, l := range deep.Lookups.Value {
			if !l.Usual() {
				s.add(Rule, m, l.String(), there, "")
			}
		}
	}
	if known(s, Chain, m, deep.Firewall) {
		for command, text := range deep.Firewall.Value {
			for _, c := range parseFirewall(text) {
				s.add(Chain, m, command+" "+c.table+" "+c.name, c.foreign(), "")
			}
		}
	}
}

// there is the value of an item that has none but that it is there.
const there = "there"

// names takes in items that have no value.
func (s *state) names(kind Kind, m string, seen fact.Seen[[]string]) {
	if known(s, kind, m, seen) {
		for _, n := range seen.Value {
			s.add(kind, m, n, there, "")
		}
	}
}

// values takes in items with their values.
func (s *state) values(kind Kind, m string, seen fact.Seen[map[string]string]) {
	if known(s, kind, m, seen) {
		for n, v := range seen.Value {
			s.add(kind, m, n, v, "")
		}
	}
}

// containers are the lab's own by their name, whatever their ID; others are other ones when their ID is another.
func (s *state) containers(m string, seen fact.Machine) {
	if !known(s, Container, m, seen.Docker) {
		return
	}
	for _, c := range seen.Docker.Value.Containers {
		own := c.Config.Labels[fact.LabelPart] != ""
		if s.shared && !own && !s.plumbed(seen, c) {
			continue
		}
		value := c.State.Status
		if !own {
			value += " " + c.ID
		}
		s.add(Container, m, strings.TrimPrefix(c.Name, "/"), value, c.Config.Labels[fact.LabelPart])
	}
}

// plumbed says whether a container has an interface of the lab's network.
func (s *state) plumbed(seen fact.Machine, c fact.Container) bool {
	key := c.NetworkSettings.SandboxKey
	return key != "" && slices.ContainsFunc(seen.Attachments.Value, func(a fact.Attachment) bool { return a.Live && a.NetNS == key && a.Network == s.network })
}

// comesAndGoes are interfaces that the kernel and Docker make: for a tunnel's module, and for a container on a bridge.
var comesAndGoes = regexp.MustCompile(`^(tunl0|gre0|gretap0|erspan0|ip_vti0|ip6_vti0|sit0|ip6tnl0|ip6gre0|veth[0-9a-f]{7})$`)

func (s *state) links(m string, seen fact.Machine) {
	if !known(s, Link, m, seen.Links) {
		return
	}
	for _, l := range seen.Links.Value {
		if comesAndGoes.MatchString(l.Name) || s.shared && !strings.HasPrefix(l.Name, "cali") {
			continue
		}
		s.add(Link, m, l.Name, linkText(l), raw(l))
	}
}

func linkText(l fact.Link) string {
	state := "down"
	if l.Up {
		state = "up"
	}
	return strings.TrimSpace(fmt.Sprintf("%s mtu %d %s %s", l.Type, l.MTU, state, prefixes(l.Addresses)))
}

func raw(v any) string {
	data, _ := json.Marshal(v) //nolint:errchkjson // facts can be written
	return string(data)
}

func (s *state) routes(m string, seen fact.Machine) {
	own := func(dev string) bool { return !s.shared || strings.HasPrefix(dev, "cali") }
	if known(s, Route, m, seen.Routes) {
		for _, r := range seen.Routes.Value {
			if own(r.Dev) || r.Protocol == "bird" {
				s.add(Route, m, routeName(r), routeText(r), raw(r))
			}
		}
	}
	if known(s, Neighbour, m, seen.Neighbours) {
		for _, n := range seen.Neighbours.Value {
			if n.State == "permanent" && own(n.Dev) {
				s.add(Neighbour, m, n.Address.String()+" dev "+n.Dev, n.MAC, "")
			}
		}
	}
}

// routeName is what the kernel tells routes apart by.
func routeName(r fact.Route) string {
	return strings.TrimSpace(fmt.Sprintf("%s %s metric %d", r.Type, r.To, r.Metric))
}

func routeText(r fact.Route) string {
	text := r.String()
	if r.Scope != "" {
		text += " scope " + r.Scope
	}
	if r.Src.IsValid() {
		text += " src " + r.Src.String()
	}
	return text
}

// files are those that the lab put there, and what else is beside them; the user's own bin directory isn't the lab's.
func (s *state) files(m string, seen fact.Machine) {
	if !known(s, Path, m, seen.Files) {
		return
	}
	for p, f := range seen.Files.Value {
		name := p
		if rest, ok := strings.CutPrefix(p, "~/"); ok {
			name = path.Join(seen.Login.Home, rest)
		}
		// Certificates are issued anew, and put by the stages.
		if f.Dir || strings.HasPrefix(p, spec.PKIDir+"/") || s.shared && !slices.Contains(seen.Owned.Value, name) {
			continue
		}
		value := "link to " + f.Link
		if f.Link == "" {
			value = fmt.Sprintf("mode %s of %s, SHA-256 %s", f.Mode, f.Owner, f.SHA256)
		}
		s.add(Path, m, p, value, "")
	}
}

// texts are small files with their contents: those of files, and what libcni and the plugins remember.
func (s *state) texts(m string, seen fact.Machine) {
	if !known(s, Path, m, seen.Deep.Value.Texts) {
		return
	}
	for p, t := range seen.Deep.Value.Texts.Value {
		hide, raw := s.hide(m, ""), raw(t)
		k := Key{Path, m, hide.Replace(p)}
		if i, ok := s.items[k]; ok {
			i.Raw = hide.Replace(raw)
			s.items[k] = i
			continue
		}
		if s.shared && !strings.HasPrefix(p, spec.CNIState+"/results/"+s.network+"-") {
			continue
		}
		s.add(Path, m, p, raw, raw)
	}
}

// sandbox is what is in the network namespace of the lab's workload.
func (s *state) sandbox(m string, seen fact.Machine) {
	if seen.Sandboxes.Unknown != "" || seen.Deep.Value.Inside.Unknown != "" {
		known(s, Sandbox, m, seen.Sandboxes)
		known(s, Sandbox, m, seen.Deep.Value.Inside)
		return
	}
	for _, c := range seen.Docker.Value.Part(fact.PartWorkload) {
		for _, box := range seen.Sandboxes.Value {
			if box.Container != c.ID {
				continue
			}
			var lines []string
			for _, l := range box.Links {
				if !comesAndGoes.MatchString(l.Name) {
					lines = append(lines, l.Name+": "+linkText(l))
				}
			}
			for _, r := range box.Routes {
				lines = append(lines, routeText(r))
			}
			for _, chain := range parseFirewall(seen.Deep.Value.Inside.Value[box.Key]) {
				lines = append(lines, chain.table+" "+chain.name+": "+chain.foreign())
			}
			slices.Sort(lines)
			s.add(Sandbox, m, strings.TrimPrefix(c.Name, "/"), strings.Join(lines, "\n"), "")
		}
	}
}

// nodeServices are those of calico-node that run all the time.
var nodeServices = []string{"felix", "bird", "confd", "monitor-addresses"}

// node is what is in calico-node's container.
func (s *state) node(m string, seen fact.Machine) {
	if len(seen.Docker.Value.Part(fact.PartNode)) == 0 {
		return // that itself is a difference, where there should be one
	}
	if known(s, Service, m, seen.Deep.Value.Services) {
		for _, name := range nodeServices {
			if state, ok := seen.Deep.Value.Services.Value[name]; ok {
				s.add(Service, m, name, state, "")
			}
		}
	}
	s.values(Rendered, m, seen.Deep.Value.Rendered)
}
