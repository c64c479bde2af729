package explain

import (
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

// Felix' chains of an endpoint (felix/rules/rule_defs.go), with the interface's name behind them.
const (
	toWorkload   = "cali-tw-"
	fromWorkload = "cali-fw-"
)

// judge is a policy or a profile that an endpoint's chain asks, or a chain's own end.
type judge struct {
	chain string // "" of an end
	name  string // of the policy or profile, as Felix knows it: default.deny-all
	kind  string // policy, profile
	tier  string
	end   string // what the chain does with packets that nobody decided about, and why
}

// judges are those that the chain of an endpoint asks, in order.
func judges(rules []fact.Rule, chain string) []judge {
	var all []judge
	tier := ""
	for _, r := range fact.ChainOf(rules, "filter", chain) {
		for _, c := range r.Comments() {
			if name, ok := strings.CutPrefix(c, "Start of tier "); ok {
				tier = name
			}
			if strings.HasPrefix(c, "End of tier ") || strings.HasSuffix(c, "if no profiles matched") {
				all = append(all, judge{end: c, tier: tier})
			}
		}
		switch target := r.Target(); {
		case strings.HasPrefix(target, "cali-gi-"), strings.HasPrefix(target, "cali-go-"): // several policies with one selector
			for _, inner := range fact.ChainOf(rules, "filter", target) {
				if t := inner.Target(); strings.HasPrefix(t, "cali-p") {
					all = append(all, judge{chain: t, name: ownerOf(rules, t), kind: "policy", tier: tier})
				}
			}
		case strings.HasPrefix(target, "cali-pi-"), strings.HasPrefix(target, "cali-po-"):
			all = append(all, judge{chain: target, name: ownerOf(rules, target), kind: "policy", tier: tier})
		case strings.HasPrefix(target, "cali-pri-"), strings.HasPrefix(target, "cali-pro-"):
			all = append(all, judge{chain: target, name: ownerOf(rules, target), kind: "profile"})
		}
	}
	return all
}

// ownerOf is the policy or profile that a chain was made from: Felix writes it into the comment of the chain's first rule, as
// the chain's own name may be a hash.
func ownerOf(rules []fact.Rule, chain string) string {
	for _, r := range fact.ChainOf(rules, "filter", chain) {
		for _, c := range r.Comments() {
			if f := strings.Fields(c); len(f) == 3 && (f[0] == "Policy" || f[0] == "Profile") {
				return f[1]
			}
		}
	}
	return ""
}
