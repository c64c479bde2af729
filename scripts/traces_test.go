package scripts

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// traces runs a script in namespaces of its own, where it is root and alone, after the functions of calico-traces.sh.
func traces(t *testing.T, script string) string {
	t.Helper()
	for _, program := range []string{"unshare", "ip", "iptables", "pgrep"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(err)
		}
	}
	cmd := exec.Command("unshare", "--user", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "bash", "-c",
		"set -euo pipefail\ncd \"$1\"\n"+Text("calico-traces.sh")+"ip link set lo up\n"+script, "bash", t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// someones is what is in the kernel before the lab: a Calico's that isn't the lab's, and what only looks like it.
const someones = `
ip link add cali1 type veth peer name other1
ip link add calimine type bridge
ip route add unreachable 198.51.100.0/25 proto bird
ip route add unreachable 203.0.113.0/24 proto static
iptables -N cali-old
iptables -A cali-old -s 192.0.2.1 -j RETURN
iptables -N MINE
iptables -A MINE -m comment --comment "vocali: cali-" -j RETURN
iptables -A FORWARD -j MINE
`

// labs is what the lab adds.
const labs = `
ip link add cali2 type veth peer name other2
ip link set cali2 up
ip route add unreachable 198.51.100.128/25 proto bird
ip route add 198.51.100.0/26 dev cali2 proto bird
iptables -N cali-new
iptables -N cali-more
iptables -A cali-new -j cali-more
iptables -I FORWARD -m comment --comment "cali:abcdefghijklmnop" -j cali-new
iptables -t nat -N cali-nat
iptables -t nat -A POSTROUTING -m comment --comment cali:x -j cali-nat
`

const listing = `
ip -o link | cut -d: -f2 | cut -d@ -f1
ip route | sed 's/ *$//'
iptables-save | grep -e '^-A' -e '^:[^A-Z]' -e '^:MINE' || true
`

// TestRemoveTraces: what is the lab's goes, and nothing else; what was there before stays, whatever its name.
func TestRemoveTraces(t *testing.T) {
	out := traces(t, someones+"traces >before\n(\n"+listing+") >was\n"+labs+"remove_traces before\n(\n"+listing+") >is\ndiff was is && echo same\ncat before")
	want := []string{"same", "link cali1", "link calimine", "route unreachable 198.51.100.0/25", "iptables filter :cali-old -", "iptables filter -A cali-old -s 192.0.2.1/32 -j RETURN"}
	if diff := cmp.Diff(want, strings.Split(strings.TrimSpace(out), "\n")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestTracesInUse: what something of the user's uses, or another Calico or BIRD may have made, stays, and is said to.
func TestTracesInUse(t *testing.T) {
	out := traces(t, ": >before\n"+labs+"iptables -N MINE; iptables -A MINE -j cali-more\nip link add cali3 type bridge; remove_traces before; ip -o link show cali3 | wc -l; iptables-save | grep -c cali-")
	if !strings.Contains(out, "Calico's chains in the table filter of iptables stay: something else uses them") || !strings.HasSuffix(out, "\n1\n5\n") {
		t.Errorf("a chain in use:\n%s", out)
	}
	for name, stays := range map[string]string{
		"bird":        "route 198.51.100.0/26 dev cali2 scope link stays: a BIRD that isn't the lab's runs here",
		"calico-node": "interfaces, firewall chains and routes of Calico's stay: a Calico that isn't the lab's runs here",
	} {
		out := traces(t, ": >before\n"+labs+"ln -s $(command -v sleep) "+name+"; ./"+name+" 100 &\nuntil pgrep -x "+name+" >/dev/null; do :; done\nremove_traces before; kill %1\nip route show proto bird")
		if !strings.Contains(out, stays) || !strings.Contains(out, "unreachable 198.51.100.128/25") {
			t.Errorf("with %s:\n%s", name, out)
		}
	}
}
