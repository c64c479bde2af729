package explain

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

func policy(_ context.Context, l *Lab, args []string) (Story, error) {
	x, err := l.workload(args[0])
	if err != nil {
		return Story{}, err
	}
	w := &writer{}
	seen := l.Facts.Machines[x.Machine]
	w.part("What policies look at")
	l.labels(w, x)
	rules := seen.Deep.Value.Rules
	if why := cmp.Or(seen.Deep.Unknown, rules.Unknown); why != "" {
		w.answers("Which policies are in force on %s can't be seen.", x.Machine)
		w.unknown("the packet filter's chains on %s: %s.", x.Machine, why).by(x.Machine, fact.Rules.Command())
		return w.story, nil
	}
	in := l.direction(w, x, rules.Value, true)
	out := l.direction(w, x, rules.Value, false)
	w.part("Always")
	w.say("Packets of a flow that was allowed once pass at the chains' first rules. So a new policy stops new flows only; an open connection lives on.").
		saw(established(rules.Value, toWorkload+x.Interface)...).by(x.Machine, "sudo iptables -S "+toWorkload+x.Interface)
	w.say("%s itself reaches its own workload whatever the policies say.", x.Machine)
	toHost(w, x, rules.Value)
	l.others(w, rules.Value, x)
	w.answers("%s: in, %s; out, %s.", x.Name, in, out)
	return w.story, nil
}

// toHost says what becomes of packets from a workload to its own machine, once its policies let them out.
func toHost(w *writer, x Workload, rules []fact.Rule) {
	for _, r := range fact.ChainOf(rules, "filter", "cali-wl-to-host") {
		if !strings.Contains(r.Text, "DefaultEndpointToHostAction") {
			continue
		}
		s := w.say("The workload reaches %s itself wherever it may send to at all, and the machine's own rules allow it.", x.Machine)
		if r.Target() == "DROP" || r.Target() == "REJECT" {
			s = w.say("The workload doesn't reach %s itself, whatever the policies say.", x.Machine)
		}
		s.saw("defaultEndpointToHostAction: -j "+r.Target()).by(x.Machine, "sudo iptables -S cali-wl-to-host")
	}
}

func (l *Lab) labels(w *writer, x Workload) {
	if why := cmp.Or(l.Facts.Datastore.Unknown, l.Facts.Resources.Unknown); why != "" {
		w.unknown("its labels, and what the policies say: %s.", why).by(l.etcd(), fact.EtcdHealth.Command())
		return
	}
	if x.Endpoint == "" {
		w.wrong("It has no workload endpoint, so no policy knows it.").by(l.etcd(), fact.Endpoints.Command())
		return
	}
	e := l.Facts.Resources.Value.Endpoint(x.Endpoint)
	w.say("The workload is endpoint %s. Policies choose by its labels; it has %s of its own.", x.Endpoint, countOf(len(e.Labels), "label")).saw(labelLines(e.Labels)...).
		by(l.etcd(), "sudo calicoctl get workloadendpoints --all-namespaces --output=yaml")
	for _, d := range l.Facts.Datastore.Value.Endpoints {
		if d.Name != x.Endpoint {
			continue
		}
		for _, name := range d.Profiles {
			for _, p := range l.Facts.Resources.Value.Profiles {
				if p.Name == name {
					w.say("It has profile %s, which gives it more labels, and decides where no policy does. The CNI plugin made the profile, one for each network.", name).saw(labelLines(p.Labels)...).by(l.etcd(), fact.Profiles.Command())
				}
			}
		}
	}
}

func countOf(n int, thing string) string {
	if n == 0 {
		return "no " + thing
	}
	return plural(n, thing)
}

func labelLines(labels fact.Labels) []string {
	var lines []string
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		lines = append(lines, fmt.Sprintf("%s=%q", k, labels[k]))
	}
	return lines
}

