package fact

// Deep is what is looked at only when it is asked for (Request.Deep): what a baseline needs beside the rest.
type Deep struct {
	Namespaces Seen[[]string]          `json:"namespaces"` // names in /run/netns
	Rules      Seen[[]string]          `json:"rules"`      // of policy routing, but for the kernel's own three; as ip-rule(8) takes them
	Sysctls    Seen[map[string]string] `json:"sysctls"`    // net.ipv4.ip_forward and the like, interfaces' names after slashes
	Firewall   Seen[map[string]string] `json:"firewall"`   // what iptables-save prints, by the command that it belongs to: iptables, ip6tables, iptables-legacy
	Inside     Seen[map[string]string] `json:"inside"`     // what it prints in the sandbox of the lab's workload, by sandbox key
	Qdiscs     Seen[map[string]string] `json:"qdiscs"`     // kind of the root queueing discipline, by interface
	Networks   Seen[map[string]string] `json:"networks"`   // Docker's: name to ID
	Texts      Seen[map[string]Text]   `json:"texts"`      // Request.Texts by path
	Services   Seen[map[string]string] `json:"services"`   // of calico-node: run or down, as runit has it
	Rendered   Seen[map[string]string] `json:"rendered"`   // what confd rendered for BIRD, by file name
}

// Text is a small file with its contents.
type Text struct {
	Mode    string `json:"mode"` // octal: 644
	Owner   string `json:"owner"`
	Content string `json:"content"`
}

// LargestText is how many bytes a file may have whose contents are looked at.
const LargestText = 64 << 10
