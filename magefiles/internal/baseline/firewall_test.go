package baseline

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

const saved = `*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [3:4]
:cali-FORWARD - [0:0]
:DOCKER - [0:0]
:MINE - [0:0]
-A FORWARD -j DROP
-A FORWARD -m comment --comment "cali:wUHhoiAYhphO9Mso" -j cali-FORWARD
-A FORWARD -j DOCKER
-A FORWARD -m comment --comment "cali:S93hcgKJrXEqnTfs" -m mark --mark 0x10000/0x10000 -j ACCEPT
-A MINE -j RETURN
COMMIT
`

func TestParseFirewall(t *testing.T) {
	got := map[string]string{}
	for _, c := range parseFirewall(saved) {
		got[c.table+" "+c.name] = c.foreign()
	}
	want := map[string]string{
		"filter FORWARD": "DROP\n-A FORWARD -j DROP\n-A FORWARD -j DOCKER", "filter DOCKER": "-", "filter MINE": "-\n-A MINE -j RETURN",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestRestoreFirewall(t *testing.T) {
	for name, c := range map[string]struct {
		was, is map[string]string
		want    []string
	}{
		"an extra rule, twice": {
			map[string]string{"filter FORWARD": "DROP\n-A FORWARD -j A"}, map[string]string{"filter FORWARD": "DROP\n-A FORWARD -j X\n-A FORWARD -j A\n-A FORWARD -j X"},
			[]string{"*filter\n-D FORWARD -j X\nCOMMIT\n", "*filter\n-D FORWARD -j X\nCOMMIT\n"},
		},
		"a missing rule and a policy": {
			map[string]string{"filter FORWARD": "DROP\n-A FORWARD -j A\n-A FORWARD -j B"}, map[string]string{"filter FORWARD": "ACCEPT\n-A FORWARD -j B"},
			[]string{"*filter\n:FORWARD DROP [0:0]\n-D FORWARD -j B\n-I FORWARD 2 -j A\n-I FORWARD 3 -j B\nCOMMIT\n"},
		},
		"another order": {
			map[string]string{"filter FORWARD": "DROP\n-A FORWARD -j A\n-A FORWARD -j B"}, map[string]string{"filter FORWARD": "DROP\n-A FORWARD -j B\n-A FORWARD -j A"},
			[]string{"*filter\n-D FORWARD -j B\n-D FORWARD -j A\n-I FORWARD 2 -j A\n-I FORWARD 3 -j B\nCOMMIT\n"},
		},
		"an extra chain that another one needs": {
			map[string]string{"filter INPUT": "", "filter MINE": ""}, map[string]string{"filter INPUT": "ACCEPT\n-A INPUT -j MINE", "filter MINE": "-\n-A MINE -j RETURN"},
			[]string{"*filter\n-D INPUT -j MINE\nCOMMIT\n", "*filter\n-F MINE\n-X MINE\nCOMMIT\n"},
		},
		"a chain that is gone": {
			map[string]string{"nat DOCKER": "-\n-A DOCKER -j RETURN", "nat OUTPUT": "ACCEPT\n-A OUTPUT -j DOCKER"}, map[string]string{"nat DOCKER": "", "nat OUTPUT": ""},
			[]string{"*nat\n:DOCKER - [0:0]\n:OUTPUT ACCEPT [0:0]\n-I OUTPUT 1 -j DOCKER\n-A DOCKER -j RETURN\nCOMMIT\n"},
		},
		"a policy": {
			map[string]string{"filter INPUT": ""}, map[string]string{"filter INPUT": "DROP"},
			[]string{"*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n"},
		},
	} {
		if diff := cmp.Diff(c.want, restoreFirewall(c.was, c.is, saved)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