// direction tells who decides on packets to a workload, or from it, and returns that in a few words.
func (l *Lab) direction(w *writer, x Workload, rules []fact.Rule, in bool) string {
	prefix, title := toWorkload, "In: packets to "+x.Name
	if !in {
		prefix, title = fromWorkload, "Out: packets from "+x.Name
	}
	w.part(title)
	chain := prefix + x.Interface
	if len(fact.ChainOf(rules, "filter", chain)) == 0 {
		w.wrong("There is no chain %s: Felix doesn't guard this workload.", chain).by(x.Machine, "sudo iptables -S "+chain)
		return "unguarded"
	}
	all := judges(rules, chain)
	policies := 0
	var words []string
	for _, j := range all {
		switch {
		case j.end != "":
			if strings.HasPrefix(j.end, "End of tier") {
				w.say("Who gets here was decided about by no policy of tier %s, and is dropped. The profile isn't asked any more: where one policy applies, policies decide alone.", j.tier).saw("comment: "+j.end).by(x.Machine, "sudo iptables -S "+chain)
				words = append(words, "nothing else")
				return strings.Join(words, ", ")
			}
			w.say("Who gets here is dropped.").saw("comment: "+j.end).by(x.Machine, "sudo iptables -S "+chain)
		case j.kind == "policy":
			policies++
			w.say("%d. %s of tier %s, chain %s.", policies, l.policyName(j.name), j.tier, j.chain).saw(l.ruleLines(j, in)...).by(l.etcd(), l.policyCommand(j.name))
			words = append(words, "policy "+bare(j.name)+" ("+l.verdicts(j, in)+")")
		default:
			w.say("%s profile %s, chain %s.", map[bool]string{true: "No policy applies, so it is up to", false: "Then"}[policies == 0], j.name, j.chain).saw(l.ruleLines(j, in)...).by(l.etcd(), fact.Profiles.Command())
			words = append(words, "profile "+j.name+" ("+l.verdicts(j, in)+")")
		}
	}
	return strings.Join(words, ", ")
}

// bare is a policy's name as a person gave it: without its namespace and tier.
func bare(name string) string {
	name = name[strings.LastIndexByte(name, '/')+1:]
	return strings.TrimPrefix(name, "default.")
}

// resource finds a policy or a profile by Felix' name for it.
func (l *Lab) resource(name, kind string) (fact.PolicyResource, bool) {
	all := l.Facts.Resources.Value.Policies
	if kind == "profile" {
		all = l.Facts.Resources.Value.Profiles
	}
	i := slices.IndexFunc(all, func(p fact.PolicyResource) bool { return p.Name == name })
	if i < 0 {
		return fact.PolicyResource{}, false
	}
	return all[i], true
}

func (l *Lab) policyName(name string) string {
	p, ok := l.resource(name, "policy")
	if !ok && cmp.Or(l.Facts.Datastore.Unknown, l.Facts.Resources.Unknown) != "" {
		return "Policy " + bare(name)
	}
	if !ok {
		return "Policy " + name + ", which the datastore doesn't have any more,"
	}
	text := "Policy " + bare(name)
	if p.Kind == "globalnetworkpolicies" {
		text = "GlobalNetworkPolicy " + bare(name)
	}
	if p.Order != nil {
		text += fmt.Sprintf(" (order %g)", *p.Order)
	}
	return text
}

func (l *Lab) policyCommand(name string) string {
	if p, ok := l.resource(name, "policy"); ok && p.Kind == "networkpolicies" {
		namespace, _, _ := strings.Cut(name, "/")
		return "sudo calicoctl get networkpolicy --namespace=" + namespace + " " + bare(name) + " --output=yaml"
	}
	return "sudo calicoctl get globalnetworkpolicy " + bare(name) + " --output=yaml"
}

// ruleLines are the rules of a judge for one direction, as a person would say them.
func (l *Lab) ruleLines(j judge, in bool) []string {
	r, ok := l.resource(j.name, j.kind)
	if !ok {
		return []string{"its rules can't be read"}
	}
	lines := []string{}
	if r.Selector != "" {
		lines = append(lines, "applies to "+r.Selector)
	}
	rules := r.Egress
	if in {
		rules = r.Ingress
	}
	for _, rule := range rules {
		lines = append(lines, ruleText(rule))
	}
	if len(rules) == 0 {
		lines = append(lines, "no rules: it allows nothing, and its being there is what counts")
	}
	return lines
}

