package fact

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// BIRDRoute is a route of BIRD's, with where it has it from: `birdcl show route all`.
type BIRDRoute struct {
	To       netip.Prefix `json:"to"`
	Via      netip.Addr   `json:"via,omitzero"`
	Dev      string       `json:"dev,omitempty"`
	Type     string       `json:"type,omitempty"` // blackhole, unreachable, ...; "" is unicast
	Protocol string       `json:"protocol"`       // of BIRD's: Mesh_192_168_4_6, kernel1, static1, direct1
	Since    string       `json:"since"`
	From     netip.Addr   `json:"from,omitzero"` // who told it, where that isn't the next hop: a route reflector
	Best     bool         `json:"best"`          // whether it is the one that counts
	ASPath   string       `json:"asPath,omitempty"`
}

// learned is the line of a route in BIRD 1.6. A prefix that has several routes stands before the first one only.
var learned = regexp.MustCompile(`^(\S*)\s+(?:via (\S+) on (\S+)|dev (\S+)|(\w+)) \[(\S+) (\S+)(?: from (\S+))?\]( \*)?`)

// ParseLearned reads what BIRD answers to `show route all`.
func ParseLearned(lines []string) []BIRDRoute {
	var all []BIRDRoute
	var to netip.Prefix
	for _, line := range lines {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "BGP.as_path:"); ok && len(all) > 0 {
			all[len(all)-1].ASPath = strings.TrimSpace(path)
		}
		m := learned.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		if p, err := netip.ParsePrefix(m[1]); err == nil {
			to = p
		}
		r := BIRDRoute{To: to, Dev: m[3] + m[4], Type: m[5], Protocol: m[6], Since: m[7], Best: m[9] != ""}
		r.Via, _ = netip.ParseAddr(m[2])
		r.From, _ = netip.ParseAddr(m[8])
		all = append(all, r)
	}
	return all
}

// Lookup is a rule of policy routing: which table is asked for which packets (ip-rule(8)).
type Lookup struct {
	Priority int          `json:"priority"`
	From     netip.Prefix `json:"from,omitzero"`
	To       netip.Prefix `json:"to,omitzero"`
	Mark     uint32       `json:"mark,omitempty"`
	In       string       `json:"in,omitempty"`  // the interface that the packet came by
	Out      string       `json:"out,omitempty"` // that the sender is bound to
	Table    string       `json:"table"`         // local, main, default, or its number
}

// String writes the rule as ip-rule(8) takes it.
func (l Lookup) String() string {
	line := "priority " + strconv.Itoa(l.Priority)
	for _, part := range []struct {
		key, value string
		there      bool
	}{
		{"from", l.From.String(), l.From.IsValid()}, {"to", l.To.String(), l.To.IsValid()}, {"fwmark", fmt.Sprintf("%#x", l.Mark), l.Mark != 0},
		{"iif", l.In, l.In != ""}, {"oif", l.Out, l.Out != ""}, {"table", l.Table, true},
	} {
		if part.there {
			line += " " + part.key + " " + part.value
		}
	}
	return line
}

// Usual says whether every machine has this rule.
func (l Lookup) Usual() bool {
	return l == Lookup{Priority: 0, Table: "local"} || l == Lookup{Priority: 32766, Table: "main"} || l == Lookup{Priority: 32767, Table: "default"}
}
