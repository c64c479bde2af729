//go:build linux

package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/explain"
	"github.com/calico-cni-lab/lab/magefiles/internal/fault"
)

// denyAll is a policy that lets nothing in, as a line that makes it.
const denyAll = `printf 'apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: deny-all}\nspec: {types: [Ingress]}\n' | sudo calicoctl apply -f -`

// dying are packets that don't arrive: each after something is broken, and with what its story has to say. Before and after it
// the same packet arrives, where there is one that can.
var dying = []struct {
	name                  string
	machine, broken, mend string
	from, to              string
	answer                string
	says                  []string
}{
	{
		"denied", "etcd-node", denyAll, "sudo calicoctl delete globalnetworkpolicy deny-all", "calico1/workload", "calico2/workload",
		"It dies on calico2: chain cali-tw-", []string{"GlobalNetworkPolicy deny-all applies and doesn't allow it", "End of tier default. Drop if no policies passed packet"},
	},
	{
		"route-deleted", "calico2", "ip route | grep '^10.* dev cali' | sudo tee /run/lab-route && sudo ip route del $(cut -d' ' -f1 /run/lab-route)", "sudo ip route replace $(cat /run/lab-route) && sudo rm /run/lab-route", "calico1/workload", "calico2/workload",
		"It dies on calico2: the route that counts", []string{"is a blackhole", "which Felix makes, is missing", "blackhole 10.1.86.64/26 proto bird"},
	},
	{
		"forwarding-off", "calico1", "sudo /usr/sbin/sysctl -w net.ipv4.ip_forward=0; " + fault.InSandbox("ip neigh replace 169.254.1.1 lladdr ee:ee:ee:ee:ee:ee dev eth0 nud permanent"),
		"sudo /usr/sbin/sysctl -w net.ipv4.ip_forward=1; " + fault.InSandbox("ip neigh del 169.254.1.1 dev eth0"), "calico1/workload", "calico2/workload",
		"It dies on calico1: forwarding is off", []string{"net.ipv4.ip_forward = 0", "IpInAddrErrors grew by 3"},
	},
	{
		"no-proxy", "calico1", "sudo /usr/sbin/sysctl -w net.ipv4.ip_forward=0; " + fault.InSandbox("ip neigh flush all"), "sudo /usr/sbin/sysctl -w net.ipv4.ip_forward=1", "calico1/workload", "calico2/workload",
		"It dies on calico1: ARP failed", []string{"who has 169.254.1.1?", "net.ipv4.ip_forward = 0: a kernel that doesn't forward answers for no address but its own"},
	},
	{
		"no-default-route", "calico1", "sudo ip route del default; sudo ip neigh flush all; " + fault.InSandbox("ip neigh flush all"), "sudo ip route add default via 192.168.4.1 dev host0 proto static metric 100", "calico1/workload", "calico2/workload",
		"It dies on calico1: ARP failed", []string{"who has 169.254.1.1?", "calico1 has no default route"},
	},
	{"nobody", "", "", "", "calico1/workload", "10.1.86.120", "It dies on calico2: the route that counts for 10.1.86.120 is a blackhole", []string{"10.1.86.120 is nobody's", "made by BIRD, which learned it by BGP from 192.168.4.6 (calico2)"}},
	{"from-machine", "", "", "", "calico1", "calico2/workload", "It dies on calico2: chain cali-tw-", []string{"profile test-calico doesn't allow it"}},
	{"outside", "", "", "", "calico1/workload", "192.0.2.1", "It isn't answered: it left calico1 for 192.168.4.1, which is no machine of the lab", []string{"-j MASQUERADE", "became 192.168.4.5: the answer comes to the machine"}},
}