// ruleText is a rule as a person would say it, with everything that it asks of a packet.
func ruleText(r fact.ResourceRule) string {
	text := r.Action
	for _, part := range []struct{ before, value string }{
		{" IPv", version(r.IPVersion)}, {" ", bareValue(r.Protocol)}, {" not ", bareValue(r.NotProtocol)},
		{" ", icmpText(r.ICMP)}, {" not ", icmpText(r.NotICMP)}, {" HTTP ", string(r.HTTP)},
		{" from ", endText(r.Source)}, {" to ", endText(r.Destination)},
	} {
		if part.value != "" {
			text += part.before + part.value
		}
	}
	if text == r.Action {
		text += " everything"
	}
	return text
}

func icmpText(i *fact.ICMP) string {
	if i == nil {
		return ""
	}
	var parts []string
	for _, p := range []struct {
		name  string
		value *int
	}{{"type", i.Type}, {"code", i.Code}} {
		if p.value != nil {
			parts = append(parts, fmt.Sprintf("%s %d", p.name, *p.value))
		}
	}
	return strings.Join(parts, " ")
}

func endText(e fact.RuleEnd) string {
	accounts, service := fact.ServiceAccounts{}, ""
	if e.ServiceAccounts != nil {
		accounts = *e.ServiceAccounts
	}
	if e.Services != nil {
		service = strings.TrimPrefix(e.Services.Namespace+"/"+e.Services.Name, "/")
	}
	var parts []string
	for _, p := range []struct{ format, value string }{
		{"%s", strings.Join(e.Nets, ", ")}, {"not %s", strings.Join(e.NotNets, ", ")},
		{"endpoints with %s", e.Selector}, {"endpoints without %s", e.NotSelector}, {"namespaces with %s", e.NamespaceSelector},
		{"service accounts %s", strings.Join(accounts.Names, ", ")}, {"service accounts with %s", accounts.Selector}, {"service %s", service},
		{"port %s", ports(e.Ports)}, {"not port %s", ports(e.NotPorts)},
	} {
		if p.value != "" {
			parts = append(parts, fmt.Sprintf(p.format, p.value))
		}
	}
	return strings.Join(parts, ", ")
}

// version is an IP version as text, "" for both.
func version(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// bareValue is what may be a name or a number, without JSON's quotes.
func bareValue(v json.RawMessage) string { return strings.Trim(string(v), `"`) }

func ports(all []json.RawMessage) string {
	var out []string
	for _, p := range all {
		out = append(out, bareValue(p))
	}
	return strings.Join(out, ", ")
}

// verdicts are a judge's rules in a few words.
func (l *Lab) verdicts(j judge, in bool) string {
	r, ok := l.resource(j.name, j.kind)
	if !ok {
		return "its rules can't be read"
	}
	rules := r.Egress
	if in {
		rules = r.Ingress
	}
	var all []string
	for _, rule := range rules {
		all = append(all, ruleText(rule))
	}
	switch len(all) {
	case 0:
		return "no rules"
	case 1, 2:
		return strings.Join(all, "; ")
	}
	return plural(len(all), "rule")
}

func established(rules []fact.Rule, chain string) []string {
	for _, r := range fact.ChainOf(rules, "filter", chain) {
		if strings.Contains(r.Text, "ESTABLISHED") {
			return []string{fmt.Sprintf("%s -j %s, %s", r.Matches(), r.Target(), plural(int(r.Packets), "packet"))}
		}
	}
	return nil
}

// others are the policies that don't apply to a workload: no chain of its endpoint asks them.
func (l *Lab) others(w *writer, rules []fact.Rule, x Workload) {
	asked := map[string]bool{}
	for _, prefix := range []string{toWorkload, fromWorkload} {
		for _, j := range judges(rules, prefix+x.Interface) {
			asked[j.name] = true
		}
	}
	for _, p := range l.Facts.Resources.Value.Policies {
		if !asked[p.Name] {
			w.say("%s doesn't apply here: it chooses %s.", l.policyName(p.Name), orAll(p.Selector)).by(l.etcd(), l.policyCommand(p.Name))
		}
	}
}

func orAll(selector string) string {
	if selector == "" {
		return "all()"
	}
	return selector
}
