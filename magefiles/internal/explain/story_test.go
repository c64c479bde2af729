package explain

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact/recorded"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/pki"
	"github.com/calico-cni-lab/lab/magefiles/internal/spec"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// recording is a lab as it was when a story was told, and that story. LAB_TEST_RECORD=DIR has TestLab/explained record them.
func recording(t *testing.T, name string) (*Lab, Story) {
	t.Helper()
	definition, err := lab.Load("../stage/testdata/lab.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var s Story
	recorded.Read(t, "testdata/"+name+".story.json.gz", &s)
	l := &Lab{Lab: definition, Facts: recorded.Lab(t, "testdata/"+name+".facts.json.gz"), Slow: 1}
	l.Certificates = pki.Set{CA: pki.Pair{Cert: "ca.crt", Until: now.AddDate(10, 0, 0)}, Issued: map[string]pki.Pair{}, Faults: map[string]string{}}
	for _, subject := range spec.Subjects(definition) {
		l.Certificates.Issued[subject.Name] = pki.Pair{Until: now.AddDate(1, 0, 0)}
	}
	// The recordings are older than what is asked of etcd today.
	m := l.Facts.Machines["etcd-node"]
	m.Auth = fact.Known(spec.EtcdAuth())
	m.Members = fact.Known([]fact.Member{{ID: "8e9e05c52164694d", Name: "etcd-node", Peer: "https://192.168.4.7:2380", Client: "https://192.168.4.7:2379", Leader: true}})
	l.Facts.Machines["etcd-node"] = m
	l.Trace = func(context.Context, map[string]fact.TraceRequest) map[string]fact.Seen[fact.Trace] { return s.Traces }
	return l, s
}

var now = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

func ask(t *testing.T, l *Lab, question string) (Story, error) {
	t.Helper()
	words := strings.Fields(question)
	topic, err := Find(l.Lab, words)
	if err != nil {
		return Story{}, err
	}
	return topic.Answer(t.Context(), l, words)
}

// dump is all of a story, for a person who reads a golden file.
func dump(s Story) string {
	var b strings.Builder
	fmt.Fprintf(&b, "? %s\n%s\n", s.Question, s.Answer)
	for _, p := range s.Parts {
		fmt.Fprintf(&b, "\n# %s\n", p.Title)
		for _, x := range p.Sentences {
			mark := map[[2]bool]string{{true, false}: "(wrong) ", {false, true}: "(unknown) "}[[2]bool{x.Wrong, x.Unknown}]
			fmt.Fprintf(&b, "%s%s\n", mark, x.Text)
			for _, e := range x.Evidence {
				fmt.Fprintf(&b, "    | %s\n", e)
			}
			if x.Command != "" {
				fmt.Fprintf(&b, "    $ %s\n", x.Command)
			}
		}
	}
	return b.String() + "\n" + s.Mermaid
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got); -update rewrites it:\n%s", file, diff)
	}
}

// TestPackets: what was captured and counted tells the same story again.
func TestPackets(t *testing.T) {
	all, err := filepath.Glob("testdata/*.story.json.gz")
	if err != nil || len(all) < 10 {
		t.Fatalf("%d recordings, %v", len(all), err)
	}
	for _, file := range all {
		name := strings.TrimSuffix(filepath.Base(file), ".story.json.gz")
		t.Run(name, func(t *testing.T) {
			l, then := recording(t, name)
			s, err := ask(t, l, then.Question)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name, dump(s))
		})
	}
}

// TestNoProxy: a node that doesn't forward answers no ARP for 169.254.1.1 either.
func TestNoProxy(t *testing.T) {
	l, then := recording(t, "no-default-route")
	m := l.Facts.Machines["calico1"]
	m.Forwarding = fact.Known(false)
	l.Facts.Machines["calico1"] = m
	s, err := ask(t, l, then.Question)
	if err != nil {
		t.Fatal(err)
	}
	story := dump(s)
	for _, want := range []string{"ARP failed: calico1/workload asked for 169.254.1.1", "net.ipv4.ip_forward = 0: a kernel that doesn't forward", fact.Forwarding.Command()} {
		if !strings.Contains(story, want) {
			t.Errorf("no %q in\n%s", want, story)
		}
	}
}

