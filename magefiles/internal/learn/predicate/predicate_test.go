package predicate

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

var machines = []string{"etcd-node", "calico1", "calico2", "calico3", "off"}

// seen is a lab in which every kind of predicate has something that holds and something that doesn't. Of calico3 nothing is known.
func seen() *State {
	var workload, exited fact.Container
	workload.Name, workload.State.Status = "/workload", "running"
	exited.Name, exited.State.Status = "/exited", "exited"
	unknown := fact.Machine{
		Routes: fact.Unknown[[]fact.Route]("why"), BIRD: fact.Unknown[fact.BIRD]("why"), Docker: fact.Unknown[fact.Docker]("why"), Links: fact.Unknown[[]fact.Link]("why"),
	}
	return &State{
		Facts: fact.Lab{
			Machines: map[string]fact.Machine{"calico3": unknown, "calico1": {
				Routes: fact.Known([]fact.Route{
					{To: netip.MustParsePrefix("10.1.86.64/26"), Via: netip.MustParseAddr("192.168.4.6"), Dev: "host0", Protocol: "bird"},
					{To: netip.MustParsePrefix("10.1.127.192/26"), Type: "blackhole", Protocol: "bird"},
					{To: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("192.168.4.1"), Dev: "host0", Protocol: "static"},
					{To: netip.MustParsePrefix("10.1.127.192/32"), Dev: "cali1"},
				}),
				BIRD: fact.Known(fact.BIRD{Protocols: []fact.Protocol{
					{Name: "Mesh_192_168_4_6", Proto: "BGP", State: "up", Info: "Established"}, {Name: "Mesh_192_168_4_8", Proto: "BGP", State: "start", Info: "Active"},
				}}),
				Docker: fact.Known(fact.Docker{Containers: []fact.Container{workload, exited}}),
				Links:  fact.Known([]fact.Link{{Name: "host0"}, {Name: "calicnitool-123"}}),
			}},
			Unreached: map[string]string{"off": "it is off"},
			Datastore: fact.Known(fact.Datastore{
				Pools:     []fact.Pool{{Name: "p", CIDR: netip.MustParsePrefix("10.1.0.0/16")}},
				Blocks:    []fact.Block{{CIDR: netip.MustParsePrefix("10.1.86.64/26"), Node: "calico2"}},
				Endpoints: []fact.Endpoint{{Node: "calico2", Interface: "cali2", Addresses: []netip.Prefix{netip.MustParsePrefix("10.1.86.64/32")}}},
			}),
		},
		Report: fact.Known(check.Report{Results: []check.Result{{ID: "good", State: check.Holds}, {ID: "bad", State: check.Broken}, {ID: "dark", State: check.Unknown}, {ID: "yours", State: check.Refused}}}),
		Probes: map[Probe]fact.Seen[fact.Probe]{
			{From: Place{"calico1", "workload"}, To: netip.MustParseAddr("10.1.86.64")}:             fact.Known(fact.Probe{TTL: 62}),
			{From: Place{"calico1", ""}, To: netip.MustParseAddr("10.1.86.64")}:                     fact.Known(fact.Probe{Ping: "no reply"}),
			{From: Place{"calico1", "exited"}, To: netip.MustParseAddr("10.1.86.64")}:               fact.Unknown[fact.Probe]("why"),
			{From: Place{"calico1", "workload"}, To: netip.MustParseAddr("10.1.86.64"), Port: 8080}: fact.Known(fact.Probe{Said: "hello"}),
			{From: Place{"calico1", "workload"}, To: netip.MustParseAddr("10.1.86.64"), Port: 81}:   fact.Known(fact.Probe{TCP: "refused"}),
			{From: Place{"calico1", "exited"}, To: netip.MustParseAddr("10.1.86.64"), Port: 8080}:   fact.Unknown[fact.Probe]("why"),
		},
		Counters: map[Counter]fact.Seen[int64]{
			{"calico1", "cali-fw", "drop"}: fact.Known[int64](7), {"calico1", "cali-tw", ""}: fact.Known[int64](5), {"calico1", "new", ""}: fact.Known[int64](5),
			{"calico1", "dark", ""}: fact.Known[int64](5), {"calico3", "cali-fw", ""}: fact.Unknown[int64]("why"),
		},
		Before: map[Counter]fact.Seen[int64]{
			{"calico1", "cali-fw", "drop"}: fact.Known[int64](5), {"calico1", "cali-tw", ""}: fact.Known[int64](5), {"calico1", "dark", ""}: fact.Unknown[int64]("why"),
		},
		Restored: check.Not("a policy is new"),
	}
}