// explained: what explain says is so, and it says it of the right one.
func explained(l *lab) {
	alive := l.story("arrives", "packet", "calico1/workload", "calico2/workload")
	if !strings.HasPrefix(alive.Answer, "It arrives, with TTL 62, and the answer comes back after ") {
		l.t.Errorf("answer: %s", alive.Answer)
	}
	l.has(text(alive), "from profile test-calico", "TTL 63: it was routed", "made by BIRD, which learned it by BGP from 192.168.4.5 (calico1)", "made by Felix", "3 of 3 were answered", "cali-pri-test-calico: 3 packets")
	l.has(text(l.story("tcp", "packet", "calico1/workload", "calico2/workload", "8080")), "TCP SYN ACK", "workload on calico2 sees you as 10.1.127.192")
	l.has(text(l.story("refused", "packet", "calico1/workload", "calico2/workload", "81")), "refuses it: nothing listens at port 81")
	for _, d := range dying {
		l.part(d.name, func(l *lab) {
			if d.mend != "" {
				defer l.ssh(d.machine, d.mend)
			}
			var s explain.Story
			untold := func(part string) bool { return !strings.Contains(text(s), part) }
			// Felix takes a moment to program a policy, also between the look and the packets, and may heal a route meanwhile.
			for deadline, broken := time.Now().Add(time.Minute), d.broken == ""; ; {
				if !broken {
					l.ssh(d.machine, d.broken)
				}
				s = l.story(d.name, "packet", d.from, d.to)
				broken = d.broken == "" || !strings.HasPrefix(s.Answer, "It arrives")
				if !slices.ContainsFunc(d.says, untold) || time.Now().After(deadline) {
					break
				}
			}
			if !strings.HasPrefix(s.Answer, d.answer) {
				l.t.Errorf("answer: %s", s.Answer)
			}
			l.has(text(s), d.says...)
			if d.name == "denied" {
				l.has(text(l.story("policy-denied", "policy", "calico2/workload")), "GlobalNetworkPolicy deny-all of tier default, chain cali-pi-", "is dropped. The profile isn't asked any more")
			}
		})
	}
	l.has(text(l.story("arrives-again", "packet", "calico1/workload", "calico2/workload")), "It arrives, with TTL 62")
	l.has(l.ok("explain"), "go tool mage explain packet calico1/workload calico2/workload")
	l.has(l.ok("explain", "address", "10.1.127.192"), "10.1.127.192 is calico1/workload's, from block 10.1.127.192/26 of calico1.", "handle test-calico.cnitool-", "for the name calico1 that is this one")
	l.has(l.ok("explain", "address", "10.1.86.120"), "Nobody has 10.1.86.120", "the next workload on calico2 gets 10.1.86.")
	l.has(l.ok("explain", "route", "calico1", "10.1.86.64"), "it learned the prefix by BGP from 192.168.4.6", "BIRD makes it again")
	l.has(l.ok("explain", "bgp"), "2 sessions of BGP, all Established", "calico2 dials")
	l.has(l.ok("explain", "policy", "calico2/workload"), "No policy applies, so it is up to profile test-calico", "Allow from endpoints with has(test-calico)")
	l.has(l.ok("explain", "cni", "calico1"), "CNI_COMMAND=ADD", `"type": "calico-ipam"`, `"address": "10.1.127.192/32"`, "as it still is")
	l.has(l.ok("explain", "etcd"), "etcd on etcd-node keeps what Calico's nodes have to agree on. It is healthy;", "read and write /calico/ipam/v2/...", "good until ")
	l.has(l.ok("explain", "bgp", "-mermaid"), "flowchart LR\n", `calico1 <-- "BGP" --> calico2`)
	l.has(l.fails("explain", "packet", "calico1/wrkload", "calico2"), `there is no machine, workload or address "calico1/wrkload"; did you mean calico1/workload`)
	l.has(l.fails("explain", "addrss", "10.1.0.1"), "did you mean address?")
	l.holds()
}

// story asks for an answer as a program does. Where LAB_TEST_RECORD names a directory, it keeps what the answer was made from there,
// as a fixture of package explain's tests.
func (l *lab) story(name string, words ...string) explain.Story {
	l.t.Helper()
	out := l.ok(append(append([]string{"explain"}, words...), "-json")...)
	var s explain.Story
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		l.t.Fatalf("explain %v -json: %v\n%s", words, err, out)
	}
	if dir := os.Getenv("LAB_TEST_RECORD"); dir != "" {
		for suffix, data := range map[string][]byte{".facts.json": l.facts(), ".story.json": []byte(out)} {
			if err := os.WriteFile(filepath.Join(dir, "explain-"+name+suffix), data, 0o644); err != nil {
				l.t.Fatal(err)
			}
		}
	}
	return s
}

// text is all that a story says.
func text(s explain.Story) string {
	var b strings.Builder
	b.WriteString(s.Answer + "\n")
	for _, p := range s.Parts {
		b.WriteString(p.Title + "\n")
		for _, sentence := range p.Sentences {
			b.WriteString(sentence.Text + "\n  " + strings.Join(sentence.Evidence, "\n  ") + "\n")
		}
	}
	return b.String()
}
