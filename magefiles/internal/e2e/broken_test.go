//go:build linux

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/stage"
)

// breaks is one thing that goes wrong on a machine, the condition that names it first, and what else may not hold because of
// it, by the conditions' kinds. For each condition there is one.
var breaks = []struct {
	name, machine, command string
	first                  string
	follows                string // kinds, separated by spaces
}{
	{"interface down", "calico2", "sudo systemd-run --on-active=0.3 ip link set host0 down", "link/calico2", "default-route felix bgp routes reach"},
	{"default route removed", "calico1", "sudo ip route del default", "default-route/calico1", "reach"},
	{"Docker stopped", "calico1", "sudo systemctl stop docker.socket docker.service", "docker/calico1", "names calico-node felix bird bgp routes workload attachment address endpoint reach"},
	{"etcd removed", "etcd-node", "sudo docker rm -f etcd", "etcd-container/etcd-node", "etcd etcd-auth reflectors mesh node calico-release routes pool address felix reach"},
	{"etcd hangs", "etcd-node", "sudo pkill -STOP -x etcd", "etcd/etcd-node", "etcd-auth reflectors mesh node calico-release routes pool address felix reach"},
	{"etcd's certificate truncated", "etcd-node", "sudo truncate -s 9 /etc/calico/pki/etcd/tls.crt", "etcd-certificates/etcd-node", "etcd etcd-auth reflectors mesh node calico-release routes pool address felix reach"},
	{"the plugin may do everything", "etcd-node", "sudo docker exec etcd etcdctl role grant-permission calico-cni readwrite --prefix /calico/", "etcd-auth/etcd-node", ""},
	{"authentication off", "etcd-node", "sudo docker exec etcd etcdctl auth disable", "etcd-auth/etcd-node", ""},
	{"calico-node's certificate removed", "calico2", "sudo rm -r /etc/calico/pki/calico-node", "certificates/calico2", "felix"},
	{"calicoctl is another program", "calico2", "printf '#!/bin/sh\\necho v3.14.0\\n' | sudo tee /usr/local/bin/calicoctl", "calicoctl/calico2", ""},
	{"calicoctl's configuration unreadable", "etcd-node", "sudo chmod 600 /etc/calico/calicoctl.cfg", "calicoctl/etcd-node", ""},
	{"calico-node stopped", "calico1", "sudo docker stop -t 2 $(sudo docker ps -q --filter label=calico-cni-lab.part=calico-node)", "calico-node/calico1", "felix bird bgp routes reach"},
	{"a reflector of a former lab.yaml", "etcd-node", "sudo calicoctl label nodes calico1 calico-cni-lab.reflector=true", "reflectors", ""},
	{"mesh off", "etcd-node", `printf 'apiVersion: projectcalico.org/v3\nkind: BGPConfiguration\nmetadata: {name: default}\nspec: {nodeToNodeMeshEnabled: false}\n' | sudo calicoctl apply -f -; sleep 2`, "mesh", "bgp routes reach"},
	{"node deleted", "etcd-node", "sudo calicoctl delete node calico1", "node/calico1", "bgp routes felix attachment address endpoint reach"},
	{"forwarding off", "calico2", "sudo sysctl -w net.ipv4.ip_forward=0", "forwarding/calico2", "reach"},
	{"Felix stopped", "calico1", inNode("sv stop felix"), "felix/calico1", ""},
	{"BIRD stopped", "calico2", inNode("sv stop bird"), "bird/calico2", "bgp routes reach"},
	{"session disabled", "calico2", inNode("birdcl -s /var/run/calico/bird.ctl disable Mesh_192_168_4_5"), "bgp/calico1", "routes reach"},
	{"BIRD programs no routes", "calico1", inNode("birdcl -s /var/run/calico/bird.ctl disable kernel1") + "; sudo ip route flush proto bird", "routes/calico1", "reach"},
	{"another release in the datastore", "etcd-node", `k=/calico/resources/v3/projectcalico.org/clusterinformations/default; sudo docker exec etcd etcdctl get --print-value-only $k | sed s/v3.31.0/v3.14.0/ | sudo docker exec -i etcd etcdctl put $k`, "calico-release", ""},
	{"half of Go", "calico1", "sudo rm -rf /usr/local/go/src/net", "go/calico1", ""},
	{"Go removed", "calico2", "sudo rm -rf /usr/local/go", "go/calico2", ""},
	{"Go's profile changed", "calico2", "echo : | sudo tee /etc/profile.d/golang.sh", "go-path/calico2", ""},
	{"a plugin truncated, another's link removed", "calico2", "sudo truncate -s 1000 /opt/cni/bin/loopback; sudo rm /opt/cni/bin/calico-ipam", "plugins/calico2", ""},
	{"conflist changed", "calico1", "sudo sed -i s/1.0.0/1.1.0/ /etc/cni/net.d/10-test-calico.conflist", "conflist/calico1", ""},
	{"cnitool removed", "calico2", "rm go/bin/cnitool", "cnitool/calico2", ""},
	{"pool exports nothing", "etcd-node", `sudo calicoctl patch ippool my.ippool-1 --patch='{"spec":{"disableBGPExport":true}}'; sleep 2`, "pool", "routes reach"},
	{"workload removed, its image too", "calico2", "sudo docker rm -f workload && sudo docker rmi -f $(sudo docker images -q '*/workload')", "workload/calico2", "attachment address endpoint reach"},
	{"workload restarted", "calico1", "sudo docker restart -t 0 workload", "attachment/calico1", "address endpoint reach"},
	{"interface removed in the workload", "calico2", inSandbox("ip link del eth0"), "attachment/calico2", "address endpoint reach"},
	{"default route removed in the workload", "calico2", inSandbox("ip route del default"), "attachment/calico2", "reach"},
	{"address released", "etcd-node", "sudo calicoctl ipam release --ip=$(sudo calicoctl get workloadendpoints -A -o json | jq -r '.items[]|select(.spec.node==\"calico1\")|.spec.ipNetworks[0]' | cut -d/ -f1)", "address/calico1", ""},
	{"endpoint deleted", "etcd-node", "sudo calicoctl delete workloadendpoint -n default $(sudo calicoctl get workloadendpoints -A -o json | jq -r '.items[]|select(.spec.node==\"calico2\")|.metadata.name'); sleep 1", "address/calico2", "endpoint attachment reach"},
	{"route to the workload removed", "calico1", `sudo ip route del $(ip route | grep '^10.* dev cali' | cut -d' ' -f1)`, "endpoint/calico1", "reach"},
	{"a packet filter in the workload", "calico2", inSandbox("iptables -A INPUT -p tcp --dport 8080 -j DROP"), "reach/calico1", ""},
}

