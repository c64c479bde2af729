package baseline

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
)

// script is what is to be done on one machine as root, in one session. What fails doesn't end it: what is gone already needn't be
// taken away, and whether all is as it was is looked at afterwards. What was said about it is at standard output.
type script struct{ strings.Builder }

const preamble = `PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
run() { "$@" 2>&1 >/dev/null || true; }
`

func (s *script) run(args ...string) { fmt.Fprintf(s, "run %s\n", command.Quote(args...)) }

// scriptKinds are the kinds that a machine's script undoes, in its order.
var scriptKinds = []Kind{Sysctl, Container, Network, Namespace, Link, Qdisc, Rule, Route, Neighbour, Chain, Path, Service, Rendered, Sandbox}

// machineScript brings a machine back: what is extra goes, what was changed is put back. What the stages do, they do afterwards; in
// later rounds also what should have come by itself.
func (b *Baseline) machineScript(all []Difference, seen fact.Machine, names *strings.Replacer, round int) string {
	var s script
	for _, kind := range scriptKinds {
		var these []Difference
		for _, d := range all {
			if d.Kind == kind && d.How != Unseen && d.Lost == "" {
				these = append(these, d)
			}
		}
		switch kind {
		case Chain:
			s.firewall(these, seen)
		case Rendered:
			s.rendered(these, seen, round > 0 || !slices.ContainsFunc(all, func(d Difference) bool { return d.Kind == Entry }))
		default:
			for _, d := range these {
				s.undo(d, names, round)
			}
		}
	}
	if s.Len() == 0 {
		return ""
	}
	return preamble + s.String()
}

func (s *script) undo(d Difference, names *strings.Replacer, round int) {
	name := names.Replace(d.Name)
	switch d.Kind {
	case Sysctl:
		s.run("sysctl", "-w", name+"="+d.Was.Value)
	case Container:
		s.container(d)
	case Network:
		s.run("docker", "network", "rm", name)
	case Namespace:
		if d.How == Missing {
			s.run("ip", "netns", "add", name)
			return
		}
		// What runs in it would keep it.
		fmt.Fprintf(s, "ip netns pids %[1]s 2>/dev/null | xargs -r kill -KILL 2>/dev/null\n", command.Quote(name))
		s.run("ip", "netns", "del", name)
	case Link:
		s.link(d, name)
	case Qdisc:
		s.run("tc", "qdisc", "del", "dev", name, "root")
	case Rule:
		verb := "add"
		if d.How == Extra {
			verb = "del"
		}
		s.run(append([]string{"ip", "rule", verb}, strings.Fields(name)...)...)
	case Route:
		s.route(d, names, round)
	case Neighbour:
		s.neighbour(d, names, round)
	case Path:
		s.path(d, name)
	case Service:
		s.line(inNode, "sv up /etc/service/enabled/"+name)
	case Sandbox:
		if round > 0 { // plumbing it anew wasn't enough
			s.run("docker", "rm", "--force", name)
		}
	}
}

func (s *script) line(format string, args ...any) { fmt.Fprintf(s, format+"\n", args...) }

// inNode runs a command line in calico-node's container.
const inNode = `run docker exec "$(docker ps --quiet --filter label=` + fact.LabelPart + "=" + fact.PartNode + `)" sh -c '%s'`

// container takes an extra container away. One that is the lab's is made and started by its stage; others are only started and stopped.
func (s *script) container(d Difference) {
	status, _, _ := strings.Cut(d.Is.Value, " ")
	wanted, _, _ := strings.Cut(d.Was.Value, " ")
	switch {
	case d.How == Extra:
		s.run("docker", "rm", "--force", "--volumes", d.Name)
	case status == "paused":
		s.run("docker", "unpause", d.Name)
	case d.Was.Raw != "": // the lab's own
	case wanted == "running":
		s.run("docker", "start", d.Name)
	default:
		s.run("docker", "stop", d.Name)
	}
}

func (s *script) link(d Difference, name string) {
	if d.How == Extra {
		s.run("ip", "link", "del", name)
		return
	}
	if d.How == Missing {
		if name == dockerBridge {
			s.run("systemctl", "restart", "docker.service")
		}
		return // a workload's is its stage's
	}
	var was, is fact.Link
	if json.Unmarshal([]byte(d.Was.Raw), &was) != nil || json.Unmarshal([]byte(d.Is.Raw), &is) != nil {
		return
	}
	if was.MTU != is.MTU {
		s.run("ip", "link", "set", name, "mtu", strconv.Itoa(was.MTU))
	}
	if was.Up != is.Up {
		s.run("ip", "link", "set", name, map[bool]string{true: "up", false: "down"}[was.Up])
	}
	change := func(verb string, these, those []netip.Prefix, more ...string) {
		for _, p := range these {
			if !slices.Contains(those, p) {
				s.run(append([]string{"ip", "address", verb, p.String(), "dev", name}, more...)...)
			}
		}
	}
	change("add", was.Addresses, is.Addresses, "broadcast", "+")
	change("del", is.Addresses, was.Addresses)
}