func TestPredicates(t *testing.T) {
	for line, want := range map[string]check.State{
		"route calico1 10.1.86.64/26":                                      check.Holds,
		"route calico1 10.1.86.64/26 via 192.168.4.6 dev host* proto bird": check.Holds,
		"route calico1 10.1.86.64/26 via 192.168.4.7":                      check.Broken,
		"route calico1 10.1.86.64/26 proto static":                         check.Broken,
		"route calico1 10.1.86.64/27":                                      check.Broken,
		"route calico1 10.1.127.192/26 type blackhole":                     check.Holds,
		"route calico1 10.1.127.192":                                       check.Holds,
		"route calico1 default dev host0":                                  check.Holds,
		"route calico3 default":                                            check.Unknown,
		"route off default":                                                check.Unknown,
		"route calico2 default":                                            check.Unknown,
		"bgp calico1 192.168.4.6":                                          check.Holds,
		"bgp calico1 192.168.4.8":                                          check.Broken,
		"bgp calico1 192.168.4.9":                                          check.Broken,
		"bgp calico3 192.168.4.6":                                          check.Unknown,
		"ping calico1/workload 10.1.86.64":                                 check.Holds,
		"ping calico1 10.1.86.64":                                          check.Broken,
		"ping calico2 10.1.86.64":                                          check.Unknown,
		"ping calico1/exited 10.1.86.64":                                   check.Unknown,
		"tcp calico1/exited 10.1.86.64 8080":                               check.Unknown,
		"tcp calico1/workload 10.1.86.64 8080":                             check.Holds,
		"tcp calico1/workload 10.1.86.64 81":                               check.Broken,
		"tcp calico1/workload 10.1.86.64 82":                               check.Unknown,
		"owner 10.1.86.64 calico2":                                         check.Holds,
		"owner 10.1.86.64 calico1":                                         check.Broken,
		"owner 10.1.86.65 calico2":                                         check.Broken,
		"block 10.1.86.64/26 calico2":                                      check.Holds,
		"block 10.1.86.64/26 calico1":                                      check.Broken,
		"block 10.1.86.128/26 calico2":                                     check.Broken,
		"pool 10.1.0.0/16":                                                 check.Holds,
		"pool 10.2.0.0/16":                                                 check.Broken,
		"container calico1 workload":                                       check.Holds,
		"container calico1 exited":                                         check.Broken,
		"container calico1 none":                                           check.Broken,
		"container calico3 workload":                                       check.Unknown,
		"link calico1 calicnitool-*":                                       check.Holds,
		"link calico1 eth0":                                                check.Broken,
		"link calico3 eth0":                                                check.Unknown,
		"packets calico1 cali-fw drop":                                     check.Holds,
		"packets calico1 cali-tw":                                          check.Broken,
		"packets calico1 new":                                              check.Unknown,
		"packets calico1 dark":                                             check.Unknown,
		"packets calico1 unasked":                                          check.Unknown,
		"packets calico3 cali-fw":                                          check.Unknown,
		"holds good":                                                       check.Holds,
		"holds bad":                                                        check.Broken,
		"holds dark":                                                       check.Unknown,
		"holds yours":                                                      check.Broken,
		"holds nothing":                                                    check.Unknown,
		"works":                                                            check.Broken,
		"restored":                                                         check.Broken,
	} {
		for _, not := range []bool{false, true} {
			text, state := line, want
			if not {
				text = "no " + line
				state = map[check.State]check.State{check.Holds: check.Broken, check.Broken: check.Holds, check.Unknown: check.Unknown}[want]
			}
			p, err := Parse(text, machines)
			if err != nil {
				t.Errorf("%s: %v", text, err)
				continue
			}
			if f := p.Test(seen()); f.State != state || f.Found == "" {
				t.Errorf("%s: %s (%s), want %s", text, f.State, f.Found, state)
			}
		}
	}
}

