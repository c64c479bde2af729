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
	was := map[string]string{"filter FORWARD": "DROP\n-A FORWARD -j DOCKER\n-A FORWARD -j LAST", "filter DOCKER": "-\n-A DOCKER -j RETURN", "filter MINE": "", "filter INPUT": ""}
	is := map[string]string{"filter FORWARD": "DROP\n-A FORWARD -j DROP\n-A FORWARD -j DOCKER", "filter DOCKER": "-", "filter MINE": "-\n-A MINE -j RETURN", "filter INPUT": "DROP"}
	want := `*filter
:FORWARD DROP [0:0]
:INPUT ACCEPT [0:0]
:DOCKER - [0:0]
-A DOCKER -j RETURN
-D FORWARD -j DROP
-D FORWARD -j DOCKER
-I FORWARD 2 -j DOCKER
-I FORWARD 3 -j LAST
-F MINE
-X MINE
COMMIT
`
	if diff := cmp.Diff(want, restoreFirewall(was, is, saved)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
