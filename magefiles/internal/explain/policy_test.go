package explain

import (
	"encoding/json"
	"testing"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

// TestRuleText: a rule says everything that it asks of a packet, as calicoctl writes it.
func TestRuleText(t *testing.T) {
	for rule, want := range map[string]string{
		`{"action":"Allow"}`:                              "Allow everything",
		`{"action":"Allow","source":{},"destination":{}}`: "Allow everything",
		`{"action":"Allow","protocol":"TCP","destination":{"ports":[8080,"9000:9100"]}}`:                                         "Allow TCP to port 8080, 9000:9100",
		`{"action":"Deny","protocol":"ICMP","icmp":{"type":8,"code":0}}`:                                                         "Deny ICMP type 8 code 0",
		`{"action":"Allow","protocol":"ICMP","notICMP":{"type":8}}`:                                                              "Allow ICMP not type 8",
		`{"action":"Deny","notProtocol":6}`:                                                                                      "Deny not 6",
		`{"action":"Deny","ipVersion":4,"protocol":"UDP"}`:                                                                       "Deny IPv4 UDP",
		`{"action":"Allow","protocol":"TCP","http":{"methods":["GET"]}}`:                                                         `Allow TCP HTTP {"methods":["GET"]}`,
		`{"action":"Deny","source":{"nets":["10.0.0.0/8"],"notNets":["10.1.0.0/16"],"notPorts":[53]}}`:                           "Deny from 10.0.0.0/8, not 10.1.0.0/16, not port 53",
		`{"action":"Allow","source":{"selector":"a == 'b'","notSelector":"has(c)","namespaceSelector":"all()"}}`:                 "Allow from endpoints with a == 'b', endpoints without has(c), namespaces with all()",
		`{"action":"Allow","source":{"serviceAccounts":{"names":["x","y"],"selector":"has(z)"}}}`:                                "Allow from service accounts x, y, service accounts with has(z)",
		`{"action":"Allow","destination":{"services":{"name":"web","namespace":"prod"}}}`:                                        "Allow to service prod/web",
		`{"action":"Log","protocol":"TCP","source":{"selector":"has(a)"},"destination":{"nets":["10.1.86.64/32"],"ports":[80]}}`: "Log TCP from endpoints with has(a) to 10.1.86.64/32, port 80",
	} {
		var r fact.ResourceRule
		if err := json.Unmarshal([]byte(rule), &r); err != nil {
			t.Fatal(err)
		}
		if got := ruleText(r); got != want {
			t.Errorf("%s: %q, not %q", rule, got, want)
		}
	}
}