// TestNamespace is a workload that is a network namespace and no container, as a reader makes one.
func TestNamespace(t *testing.T) {
	l, _ := recording(t, "arrives")
	m := l.Facts.Machines["calico1"]
	m.Docker.Value.Containers = nil
	l.Facts.Machines["calico1"] = m
	s, err := ask(t, l, "address 10.1.127.192")
	if err != nil {
		t.Fatal(err)
	}
	if want := "10.1.127.192 is in the network namespace " + m.Sandboxes.Value[0].Key + " on calico1, from block "; !strings.HasPrefix(s.Answer, want) {
		t.Errorf("%q doesn't begin with %q", s.Answer, want)
	}
	if story := dump(s); !strings.Contains(story, "sudo nsenter --net="+m.Sandboxes.Value[0].Key+" ip address show eth0") || strings.Contains(story, "docker exec") {
		t.Errorf("it can't be looked into:\n%s", story)
	}
}

// TestAnswers are the questions that a look alone answers.
func TestAnswers(t *testing.T) {
	for _, c := range []struct{ name, recording, question string }{
		{"address-workload", "arrives", "address 10.1.127.192"},
		{"address-free", "arrives", "address 10.1.86.120"},
		{"address-no-block", "arrives", "address 10.1.5.5"},
		{"address-node", "arrives", "address 192.168.4.5"},
		{"address-gateway", "arrives", "address 192.168.4.1"},
		{"address-outside", "arrives", "address 192.0.2.1"},
		{"address-block", "arrives", "address 10.1.127.192/26"},
		{"route-bird", "arrives", "route calico1 10.1.86.64"},
		{"route-felix", "arrives", "route calico2 calico2/workload"},
		{"route-blackhole", "arrives", "route calico1 10.1.127.192/26"},
		{"route-default", "arrives", "route calico1 192.0.2.1"},
		{"route-kernel", "arrives", "route calico1 calico2"},
		{"route-deleted-one", "route-deleted", "route calico2 10.1.86.64"},
		{"route-none", "no-default-route", "route calico1 192.0.2.1"},
		{"bgp", "arrives", "bgp"},
		{"policy-profile", "arrives", "policy calico2/workload"},
		{"policy-denied", "denied", "policy calico2/workload"},
		{"cni", "arrives", "cni calico1"},
		{"etcd", "arrives", "etcd"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, _ := recording(t, c.recording)
			s, err := ask(t, l, c.question)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, c.name, dump(s))
			for _, p := range s.Parts {
				for _, x := range p.Sentences {
					if strings.HasPrefix(x.Command, "go tool mage ssh ") == (x.Command == "") {
						t.Errorf("command %q", x.Command)
					}
				}
			}
		})
	}
}

