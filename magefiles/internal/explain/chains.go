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

// purposes are what Felix' other chains are for.
var purposes = map[string]string{
	"cali-FORWARD":          "for packets that the machine forwards",
	"cali-INPUT":            "for packets to the machine itself",
	"cali-OUTPUT":           "for the machine's own packets",
	"cali-PREROUTING":       "for packets that have just come in",
	"cali-POSTROUTING":      "for packets that are about to leave",
	"cali-nat-outgoing":     "natOutgoing of the IP pool: packets to outside of all pools get the machine's address",
	"cali-wl-to-host":       "for packets from a workload to its own machine",
	"cali-from-wl-dispatch": "finds the chain of the workload that a packet comes from",
	"cali-to-wl-dispatch":   "finds the chain of the workload that a packet goes to",
	"cali-rpf-skip":         "workloads that may send under any address",
	"cali-cidr-block":       "networks that must not loop",
}

// purpose says what a chain is for.
func purpose(rules []fact.Rule, chain string) string {
	switch {
	case purposes[chain] != "":
		return purposes[chain]
	case strings.HasPrefix(chain, toWorkload):
		return "for packets to the workload at " + strings.TrimPrefix(chain, toWorkload)
	case strings.HasPrefix(chain, fromWorkload):
		return "for packets from the workload at " + strings.TrimPrefix(chain, fromWorkload)
	}
	if name := ownerOf(rules, chain); name != "" {
		kind := "policy "
		if strings.HasPrefix(chain, "cali-pr") {
			kind = "profile "
		}
		direction := ", in"
		if strings.HasPrefix(chain, "cali-po") || strings.HasPrefix(chain, "cali-pro") {
			direction = ", out"
		}
		return kind + name + direction
	}
	return ""
}
