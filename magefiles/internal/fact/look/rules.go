//go:build linux

package main

import (
	"net"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

// rules are those of the kind that Felix writes, nft or legacy: a machine can have both.
func rules() fact.Seen[[]fact.Rule] {
	var last error
	var first *fact.Seen[[]fact.Rule]
	for _, program := range []string{"iptables-save", "iptables-nft-save", "iptables-legacy-save"} {
		text, err := save(program, "-c")
		if err != nil {
			last = err
			continue
		}
		seen := fact.See(fact.ParseRules(text))
		if strings.Contains(text, ":cali-") {
			return seen
		}
		if first == nil {
			first = &seen
		}
	}
	if first != nil {
		return *first
	}
	return fact.Unknown[[]fact.Rule](last.Error())
}

// tables are those of routing that have a name.
var tables = map[int]string{unix.RT_TABLE_LOCAL: "local", unix.RT_TABLE_MAIN: "main", unix.RT_TABLE_DEFAULT: "default"}

func lookupsOf(h *netlink.Handle) ([]fact.Lookup, error) {
	all, err := retry(func() ([]netlink.Rule, error) { return h.RuleList(unix.AF_INET) })
	if err != nil {
		return nil, err
	}
	var out []fact.Lookup
	for _, r := range all {
		out = append(out, lookup(r))
	}
	return out, nil
}

func lookup(r netlink.Rule) fact.Lookup {
	l := fact.Lookup{Priority: max(r.Priority, 0), Mark: r.Mark, In: r.IifName, Out: r.OifName, Table: tables[r.Table]}
	if l.Table == "" {
		l.Table = itoa(r.Table)
	}
	for to, from := range map[*netip.Prefix]*net.IPNet{&l.From: r.Src, &l.To: r.Dst} {
		if from != nil {
			*to = prefixOf(from)
		}
	}
	return l
}