// TestChanged: what is otherwise is told otherwise.
func TestChanged(t *testing.T) {
	on := func(l *Lab, name string, change func(*fact.Machine)) {
		m := l.Facts.Machines[name]
		change(&m)
		l.Facts.Machines[name] = m
	}
	for _, c := range []struct {
		name, question string
		change         func(*Lab)
		says           string
	}{
		{"no datastore", "address 10.1.127.192", func(l *Lab) { l.Facts.Datastore = fact.Unknown[fact.Datastore]("etcd doesn't answer") }, "Unknown: whose 10.1.127.192 is; the datastore can't be read"},
		{"leaked", "address 10.1.127.192", func(l *Lab) {
			on(l, "calico1", func(m *fact.Machine) { m.Attachments = fact.Known[[]fact.Attachment](nil) })
		}, "it has leaked"},
		{"no endpoint", "address 10.1.127.192", func(l *Lab) { l.Facts.Datastore.Value.Endpoints = nil }, "Felix knows nothing of this workload"},
		{"another first block", "address 10.1.127.192", func(l *Lab) {
			l.Facts.Datastore.Value.Blocks[0].Node, l.Facts.Datastore.Value.Blocks[1].Node = "calico2", "calico1"
		}, "it was not the first"},
		{"borrowed", "address 10.1.127.192", func(l *Lab) {
			l.Facts.Datastore.Value.Blocks[0].Node, l.Facts.Datastore.Value.Blocks[1].Node = "calico2", "calico1"
		}, "calico1 borrowed it"},
		{"pool disabled", "address 10.1.86.120", func(l *Lab) { l.Facts.Datastore.Value.Pools[0].Disabled = true }, "nobody new gets an address"},
		{"no NAT", "address 192.0.2.1", func(l *Lab) { l.Facts.Datastore.Value.Pools[0].NATOutgoing = false }, "under the workload's own address"},
		{"machine unreached", "route calico1 10.1.86.64", func(l *Lab) {
			delete(l.Facts.Machines, "calico1")
			l.Facts.Unreached = map[string]string{"calico1": "no answer"}
		}, "Unknown: calico1's routes: no answer"},
		{"BIRD doesn't say", "route calico1 10.1.86.64", func(l *Lab) {
			on(l, "calico1", func(m *fact.Machine) { m.Deep.Value.Learned = fact.Unknown[[]fact.BIRDRoute]("BIRD doesn't answer") })
		}, "Unknown: from whom BIRD learned it"},
		{"BIRD forgot", "route calico1 10.1.86.64", func(l *Lab) {
			on(l, "calico1", func(m *fact.Machine) { m.Deep.Value.Learned = fact.Known[[]fact.BIRDRoute](nil) })
		}, "it is left over"},
		{"policy routing", "route calico1 10.1.86.64", func(l *Lab) {
			on(l, "calico1", func(m *fact.Machine) {
				m.Deep.Value.Lookups.Value = append(m.Deep.Value.Lookups.Value, fact.Lookup{Priority: 99, Mark: 4, Table: "100"})
			})
		}, "may take some packets to table 100"},
		{"mesh off", "bgp", func(l *Lab) { l.Facts.Datastore.Value.BGP.MeshOff = true }, "The node-to-node mesh is off"},
		{"session down", "bgp", func(l *Lab) {
			on(l, "calico1", func(m *fact.Machine) {
				m.BIRD.Value.Protocols = slices.Clone(m.BIRD.Value.Protocols)
				for i, p := range m.BIRD.Value.Protocols {
					if p.Proto == "BGP" {
						m.BIRD.Value.Protocols[i].State, m.BIRD.Value.Protocols[i].Info = "start", "Active"
					}
				}
			})
		}, "1 of 2 sessions of BGP are Established"},
		{"reflector and peer", "bgp", func(l *Lab) {
			l.Facts.Datastore.Value.Nodes[0].ClusterID = "1.0.0.1"
			l.Facts.Resources.Value.Peers = []fact.PeerResource{{Name: "up", NodeSelector: "all()", PeerIP: "192.168.4.9"}}
		}, "BGPPeer up: every node with all() speaks with 192.168.4.9"},
		{"not exported", "bgp", func(l *Lab) { l.Facts.Datastore.Value.Pools[0].NoBGPExport = true }, "pool my.ippool-1 has disableBGPExport"},
		{"no chains", "policy calico2/workload", func(l *Lab) {
			on(l, "calico2", func(m *fact.Machine) { m.Deep.Value.Rules = fact.Known[[]fact.Rule](nil) })
		}, "Felix doesn't guard this workload"},
		{"chains unknown", "policy calico2/workload", func(l *Lab) {
			on(l, "calico2", func(m *fact.Machine) { m.Deep.Value.Rules = fact.Unknown[[]fact.Rule]("no iptables-save") })
		}, "can't be seen"},
		{"labels unknown", "policy calico2/workload", func(l *Lab) {
			l.Facts.Datastore, l.Facts.Resources = fact.Unknown[fact.Datastore]("etcd doesn't answer"), fact.Seen[fact.Resources]{}
		}, "Unknown: its labels, and what the policies say: etcd doesn't answer"},
		{"AS of its own", "bgp", func(l *Lab) { l.Facts.Datastore.Value.Nodes[0].AS = "64999" }, "is in an AS of its own, 64999"},
		{"conflist changed", "cni calico1", func(l *Lab) {
			on(l, "calico1", func(m *fact.Machine) {
				m.Deep.Value.Texts = fact.Known(map[string]fact.Text{"/etc/cni/net.d/10-x.conflist": {Content: `{"name": "test-calico"}`}})
			})
		}, "has been changed since"},
		{"conflist gone", "cni calico1", func(l *Lab) {
			on(l, "calico1", func(m *fact.Machine) { m.Deep.Value.Texts = fact.Known(map[string]fact.Text{}) })
		}, "No file in /etc/cni/net.d describes network test-calico"},
		{"asked with arguments", "cni calico1", func(l *Lab) {
			on(l, "calico1", func(m *fact.Machine) {
				m.Attachments.Value = slices.Clone(m.Attachments.Value)
				m.Attachments.Value[0].CNIArgs = [][2]string{{"IP", "10.1.0.1"}}
				m.Attachments.Value[0].Capabilities = map[string]json.RawMessage{"portMappings": []byte("[]")}
				m.Attachments.Value[0].Live = false
			})
		}, "CNI_ARGS: IP=10.1.0.1|portMappings: []|nobody called DEL"},
		{"etcd is ill", "etcd", func(l *Lab) {
			on(l, "etcd-node", func(m *fact.Machine) { m.Etcd.Value = fact.Health{Said: "nothing answers"} })
		}, "etcd on etcd-node isn't healthy: nothing answers|It isn't healthy; "},
		{"etcd unseen", "etcd", func(l *Lab) {
			delete(l.Facts.Machines, "etcd-node")
			l.Facts.Unreached = map[string]string{"etcd-node": "no answer"}
		}, "Unknown: how etcd on etcd-node is: no answer|Unknown: what etcd lets its clients do: no member says so"},
		{"authentication off", "etcd", func(l *Lab) {
			on(l, "etcd-node", func(m *fact.Machine) { m.Auth.Value.Enabled = false })
		}, "Authentication is off: whoever has"},
		{"somebody's user", "etcd", func(l *Lab) {
			on(l, "etcd-node", func(m *fact.Machine) {
				m.Auth.Value.Users["me"], m.Auth.Value.Roles["mine"] = []string{"mine"}, []fact.Grant{{Key: "/a", End: "/c"}}
			})
		}, "me (somebody's, and not the lab's) may:|read /a up to /c"},
		{"a certificate about to end", "etcd", func(l *Lab) {
			l.Certificates.Faults["calico-cni"] = "the certificate of calico-cni ends on 3 December 2026"
			l.Certificates.Issued["calico-cni"] = pki.Pair{Until: now.AddDate(0, 0, 5)}
		}, "the certificate of calico-cni ends on 3 December 2026. It is issued anew by: go tool mage verify|good until 3 December 2026"},
		{"the authority about to end", "etcd", func(l *Lab) { l.Certificates.CA.Until = now.AddDate(0, 3, 0) }, "its certificates are good until 28 February 2027"},
		{"no certificates", "etcd", func(l *Lab) {
			l.Certificates = pki.Set{Faults: map[string]string{pki.CA: "there is no certificate of ca"}}
		}, "Unknown: the lab's certificates: there is no certificate of ca|when its certificates end is unknown"},
	} {
		l, _ := recording(t, "arrives")
		untouched, err := ask(t, l, c.question)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		c.change(l)
		s, err := ask(t, l, c.question)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		for _, says := range strings.Split(c.says, "|") {
			if !strings.Contains(dump(s), says) {
				t.Errorf("%s: no %q in\n%s", c.name, says, dump(s))
			}
			if strings.Contains(dump(untouched), says) {
				t.Errorf("%s: %q is said of a lab that nothing is wrong with, too", c.name, says)
			}
		}
	}
}