func (s *script) route(d Difference, names *strings.Replacer, round int) {
	var r fact.Route
	raw := d.Was.Raw
	if d.How == Extra {
		raw = d.Is.Raw
	}
	if json.Unmarshal([]byte(names.Replace(raw)), &r) != nil {
		return
	}
	// BIRD takes its own away and puts them back as the datastore says, Felix those of the workloads.
	if r.Protocol == "bird" && (round == 0 || d.How != Extra) || strings.HasPrefix(r.Dev, "cali") && round == 0 && d.How != Extra {
		return
	}
	args := []string{"ip", "route", "replace"}
	if d.How == Extra {
		args[2] = "del"
	}
	if r.Type != "" {
		args = append(args, r.Type)
	}
	args = append(args, r.To.String())
	for _, part := range []struct {
		key, value string
		there      bool
	}{
		{"via", r.Via.String(), r.Via.IsValid()}, {"dev", r.Dev, r.Dev != "" && r.Type == ""}, {"proto", r.Protocol, r.Protocol != ""},
		{"metric", strconv.Itoa(r.Metric), r.Metric != 0}, {"scope", r.Scope, r.Scope != ""}, {"src", r.Src.String(), r.Src.IsValid()},
	} {
		if part.there {
			args = append(args, part.key, part.value)
		}
	}
	s.run(args...)
}

func (s *script) neighbour(d Difference, names *strings.Replacer, round int) {
	address, dev, _ := strings.Cut(names.Replace(d.Name), " dev ")
	switch {
	case d.How == Extra:
		s.run("ip", "neighbour", "del", address, "dev", dev)
	case round > 0 || !strings.HasPrefix(dev, "cali"): // Felix makes those of the workloads
		s.run("ip", "neighbour", "replace", address, "lladdr", names.Replace(d.Was.Value), "dev", dev, "nud", "permanent")
	}
}

// kept is where files of a reader's are that were taken away.
const kept = fact.Home + "/kept"

// path takes an extra file away: what somebody wrote is kept, what libcni and the plugins remember isn't.
func (s *script) path(d Difference, name string) {
	if d.How != Extra {
		return // it is put
	}
	if !d.keeps() {
		s.run("rm", "-f", name)
		return
	}
	s.run("install", "-d", kept)
	s.run("mv", "-f", "--backup=numbered", "--target-directory="+kept, name)
}

func (s *script) firewall(all []Difference, seen fact.Machine) {
	was, is := map[string]map[string]string{}, map[string]map[string]string{}
	for _, d := range all {
		name, chain, _ := strings.Cut(d.Name, " ")
		if was[name] == nil {
			was[name], is[name] = map[string]string{}, map[string]string{}
		}
		was[name][chain], is[name][chain] = d.Was.Value, d.Is.Value
	}
	for _, name := range slices.Sorted(maps.Keys(was)) {
		for _, text := range restoreFirewall(was[name], is[name], seen.Deep.Value.Firewall.Value[name]) {
			s.line("run %s-restore --noflush <<<%s", name, command.Quote(text))
		}
	}
}

// rendered puts BIRD's configuration back where nothing else makes confd render it anew.
func (s *script) rendered(all []Difference, seen fact.Machine, needed bool) {
	if !needed || len(all) == 0 {
		return
	}
	for _, c := range seen.Docker.Value.Part(fact.PartNode) {
		if c.State.Pid == 0 {
			continue
		}
		for _, d := range all {
			to := fmt.Sprintf("/proc/%d/root/etc/calico/confd/config/%s", c.State.Pid, d.Name)
			s.line("printf %%s %s >%s", command.Quote(d.Was.Value), to)
		}
		s.line(inNode, "birdcl -s /var/run/calico/bird.ctl configure")
	}
}

// files are the small files that aren't as they were.
func files(all []Difference, names *strings.Replacer, home string) []remote.File {
	var out []remote.File
	for _, d := range all {
		var t fact.Text
		if d.Kind != Path || d.How == Extra || d.How == Unseen || d.Was.Raw == "" || json.Unmarshal([]byte(d.Was.Raw), &t) != nil {
			continue
		}
		mode, _ := strconv.ParseUint(t.Mode, 8, 32)
		path := names.Replace(d.Name)
		if rest, ok := strings.CutPrefix(path, "~/"); ok {
			path = home + "/" + rest
		}
		out = append(out, remote.File{Path: path, Mode: fs.FileMode(mode), Owner: t.Owner, Content: []byte(names.Replace(t.Content))})
	}
	return out
}
