package challenge

import (
	"github.com/calico-cni-lab/lab/magefiles/internal/baseline"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

// All are the challenges, in the order in which one learns to solve them.
func All() []Challenge {
	return []Challenge{mute(), islands(), smallTalk(), newcomersChallenge(), closedDoor(), hermit(), nowhere(), hangs(), fullHouse(), noComeback()}
}

// Challenges' texts are the learner's: what he sees, what helps, what it was.

func mute() Challenge {
	return Challenge{
		Name: "mute", Title: "One node's workloads are mute",
		Symptom: `Since this morning the workload on {node} hears nothing and is not heard.
Nobody changed anything in Calico; BGP is up, all routes are there.

  {node}$ sudo docker exec workload ping -c 3 {peer}     no answer`,
		Hints: [3]string{
			`How far does a packet of the workload's get? Watch both ends of its wire while
it pings: in the workload, and at the cali... interface on {node}.`,
			`The workload's next hop is 169.254.1.1, an address that nobody has. Who answers
its ARP request, and what must he know to do so? See in the workload:
ip neighbour. Compare {node}'s routes with {other}'s, all of them.`,
			`proxy_arp lets the kernel answer for an address only if it has a route to it.
Which route is there to 169.254.1.1 on {other}, and on {node}?`,
		},
		probes: bothWays, harmless: sameDefault,
		variants: []variant{{
			breaks: on("ip route del default\nnsenter --net=\"$(docker inspect --format '{{.NetworkSettings.SandboxKey}}' workload)\" ip neigh flush all"),
			Why: `{node} had lost its default route. The workload asks by ARP for 169.254.1.1, its
next hop; with proxy_arp the kernel answers such a request only if it has a
route to the address, and that was the default route, wherever it leads. No
answer, no packet. Nothing logs it, and Calico has no say in it.`,
			evidence: []command{
				{"{node}", "ip route show default"}, {"{other}", "ip route show default"},
				{"{node}", "sudo docker exec workload ping -c 1 -W 1 {peer} >/dev/null; sudo docker exec workload ip neigh"},
			},
			fix: []command{{"{node}", "sudo ip route add {default-route}"}},
		}},
	}
}

func islands() Challenge {
	return Challenge{
		Name: "islands", Title: "The nodes don't see each other",
		Symptom: `Every node is well for itself, and an island: no packet gets from a workload on
{node} to one on {other}, nor back. Calico-node runs on both.

  {node}$ sudo docker exec workload ping -c 3 {peer}     no answer`,
		Hints: [3]string{
			`Who tells {node} where {other}'s addresses are? Ask him how he is:
sudo calicoctl node status, on both nodes.`,
			`A BGP session needs two things: that both sides mean to have it, and that a TCP
connection to port 179 gets through. Which of them is missing here?`,
			`What both sides mean to have is in the datastore: bgpconfigurations, bgppeers,
nodes. What gets through is decided on the machines: see tcpdump port 179, and
what iptables -S has that isn't Calico's.`,
		},
		probes: func(c *Case) []probe { return bothWays(c) },
		variants: []variant{{
			breaks: inDatastore(edit("BGPConfiguration", "default", ".spec.nodeToNodeMeshEnabled = false")),
			Why: `The node-to-node mesh was off, and there is no BGPPeer instead: so nobody means
to speak with anybody, BIRD has no session, and the routes are gone.`,
			evidence: []command{{"{node}", "sudo calicoctl node status"}, {"{etcd}", "sudo calicoctl get bgpconfigurations -o json | jq -c '.items[].spec'"}},
			fix: []command{{"{etcd}", `sudo calicoctl patch bgpconfiguration default -p '{"spec":{"nodeToNodeMeshEnabled":true}}'`},
				{"{etcd}", "sudo calicoctl delete bgpconfiguration default"}},
		}, {
			breaks: dropBGP,
			Why: `A rule in {node}'s packet filter dropped what goes to TCP port 179. Of two nodes
only the one with the greater address connects, the other one is passive: here
{passive} waited for a connection that never came. BIRD says Connect or Active
on the one side, Passive on the other; nothing logs the dropped packets.`,
			evidence: []command{{"{node}", "sudo calicoctl node status"}, {"{node}", "sudo iptables -S | grep -v cali | grep 179"}},
			fix:      []command{{"{node}", "for chain in INPUT OUTPUT; do sudo iptables -D $chain -p tcp --dport 179 -j DROP 2>/dev/null; done; true"}},
		}},
		harmless: func(_ *Case, d baseline.Difference) bool {
			return d.Key == resource("bgpconfigurations", "default") && meshOn(d)
		},
	}
}

func smallTalk() Challenge {
	return Challenge{
		Name: "small-talk", Title: "The nodes talk, and tell each other nothing",
		Symptom: `All BGP sessions are Established. Yet {node} has no route to the addresses of
{other}'s workloads, and {other} none to {node}'s.

  {node}$ sudo calicoctl node status                    Established
  {node}$ ip route | grep bird                          where is {other-block}?`,
		Hints: [3]string{
			`A session that is up carries what the one side exports and the other imports.
On which side is the route lost? Ask both BIRDs: birdcl show route, and show
route export with the session's name.`,
			`On the side that should tell, the block is in BIRD's table, and isn't exported.
BIRD's export filter is in /etc/calico/confd/config/bird_ipam.cfg, and confd
writes that from the datastore: what of it is about 10.1.0.0/16?`,
			`In bird_ipam.cfg the pool's prefix is rejected. Look at the pool as a whole:
calicoctl get ippool -o yaml. Which field speaks of BGP?`,
		},
		probes: bothWays,
		variants: []variant{{
			breaks: inDatastore(edit("IPPool", "{pool}", ".spec.disableBGPExport = true")),
			Why: `Pool {pool} had disableBGPExport: true. Then confd writes a filter that
rejects the pool's blocks into each node's BIRD: the sessions stay Established,
and tell nothing. (That is meant for pools whose addresses others mustn't see.)`,
			evidence: []command{
				{"{etcd}", "sudo calicoctl get ippool {pool} -o json | jq -c .spec"},
				{"{node}", "sudo docker exec {calico-node} grep 'then { reject; }' /etc/calico/confd/config/bird_ipam.cfg"},
			},
			fix: []command{{"{etcd}", `sudo calicoctl patch ippool {pool} -p '{"spec":{"disableBGPExport":false}}'`}},
		}},
	}
}

func newcomersChallenge() Challenge {
	return Challenge{
		Name: "newcomers", Title: "New workloads get nothing",
		Symptom: `The workloads that there are run and reach each other. A new one gets no
interface on {node}. Try it:

  {node}$ sudo ip netns add mine
  {node}$ {cnitool} add {network} /run/netns/mine
          (it fails, or never ends)`,
		Hints: [3]string{
			`ADD is one program that is called with some JSON. Does it say something? On
which nodes does it fail? What is different there?`,
			`What cnitool gives to the plugin is in {conflist}.
Compare that file on {node} and on {other}.`,
			`Two lines of the conflist matter here: which version of CNI it speaks, and where
it expects etcd. Calico's plugin knows CNI up to 1.0.0; etcd listens for clients
at {etcd-address}:2379.`,
		},
		probes: newcomers,
		variants: []variant{{
			breaks: on("jq '.cniVersion = \"1.1.0\"' {conflist} | write {conflist}"),
			Why: `The conflist on {node} had cniVersion 1.1.0. libcni would call the plugin with
that version, and the plugin says that it speaks 1.0.0 at most. Workloads that
are plumbed already don't notice: after ADD no plugin runs any more.`,
			evidence: []command{{"{node}", "sudo grep cniVersion {conflist}"}, {"{other}", "sudo grep cniVersion {conflist}"}},
			fix:      []command{{"{node}", "sudo sed -i 's/1\\.1\\.0/1.0.0/' {conflist}"}},
		}, {
			breaks: on("sed 's/:2379\"/:2389\"/' {conflist} | write {conflist}"),
			Why: `The conflist on {node} named a port at which etcd doesn't listen. Calico's
plugin asks etcd for an address, and waits for it without a word. calicoctl and
calico-node have configurations of their own, so they work.`,
			evidence: []command{{"{node}", "sudo grep etcd_endpoints {conflist}"}, {"{other}", "sudo grep etcd_endpoints {conflist}"}},
			fix:      []command{{"{node}", "sudo sed -i 's/:2389/:2379/' {conflist}"}},
		}},
		harmless: sameConflist,
	}
}

func closedDoor() Challenge {
	return Challenge{
		Name: "closed-door", Title: "Ping works, HTTP doesn't",
		Symptom: `There are two network policies now: one opens TCP port {port} of all workloads,
the other one denies all the rest but ping. Ping works. Port {port} doesn't answer.

  {node}$ sudo docker exec workload ping -c 3 {peer}
  {node}$ sudo docker exec workload socat -T2 - TCP:{peer}:{port},connect-timeout=2

Open the port. Both policies stay, and everything else stays closed.`,
		Hints: [3]string{
			`Which rule decides about the packet? go tool mage explain packet tells, or
the counters of the cali-... chains while you try.`,
			`Policies are asked one after the other, and the first rule that fits decides.
In which order are these two? calicoctl get gnp -o wide`,
			`The smaller order comes first. lock-down denies before allow-web is asked.`,
		},
		probes: func(c *Case) []probe {
			return []probe{
				c.packet(c.node, c.other, 0), c.packet(c.node, c.other, webPort), c.packet(c.other, c.node, webPort),
				c.closed(c.node, c.other), c.closed(c.other, c.node),
			}
		},
		stays: []baseline.Key{resource("globalnetworkpolicies", tierName+allowWeb), resource("globalnetworkpolicies", tierName+lockDown)},
		lasts: deniedFirst,
		variants: []variant{{
			breaks: inDatastore(denyFirst()),
			Why: `lock-down had order 100, allow-web 200. The policies of a tier are asked in that
order, the smallest first, and the first rule that fits decides: lock-down
denied TCP before allow-web was asked. An allow has to come before the deny
that it is an exception of.`,
			evidence: []command{
				{"{etcd}", "sudo calicoctl get globalnetworkpolicies -o wide"},
				{"{other}", "sudo iptables -S | grep -- '-A cali-tw-.*-j cali-pi\\|-A cali-pi.*\\(Deny\\|DROP\\|dports\\)' | cut -c1-110"},
			},
			fix: []command{{"{etcd}", `sudo calicoctl patch globalnetworkpolicy lock-down -p '{"spec":{"order":300}}'`}},
		}},
	}
}

func hermit() Challenge {
	return Challenge{
		Name: "hermit", Title: "One workload hears nobody",
		Symptom: `The workload on {node} was plumbed anew last night. It has an interface, an
address ({workload}) and a route to it, on both nodes. But nobody gets an answer from
it, and it gets none.

  {other}$ sudo docker exec workload ping -c 3 {workload}     no answer`,
		Hints: [3]string{
			`Routes and ARP are fine. Somebody drops the packets. Where, and by which chain?
go tool mage explain packet {other}/workload {workload}`,
			`No policy is there, so the profile decides. Which profile has the endpoint, and
which have the others? calicoctl get wep -o yaml`,
			`The plugin makes a profile for each CNI network, and it lets in what is of the
same network. From which network does this workload have its interface?
ls /etc/cni/net.d /var/lib/cni/results`,
		},
		probes: bothWays, harmless: leftovers, lasts: throughOtherNetwork,
		variants: []variant{{
			breaks: on(replumb(`jq '.name = "`+otherNetwork+`"' {conflist} >`+"/etc/cni/net.d/20-"+otherNetwork+".conflist", otherNetwork)),
			Why: `The workload on {node} was plumbed with network ` + otherNetwork + `, not {network}.
Calico's plugin gives an endpoint the profile of its network, and that profile
allows what comes from endpoints of the same network, and nothing else. Each
side drops what the other one sends. The addresses are of the same pool: routes
know nothing of networks.`,
			evidence: []command{
				{"{etcd}", "sudo calicoctl get workloadendpoints -A -o json | jq -c '.items[].spec | [.node, .ipNetworks[0], .profiles]'"},
				{"{node}", "sudo sh -c 'grep -h networkName /var/lib/cni/results/* | grep -o \"\\\"networkName\\\":\\\"[a-z-]*\\\"\"'; sudo ls /etc/cni/net.d"},
			},
			fix: []command{
				{"{node}", "{cnitool} del " + otherNetwork + " {key}"},
				{"{node}", "{cnitool} add {network} {key}"},
			},
		}},
	}
}

func nowhere() Challenge {
	return Challenge{
		Name: "nowhere", Title: "An address, and no route to it",
		Symptom: `The workload on {node} was plumbed anew. ADD said nothing bad, and gave it the
address {workload}. But no packet gets there, and {node} itself has no route to it.

  {node}$ ip route | grep {workload}                          nothing
  {other}$ sudo docker exec workload ping -c 3 {workload}     no answer

Mend it so that the next ADD on {node} is right, too.`,
		Hints: [3]string{
			`Felix makes the /32 route to a workload. It does so for the endpoints of its own
node. Does it know this one?`,
			`calicoctl get wep -A -o wide: on which node is the endpoint with {workload}?
And out of whose block is the address?`,
			`The plugin writes the endpoint for the node that it takes itself for. Usually
/var/lib/calico/nodename says which; a line in the conflist goes before that.
(Take the interface back before you change it, else the endpoint stays.)`,
		},
		probes: func(c *Case) []probe { return append(bothWays(c), c.trial(c.node)) },
		variants: []variant{{
			breaks: on(replumb(`jq '.plugins[0].nodename = "{other}"' {conflist} | write {conflist}`, "{network}") + `
for address in $(ip -4 route show dev "$(ip -o link | grep -o 'calicnitool-[0-9a-f]*' | head -1)" | cut -d' ' -f1); do ip route del "$address"; done`),
			Why: `The conflist on {node} had "nodename": "{other}". So the plugin took an address
from {other}'s block and wrote the endpoint for {other}. {other}'s Felix looks for an
interface that isn't there, {node}'s knows of no endpoint: no route, and a cali...
interface from which it drops everything.`,
			evidence: []command{
				{"{etcd}", "sudo calicoctl get workloadendpoints -A -o json | jq -c '.items[].spec | [.node, .ipNetworks[0], .interfaceName]'"},
				{"{node}", "sudo grep nodename {conflist}; cat /var/lib/calico/nodename; echo; ip -br link show type veth"},
			},
			fix: []command{
				{"{node}", "{cnitool} del {network} {key}"},
				{"{node}", "sudo sh -c 'jq \"del(.plugins[0].nodename)\" {conflist} >/tmp/conflist && cat /tmp/conflist >{conflist}'"},
				{"{node}", "{cnitool} add {network} {key}"},
			},
		}},
		harmless: sameConflist,
	}
}

func hangs() Challenge {
	return Challenge{
		Name: "hang", Title: "Ping works, a download hangs",
		Symptom: `Ping works between all workloads, and short answers arrive. When the workload on
{node} downloads something from {other}, it hangs, mostly.

  {other}$ sudo docker exec workload ping -c 3 {workload}            well
  {other}$ sudo docker exec workload ping -c 3 -s 1400 {workload}    nothing`,
		Hints: [3]string{
			`Small packets pass, large ones don't. From which size on? ping -s N -M do finds
it out. Try both directions: they don't fail in the same way.`,
			`From {node} you are told: Frag needed. From {other} nobody tells you anything:
there the packet is lost where no router sees it, on the wire itself.`,
			`Both ends of a wire must have the same MTU. Compare ip link on {node} with the
other machines.`,
		},
		probes: func(c *Case) []probe {
			return []probe{c.full(c.other, c.node), c.full(c.node, c.other), c.download(c.node, c.other)}
		},
		variants: []variant{{
			breaks: on("ip link set dev {underlay} mtu 1400"),
			Why: `{underlay} of {node} had MTU 1400, the other machines {mtu}. What is too large for a
link on its way out is answered with 'Frag needed', and TCP sends less (path MTU
discovery). What is too large on its way in is dropped by the interface, and
nobody is told: a black hole. A workload that was once told 'Frag needed'
remembers for ten minutes, and asks for smaller segments meanwhile: so it
hangs only mostly. (Large TCP packets may pass as long as nobody cuts them up,
between virtual interfaces: what hangs is a single segment.)`,
			evidence: []command{
				{"{node}", "ip link show {underlay} | head -1"}, {"{other}", "ip link show {underlay} | head -1"},
				{"{other}", "sudo docker exec workload ping -c 1 -W 1 -M do -s 1472 {workload} | tail -2"},
			},
			fix: []command{{"{node}", "sudo ip link set dev {underlay} mtu {mtu}"}},
		}},
	}
}

func fullHouse() Challenge {
	return Challenge{
		Name: "full-house", Title: "No address is left",
		Symptom: `{node} was switched off hard, many times, while containers ran on it. Now a new
workload there gets no address. The operator wants one block a node, and no
borrowing from others: that is to stay (calicoctl ipam show --show-configuration).

  {node}$ sudo ip netns add mine
  {node}$ {cnitool} add {network} /run/netns/mine`,
		Hints: [3]string{
			`How many addresses are taken, and by how many workloads?
calicoctl ipam show --show-blocks; calicoctl get wep -A`,
			`An address belongs to a handle, in which IPAM notes who asked for it:
calicoctl ipam show --ip={node-block}'s second address, say. Is there still such
a workload?`,
			`An ADD that was never followed by a DEL leaves its address taken. Release those
that no workload endpoint has: calicoctl ipam release --ip=...`,
		},
		probes: newcomers, lasts: leaked,
		stays: []baseline.Key{{Kind: baseline.Entry, Name: fact.IPAMPrefix + "config"}},
		variants: []variant{{
			breaks: fillBlock,
			Why: `{node}'s block {node-block} was full of addresses whose workloads are gone. With
strictAffinity and one block a node there was no way out. IPAM releases an
address by DEL; of a container that dies with its machine nobody says DEL. (In
Kubernetes calico-kube-controllers collects such leaks; here nobody does.)`,
			evidence: []command{
				{"{etcd}", "sudo calicoctl ipam show --show-blocks"},
				{"{etcd}", "sudo calicoctl get workloadendpoints -A"},
				{"{etcd}", "sudo calicoctl ipam show --show-configuration"},
			},
			fix: []command{{"{etcd}", `for a in {leaked}; do sudo calicoctl ipam release --ip=$a >/dev/null; done`}},
		}},
	}
}

func noComeback() Challenge {
	return Challenge{
		Name: "no-comeback", Title: "calico-node doesn't come back",
		Symptom: `{node} was installed anew, with its old name and address. Since then calico-node
starts there, and ends, and starts again. Its workloads are still reached, for
as long as the others keep the routes.

  {node}$ sudo docker ps -a                     Restarting`,
		Hints: [3]string{
			`A container that ends says why: sudo docker logs --tail 20 {calico-node}`,
			`Calico-node found that its address is somebody else's already. Who says so? It
compares with what is registered: calicoctl get nodes -o wide`,
			`One of the registered nodes isn't a machine of this lab. Nobody unregisters a
node for you.`,
		},
		probes: func(c *Case) []probe { return append([]probe{c.comesBack(c.node)}, bothWays(c)...) },
		variants: []variant{{
			breaks: takeAddress,
			Why: `A node ` + twin + ` was registered with {node-address}, {node}'s address; there is no such
machine. When calico-node starts and its address isn't the registered one, it
looks whether another node has it, and ends if so. {node}, installed anew, had
none registered. Old nodes stay registered until somebody deletes them.`,
			evidence: []command{
				{"{etcd}", "sudo calicoctl get nodes -o wide"},
				{"{node}", "sudo docker logs --tail 60 {calico-node} 2>&1 | grep -m1 'already using'"},
			},
			fix: []command{{"{etcd}", "sudo calicoctl delete node " + twin}, {"{node}", "sudo docker restart -t 2 {calico-node}"}},
		}},
	}
}