// TestWhole: what is about a whole lab holds where all is well, and is unknown where nothing was looked at.
func TestWhole(t *testing.T) {
	for _, c := range []struct {
		line string
		s    State
		want check.State
	}{
		{"works", State{Report: report(check.Holds)}, check.Holds},
		{"works", State{Report: report(check.Holds, check.Unknown)}, check.Unknown},
		{"works", State{Report: report(check.Unknown, check.Refused)}, check.Broken},
		{"works", State{Report: fact.Unknown[check.Report]("why")}, check.Unknown},
		{"works", State{}, check.Unknown},
		{"holds good", State{Report: fact.Unknown[check.Report]("why")}, check.Unknown},
		{"restored", State{Restored: check.OK("all of it")}, check.Holds},
		{"restored", State{Restored: check.CantSee("why")}, check.Unknown},
		{"restored", State{}, check.Unknown},
		{"owner 10.1.86.64 calico2", State{Facts: fact.Lab{Datastore: fact.Unknown[fact.Datastore]("why")}}, check.Unknown},
	} {
		p, err := Parse(c.line, machines)
		if err != nil {
			t.Fatal(err)
		}
		if f := p.Test(&c.s); f.State != c.want {
			t.Errorf("%s: %s (%s), want %s", c.line, f.State, f.Found, c.want)
		}
	}
}

func report(states ...check.State) fact.Seen[check.Report] {
	var r check.Report
	for _, s := range states {
		r.Results = append(r.Results, check.Result{State: s})
	}
	return fact.Known(r)
}

func TestParseFaults(t *testing.T) {
	for line, want := range map[string]string{
		"":                              "is no check",
		"no":                            "is no check",
		"rout calico1 10.0.0.0/8":       `no check is called "rout"; there are bgp, block`,
		"route":                         "a machine is missing",
		"route nobody 10.0.0.0/8":       "there is no machine nobody",
		"route calico1":                 "a prefix is missing",
		"route calico1 10.0.0.0/99":     "10.0.0.0/99",
		"route calico1 10.0.0.0/8 prot": `"prot" is too much`,
		"bgp calico1 x":                 `"x"`,
		"tcp calico1 10.1.1.1 99999":    "out of range",
		"ping nobody/workload 10.1.1.1": "there is no machine nobody",
		"works well":                    `"well" is too much`,
	} {
		if _, err := Parse(line, machines); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %q", line, err, want)
		}
	}
}

func TestCount(t *testing.T) {
	const rules = `*filter
:cali-fw-a - [0:0]
[3:252] -A cali-fw-a -m comment --comment "cali:x" -m comment --comment "Drop if no profiles matched" -j DROP
[4:336] -A cali-fw-a -m comment --comment "cali:y" -j cali-pro
[5:420] -A cali-fw-b -j DROP
[9:1] -A FORWARD -j cali-fw-a
COMMIT
`
	for c, want := range map[Counter]int64{
		{"", "cali-fw-a", ""}: 7, {"", "cali-fw-*", "DROP"}: 8, {"", "cali-fw-a", "Drop if no profiles"}: 3, {"", "none", ""}: 0, {"", "FORWARD", ""}: 9,
	} {
		if got := c.Count(rules); got != want {
			t.Errorf("%+v: %d, want %d", c, got, want)
		}
	}
}
