package ui

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// condition is one of a stage on a machine.
func condition(stage, kind, m string, f check.Finding) check.Condition {
	c := check.Condition{
		ID: kind, Stage: stage, Machine: m, Expected: kind + " is as in lab.yaml", Try: "go tool mage ssh etcd-node look-at " + kind, Mend: "mends " + kind,
		Test: func(*fact.Lab) check.Finding { return f },
	}
	if m != "" {
		c.ID, c.Expected, c.Try = kind+"/"+m, kind+" is as it should be on "+m, "go tool mage ssh "+m+" look-at "+kind
	}
	return c
}

func report(conditions ...check.Condition) check.Report {
	r := check.Run(conditions, nil)
	r.Lab, r.Took = "lab", 1234*time.Millisecond
	return r
}

func healthy() check.Report {
	return report(
		condition("up", "machine", "etcd-node", check.OK("etcd-node answers")), condition("up", "machine", "calico1", check.OK("calico1 answers")),
		condition("etcd", "etcd", "etcd-node", check.OK("etcd 3.6.16")),
		condition("plumb", "reach", "calico1", check.OK("1 workload answers")),
	)
}

// broken is a lab in which much is wrong: the same on several machines, the same on many, what can't be seen, what is the
// user's, and what is refused.
func broken() check.Report {
	all := []check.Condition{condition("up", "machine", "etcd-node", check.OK("etcd-node answers"))}
	for i := range 5 {
		m := fmt.Sprintf("calico%d", i+1)
		all = append(all, condition("up", "machine", m, check.Not("the machine is stopped")))
	}
	yours := condition("up", "default-route", "calico9", check.Not("there is no default route"))
	yours.Left = "the lab leaves it alone\nadd one: ip route add default via GATEWAY"
	docker := check.CantSee("Docker Engine doesn't answer\nat all")
	return report(append(all, yours,
		condition("etcd", "etcd", "etcd-node", check.OK("etcd 3.6.16")),
		condition("calico", "calico-node", "calico8", docker), condition("calico", "calico-node", "calico9", docker),
		condition("calico", "bgp", "calico8", check.Not("calico8 is not Established with 192.168.4.9 (start Active)")),
		condition("calico", "bgp", "calico9", check.Not("calico9 is not Established with 192.168.4.9 (start Active)")),
		condition("calico", "felix", "calico9", check.CantSee("the machine doesn't answer")),
		condition("calico", "forwarding", "calico8", docker), condition("calico", "forwarding", "calico9", docker),
		condition("ipPool", "pool", "", check.Refuse("pool p: blockSize is 28, not 26\nwhat to do: put lab.yaml back, or\n  go tool mage unplumb")),
		condition("plumb", "reach", "calico9", check.CantSee("the machine doesn't answer")), condition("plumb", "workload", "calico9", check.CantSee("the machine doesn't answer")),
	)...)
}

func TestReport(t *testing.T) {
	one := report(condition("up", "machine", "calico1", check.Not("the machine is stopped")), condition("up", "machine", "calico2", check.OK("calico2 answers")))
	for name, c := range map[string]struct {
		r       check.Report
		verbose bool
	}{
		"report-healthy": {healthy(), false}, "report-healthy-verbose": {healthy(), true},
		"report-broken": {broken(), false}, "report-broken-verbose": {broken(), true}, "report-one": {one, false},
	} {
		golden(t, name, func(console *Console) { console.Report(c.r, c.verbose) })
	}
}

func TestPlan(t *testing.T) {
	stages := []string{"up", "etcd", "calico", "ipPool", "plumb"}
	refused := broken()
	mendable := refused
	mendable.Results = slices.DeleteFunc(slices.Clone(refused.Results), func(r check.Result) bool { return r.State == check.Refused })
	for name, r := range map[string]check.Report{"plan-nothing": healthy(), "plan-broken": mendable, "plan-refused": refused} {
		golden(t, name, func(c *Console) {
			c.Plan(stages, []string{"compiling etcd 3.6.16", "fetching Go 1.26.11 for the machines"}, r)
		})
	}
}

func TestStatus(t *testing.T) {
	machines := []machine.Status{
		{Machine: "etcd-node", Role: lab.RoleEtcd, Address: addr("192.168.4.7"), State: machine.Running, Memory: 53 << 20},
		{Machine: "calico1", Role: lab.RoleCalico, Address: addr("192.168.4.5"), State: machine.Stopped},
	}
	stages := []string{"up", "etcd", "calico", "ipPool", "plumb"}
	golden(t, "status-stopped", func(c *Console) {
		c.Status("lab", "nspawn", machines, stages, check.Report{}, [][2]string{{"cache", "/cache"}, {"next", "go tool mage start"}})
	})
	golden(t, "status-broken", func(c *Console) {
		c.Status("lab", "nspawn", machines, stages, broken(), [][2]string{{"next", "go tool mage verify"}})
	})
}

func TestPlumbed(t *testing.T) {
	w := fact.Workload{Name: "workload"}
	w.Container.NetworkSettings.SandboxKey = "/var/run/docker/netns/1"
	w.Attachment = fact.Attachment{IfName: "eth0", Result: json.RawMessage(`{"cniVersion":"1.0.0","interfaces":[{"name":"cali1"}],"ips":[{"address":"10.1.86.64/32"}]}`)}
	blocks := []netip.Prefix{netip.MustParsePrefix("10.1.0.0/26"), netip.MustParsePrefix("10.1.86.64/26")}
	golden(t, "plumbed", func(c *Console) {
		c.Plumbed("calico2", w, blocks)
		c.Plumbed("calico3", w, nil)
	})
}

func TestTables(t *testing.T) {
	golden(t, "table", func(c *Console) {
		c.Table([]string{"what", "min"}, [][]string{{"`verify`", "1.0 s"}, {"a|b", ""}})
	})
	var b bytes.Buffer
	Markdown(&b, broken())
	compare(t, "markdown", b.Bytes())
}
