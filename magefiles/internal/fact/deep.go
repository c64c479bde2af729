package fact

import (
	"path"
	"slices"
	"strconv"
)

// Deep is what is looked at only when it is asked for (Request.Deep): what a baseline and explanations need beside the rest.
type Deep struct {
	Learned    Seen[[]BIRDRoute]       `json:"learned"`    // BIRD's routes
	Rules      Seen[[]Rule]            `json:"rules"`      // the packet filter's, of the kind that Felix writes, in order, with their counters
	Lookups    Seen[[]Lookup]          `json:"lookups"`    // which routing tables are asked
	Namespaces Seen[[]string]          `json:"namespaces"` // names in /run/netns
	Sysctls    Seen[map[string]string] `json:"sysctls"`    // net.ipv4.ip_forward and the like, interfaces' names after slashes
	Firewall   Seen[map[string]string] `json:"firewall"`   // what iptables-save prints, by the command that it belongs to: iptables, ip6tables, iptables-legacy
	Inside     Seen[map[string]string] `json:"inside"`     // what it prints in the sandbox of the lab's workload, by sandbox key
	Qdiscs     Seen[map[string]string] `json:"qdiscs"`     // kind of the root queueing discipline, by interface
	Networks   Seen[map[string]string] `json:"networks"`   // Docker's: name to ID
	Texts      Seen[map[string]Text]   `json:"texts"`      // Request.Texts by path
	Services   Seen[map[string]string] `json:"services"`   // of calico-node: run or down, as runit has it
	Rendered   Seen[map[string]string] `json:"rendered"`   // what confd rendered for BIRD, by file name
}

// RPFilter is what reverse path filtering is set to on an interface: the larger of its own setting and of that for all
// (Documentation/networking/ip-sysctl.rst).
func (d Deep) RPFilter(link string) Seen[int] {
	if d.Sysctls.Unknown != "" {
		return Unknown[int](d.Sysctls.Unknown)
	}
	largest := 0
	for _, name := range []string{"all", link} {
		n, err := strconv.Atoi(d.Sysctls.Value["net/ipv4/conf/"+name+"/rp_filter"])
		if err != nil {
			return Unknown[int]("there is no interface " + link)
		}
		largest = max(largest, n)
	}
	return Known(largest)
}

// Conflists are the texts of a directory's network configurations, by path: what libcni reads. Others keep credentials beside them.
func (d Deep) Conflists(dir string) Seen[map[string]string] {
	all := map[string]string{}
	for p, t := range d.Texts.Value {
		if path.Dir(p) == dir && slices.Contains([]string{".conflist", ".conf", ".json"}, path.Ext(p)) {
			all[p] = t.Content
		}
	}
	return Seen[map[string]string]{Value: all, Unknown: d.Texts.Unknown}
}

// Text is a small file with its contents.
type Text struct {
	Mode    string `json:"mode"` // octal: 644
	Owner   string `json:"owner"`
	Content string `json:"content"`
}

// LargestText is how many bytes a file may have whose contents are looked at.
const LargestText = 64 << 10