// TestMembers: of several members, each is told what it is, and how many have to be there.
func TestMembers(t *testing.T) {
	l, _ := recording(t, "arrives")
	etcd1 := l.Facts.Machines["etcd-node"]
	l.Machines = slices.DeleteFunc(slices.Clone(l.Machines), func(m lab.Machine) bool { return m.Role == lab.RoleEtcd })
	etcd1.Members.Value = nil
	for i, name := range []string{"etcd1", "etcd2", "etcd3"} {
		m := lab.Machine{Name: name, Role: lab.RoleEtcd, Address: netip.AddrFrom4([4]byte{192, 168, 4, byte(7 + i)})}
		l.Machines = append(l.Machines, m)
		etcd1.Members.Value = append(etcd1.Members.Value, fact.Member{Name: name, Peer: spec.PeerURL(m), Leader: i == 1, Learner: i == 0})
	}
	etcd2 := etcd1
	l.Facts.Machines["etcd1"], l.Facts.Machines["etcd2"] = etcd1, etcd2
	l.Facts.Unreached = map[string]string{"etcd3": "the machine is stopped"}
	s, err := ask(t, l, "etcd")
	if err != nil {
		t.Fatal(err)
	}
	for _, says := range []string{
		"3 members of etcd keep what Calico's nodes have to agree on. 2 of them are healthy, 2 have to be;", "So 2 have to be there, and 1 may be away",
		"etcd on etcd1 is healthy, and gets the data before it has a vote", "etcd on etcd2 is healthy, and the leader now", "Unknown: how etcd on etcd3 is: the machine is stopped",
		"Its certificate is on etcd1, etcd2, etcd3.",
	} {
		if !strings.Contains(dump(s), says) {
			t.Errorf("no %q in\n%s", says, dump(s))
		}
	}
}