// inNode is a command line in calico-node's container.
func inNode(command string) string {
	return "sudo docker exec $(sudo docker ps -q --filter label=calico-cni-lab.part=calico-node) " + command
}

// inSandbox is a command line in the workload's network namespace.
func inSandbox(command string) string {
	return "sudo nsenter --net=$(sudo docker inspect -f '{{.NetworkSettings.SandboxKey}}' workload) " + command
}

// brokenAndMended: check names first what is broken and then only what follows from it, and one verify mends it.
func brokenAndMended(l *lab) {
	for _, b := range breaks {
		l.part(b.name, func(l *lab) {
			l.ssh(b.machine, b.command)
			unmet := l.appears(b.first)
			l.record(b.first)
			if len(unmet) == 0 || unmet[0].ID != b.first {
				l.t.Errorf("%s is not the first that doesn't hold: %s", b.first, ids(unmet))
			}
			kind, _, _ := strings.Cut(b.first, "/")
			allowed := append(strings.Fields(b.follows), kind)
			for _, u := range unmet {
				if k, _, _ := strings.Cut(u.ID, "/"); !slices.Contains(allowed, k) {
					l.t.Errorf("%s doesn't follow from it: %s", u.ID, u.Found)
				}
				if !strings.HasPrefix(u.Try, "go tool mage ") {
					l.t.Errorf("%s: nothing to try: %q", u.ID, u.Try)
				}
			}
			l.has(l.ok("verify"), "the lab works: all ")
			l.holds()
			if out := l.ssh("calico1", "sudo calicoctl get workloadendpoints --all-namespaces -o json | jq '.items | length'"); out != "2" {
				l.t.Errorf("there are %s workload endpoints, not 2", out)
			}
		})
	}
	l.sub("a program is missing", missingProgram)
	l.sub("a policy of the user's own", ownPolicy)
	l.sub("machine killed", machineKilled)
	l.sub("nobody can log in", nobodyCanLogIn)
	l.sub("every condition was broken once", everyCondition)
}

// appears looks until a condition doesn't hold: BIRD and Felix take a moment to notice.
func (l *lab) appears(id string) []check.Result {
	l.t.Helper()
	var unmet []check.Result
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		unmet = l.unmet()
		if slices.ContainsFunc(unmet, func(r check.Result) bool { return r.ID == id }) {
			break
		}
	}
	return unmet
}

