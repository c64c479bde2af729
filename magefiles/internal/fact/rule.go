package fact

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Rule is a rule of the kernel's packet filter, or the policy of a chain: what becomes of packets that reach its end.
type Rule struct {
	Table   string `json:"table"`
	Chain   string `json:"chain"`
	Text    string `json:"text"`             // as iptables-save has it behind -A CHAIN; "" of a policy
	Policy  string `json:"policy,omitempty"` // ACCEPT, DROP; "" of a rule
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

var (
	chainLine = regexp.MustCompile(`^:(\S+) (\S+) \[(\d+):(\d+)\]$`)
	ruleLine  = regexp.MustCompile(`^\[(\d+):(\d+)\] -A (\S+) ?(.*)$`)
	comment   = regexp.MustCompile(`--comment (?:"([^"]*)"|(\S+))`)
	jump      = regexp.MustCompile(`(?:^| )(?:-j|-g|--jump|--goto) (\S+)`)
)

// ParseRules reads what `iptables-save -c` writes.
func ParseRules(text string) ([]Rule, error) {
	var all []Rule
	table := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "*"); ok {
			table = name
			continue
		}
		var r Rule
		var counts []string
		if m := chainLine.FindStringSubmatch(line); m != nil {
			if m[2] == "-" {
				continue // a chain of somebody's own has no policy
			}
			r, counts = Rule{Chain: m[1], Policy: m[2]}, m[3:5]
		} else if m := ruleLine.FindStringSubmatch(line); m != nil {
			r, counts = Rule{Chain: m[3], Text: m[4]}, m[1:3]
		} else {
			continue
		}
		if table == "" {
			return nil, fmt.Errorf("iptables-save: %q is in no table", line)
		}
		r.Table = table
		var err error
		if r.Packets, err = strconv.ParseUint(counts[0], 10, 64); err == nil {
			r.Bytes, err = strconv.ParseUint(counts[1], 10, 64)
		}
		if err != nil {
			return nil, fmt.Errorf("iptables-save: %q: %w", line, err)
		}
		all = append(all, r)
	}
	return all, nil
}

// Target is where a rule sends a packet: a chain, or a verdict such as DROP; "" where it only counts.
func (r Rule) Target() string {
	if m := jump.FindStringSubmatch(r.Text); m != nil {
		return m[1]
	}
	return r.Policy
}

// Drops says whether a rule dropped packets that the machine was sent, or sent itself.
func (r Rule) Drops() bool {
	return r.Table == "filter" && (r.Chain == "INPUT" || r.Chain == "OUTPUT") && (r.Target() == "DROP" || r.Target() == "REJECT") && r.Text != "" && r.Packets > 0
}

// OfPort says whether a rule is about packets to a port, or from it.
func (r Rule) OfPort(port uint16) bool {
	return regexp.MustCompile(fmt.Sprintf(`--[ds]ports? (\S+,)?%d(,|\s|$)`, port)).MatchString(r.Text)
}

// Comments are what a rule's owner wrote of it, but for the hash by which Felix knows its own.
func (r Rule) Comments() []string {
	var all []string
	for _, m := range comment.FindAllStringSubmatch(r.Text, -1) {
		if c := m[1] + m[2]; !strings.HasPrefix(c, "cali:") {
			all = append(all, c)
		}
	}
	return all
}

// Matches is what a rule asks of a packet, without comments and target: `-m conntrack --ctstate INVALID`.
func (r Rule) Matches() string {
	text := regexp.MustCompile(`-m comment `).ReplaceAllString(comment.ReplaceAllString(r.Text, ""), "")
	if i := jump.FindStringIndex(text); i != nil {
		text = text[:i[0]]
	}
	return strings.Join(strings.Fields(text), " ")
}

// ChainOf returns the rules of a chain, in order.
func ChainOf(all []Rule, table, chain string) []Rule {
	return slices.DeleteFunc(slices.Clone(all), func(r Rule) bool { return r.Table != table || r.Chain != chain })
}

// Grown returns the rules that counted packets between two looks, with what they counted; ok is false where the two don't
// have the same rules, as somebody wrote others meanwhile.
func Grown(before, after []Rule) (grown []Rule, ok bool) {
	if len(before) != len(after) {
		return nil, false
	}
	for i, r := range after {
		b := before[i]
		if b.Table != r.Table || b.Chain != r.Chain || b.Text != r.Text || b.Policy != r.Policy || b.Packets > r.Packets {
			return nil, false
		}
		if r.Packets > b.Packets {
			r.Packets, r.Bytes = r.Packets-b.Packets, r.Bytes-b.Bytes
			grown = append(grown, r)
		}
	}
	return grown, true
}
