//go:build linux

package main

import (
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

// detail is what only explanations need. For the packet filter's rules it starts the one program that can read them.
func detail() fact.Detail {
	return fact.Detail{
		Learned: learned(birdSocket), Rules: rules(), Lookups: within(nil, lookupsOf), RPFilter: rpFilter("/proc/sys/net/ipv4/conf"),
		Conflists: conflists("/etc/cni/net.d"),
	}
}

func learned(socket string) fact.Seen[[]fact.BIRDRoute] {
	lines, err := askBIRD(socket, "show route all")
	if err != nil {
		return fact.Unknown[[]fact.BIRDRoute]("BIRD doesn't answer: " + err.Error())
	}
	return fact.Known(fact.ParseLearned(lines))
}

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

func lookupsOf(h *netlink.Handle) ([]fact.Lookup, error) {
	all, err := retry(func() ([]netlink.Rule, error) { return h.RuleList(unix.AF_INET) })
	if err != nil {
		return nil, err
	}
	var out []fact.Lookup
	for _, r := range all {
		l := fact.Lookup{Priority: max(r.Priority, 0), Mark: r.Mark, Table: tables[r.Table]}
		if l.Table == "" {
			l.Table = itoa(r.Table)
		}
		for to, from := range map[*netip.Prefix]*net.IPNet{&l.From: r.Src, &l.To: r.Dst} {
			if from != nil {
				*to = prefixOf(from)
			}
		}
		out = append(out, l)
	}
	return out, nil
}

// rpFilter is the larger of what stands for an interface and for all (Documentation/networking/ip-sysctl.rst).
func rpFilter(dir string) fact.Seen[map[string]int] {
	files, err := filepath.Glob(dir + "/*/rp_filter")
	if err != nil {
		return fact.Unknown[map[string]int](err.Error())
	}
	all := map[string]int{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue // an interface that has just gone
		}
		n, errNumber := strconv.Atoi(strings.TrimSpace(string(data)))
		if err = errors.Join(err, errNumber); err != nil {
			return fact.Unknown[map[string]int](err.Error())
		}
		all[filepath.Base(filepath.Dir(file))] = n
	}
	for name := range all {
		if name != "default" {
			all[name] = max(all[name], all["all"])
		}
	}
	return fact.Known(all)
}

func conflists(dir string) fact.Seen[map[string]string] {
	files, err := filepath.Glob(dir + "/*")
	if err != nil {
		return fact.Unknown[map[string]string](err.Error())
	}
	all := map[string]string{}
	for _, file := range files {
		// Others keep credentials beside them.
		if info, err := os.Stat(file); err != nil || !info.Mode().IsRegular() || !slices.Contains([]string{".conflist", ".conf", ".json"}, filepath.Ext(file)) {
			continue
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return fact.Unknown[map[string]string](err.Error())
		}
		all[file] = string(data)
	}
	return fact.Known(all)
}