func ids(results []check.Result) string {
	var all []string
	for _, r := range results {
		all = append(all, r.ID+" ("+r.Found+")")
	}
	return strings.Join(all, ", ")
}

// record keeps the facts of a broken lab as a fixture of package stage's tests, in the directory that
// LAB_TEST_RECORD names.
func (l *lab) record(id string) {
	l.t.Helper()
	dir := os.Getenv("LAB_TEST_RECORD")
	if dir == "" {
		return
	}
	name := filepath.Join(dir, "broken-"+strings.ReplaceAll(id, "/", "_")+".json")
	if err := os.WriteFile(name, l.facts(), 0o644); err != nil {
		l.t.Fatal(err)
	}
}

// facts are what a look sees now, as the logs' archive has them.
func (l *lab) facts() []byte {
	l.t.Helper()
	file, _, _ := strings.Cut(l.ok("logs"), ".tar.gz")
	facts, err := exec.Command("tar", "-xzOf", strings.TrimSpace(file)+".tar.gz", "--wildcards", "*/facts.json").Output()
	if err != nil {
		l.t.Fatalf("%s: %v", file, err)
	}
	return facts
}

// missingProgram can't be mended on a machine that reaches no mirror: check says so, with what to do.
func missingProgram(l *lab) {
	l.ssh("calico1", "sudo mv /usr/bin/jq /usr/bin/jq.away")
	l.record("packages/calico1")
	l.has(l.fails("check"), "packages/calico1", "jq", "yours: this machine can't reach a package mirror")
	l.has(l.fails("verify"), "packages/calico1")
	l.ssh("calico1", "sudo mv /usr/bin/jq.away /usr/bin/jq")
	l.ok("verify")
}

// ownPolicy: a policy of the user's own is his to remove.
func ownPolicy(l *lab) {
	l.ssh("etcd-node", `printf 'apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: deny-all}\nspec: {types: [Ingress]}\n' | sudo calicoctl apply -f -`)
	if unmet := l.appears("reach/calico1"); len(unmet) == 0 || unmet[0].ID != "reach/calico1" {
		l.t.Errorf("first: %s", ids(unmet))
	}
	start := time.Now()
	l.has(l.fails("verify"), "yours: there are policies of yours", "deny-all")
	if took := time.Since(start); took > 10*time.Second {
		l.t.Errorf("verify took %s to see that it has nothing to do", took)
	}
	l.ssh("etcd-node", "sudo calicoctl delete globalnetworkpolicy deny-all")
	l.ok("verify")
}

func machineKilled(l *lab) {
	deadline := time.Now().Add(10 * time.Second)
	for pids := l.processes("calico2"); len(pids) > 0; pids = l.processes("calico2") {
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		if time.Now().After(deadline) {
			l.t.Fatalf("calico2 can't be killed: %v", pids)
		}
	}
	l.has(l.fails("check"), "machine/calico2", "found: the machine is stopped", "try:   ", "go tool mage start")
	l.has(l.ok("ssh", "calico1", "hostname"), "calico1")
	l.ok("verify")
	l.holds()
}

// nobodyCanLogIn: a machine that runs and doesn't answer SSH is named, and a run ends; booting it is the user's decision.
func nobodyCanLogIn(l *lab) {
	l.ssh("calico2", "sudo systemctl stop lab-ssh.socket")
	l.has(l.fails("check"), "machine/calico2", "yours: the machine runs, but nobody can log in", "go tool mage stop start")
	start := time.Now()
	l.has(l.fails("verify"), "machine/calico2")
	if took := time.Since(start); took > 3*time.Minute {
		l.t.Errorf("verify took %s to give up", took)
	}
	l.ok("stop", "start")
	l.holds()
}

// everyCondition: a condition that no break breaks could be one that can't fail.
func everyCondition(l *lab) {
	broken := map[string]bool{
		"machine": true, "packages": true, // machineKilled, missingProgram
		"old-network": true, // poolAndNetwork
	}
	for _, b := range breaks {
		kind, _, _ := strings.Cut(b.first, "/")
		broken[kind] = true
	}
	for _, res := range l.report().Results {
		if kind, _, _ := strings.Cut(res.ID, "/"); !broken[kind] {
			l.t.Errorf("nothing breaks %s", res.ID)
		}
		if !slices.Contains(stages(), res.Stage) {
			l.t.Errorf("%s belongs to no stage: %q", res.ID, res.Stage)
		}
	}
	if len(stage.All()) != 8 {
		l.t.Errorf("%d stages", len(stage.All()))
	}
}