// TestPacketUnseen: what couldn't be measured is unknown, and no cause is made up.
func TestPacketUnseen(t *testing.T) {
	l, then := recording(t, "denied")
	m := then.Traces["calico2"]
	m.Value.Hits = fact.Unknown[[]fact.Rule]("the rules were changed meanwhile, their counters began anew")
	then.Traces["calico2"] = m
	s, err := ask(t, l, then.Question)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(s.Answer, "It is lost on calico2: it came in and didn't go out again, and nothing that was looked at says why") || !strings.Contains(dump(s), "(unknown) Unknown: which rules counted on calico2") {
		t.Error(dump(s))
	}
	then.Traces["calico1"] = fact.Unknown[fact.Trace]("no answer")
	if _, err := ask(t, l, then.Question); err == nil || !strings.Contains(err.Error(), "nothing was sent from calico1/workload: no answer") {
		t.Error(err)
	}
}

// TestReversePath: a counter of the kernel's is enough to know.
func TestReversePath(t *testing.T) {
	l, then := recording(t, "nobody")
	m := then.Traces["calico2"]
	m.Value.Counts = map[string]uint64{"TcpExtIPReversePathFilter": 3}
	then.Traces["calico2"] = m
	s, err := ask(t, l, then.Question)
	if err != nil || !strings.Contains(s.Answer, "dies on calico2: reverse path filtering (rp_filter)") {
		t.Errorf("%v: %s", err, s.Answer)
	}
}

// TestExamples: what is listed as an example is answered.
func TestExamples(t *testing.T) {
	l, _ := recording(t, "arrives")
	for _, topic := range Topics(l.Lab) {
		s, err := ask(t, l, topic.Name+" "+topic.Example)
		if err != nil || s.Answer == "" || topic.Picture != (s.Mermaid != "") {
			t.Errorf("%s: %v, %q, picture %q", topic.Name, err, s.Answer, s.Mermaid)
		}
	}
}

func TestBadQuestions(t *testing.T) {
	l, _ := recording(t, "arrives")
	for question, want := range map[string]string{
		"addrss 10.1.0.1":                   `nothing to explain about "addrss"; did you mean address?`,
		"weather":                           `nothing to explain about "weather"; there are address, route,`,
		"address":                           "say: go tool mage explain address IP; for example: go tool mage explain address calico1/workload",
		"address fe80::1":                   "IPv4 addresses only",
		"address 10.9.0.0/16":               "there is no pool and no block",
		"address calico7":                   `there is no machine, workload or address "calico7"; did you mean calico1, calico2`,
		"route calicoo 10.1.0.1":            `there is no machine "calicoo"; did you mean calico1`,
		"route calico1 x":                   "or say a prefix, such as 10.1.0.0/16",
		"policy calico1":                    `there is no workload "calico1"; there are calico1/workload`,
		"cni x":                             `there is no machine "x"; there are etcd-node`,
		"packet calico1 calico1":            "are the same place",
		"packet calico1/workload calico2 0": `"0" is no TCP port`,
		"packet 192.0.2.1 calico2":          "nobody can send from there",
		"packet calico1/wrkload calico2":    "did you mean calico1/workload",
	} {
		if _, err := ask(t, l, question); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", question, err)
		}
	}
}

// TestFirstBlock: the blocks that every lab has whose nodes have these names.
func TestFirstBlock(t *testing.T) {
	pool := fact.Pool{CIDR: netip.MustParsePrefix("10.1.0.0/16"), BlockSize: 26}
	for node, want := range map[string]string{"calico1": "10.1.127.192/26", "calico2": "10.1.86.64/26"} {
		if got := firstBlock(pool, node); got.String() != want {
			t.Errorf("%s: %s", node, got)
		}
	}
	pool.BlockSize = 32
	if got := firstBlock(pool, "calico1"); got.IsValid() {
		t.Errorf("blocks of one address begin anywhere: %s", got)
	}
}
