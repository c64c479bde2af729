package fact

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRPFilter(t *testing.T) {
	const conf = "net/ipv4/conf/"
	d := Deep{Sysctls: Known(map[string]string{conf + "all/rp_filter": "1", conf + "host0/rp_filter": "0", conf + "cali1/rp_filter": "2", conf + "odd/rp_filter": "x"})}
	for link, want := range map[string]int{"host0": 1, "cali1": 2} {
		if got := d.RPFilter(link); got != Known(want) {
			t.Errorf("%s: %+v, not %d", link, got, want)
		}
	}
	for _, link := range []string{"none", "odd"} {
		if got := d.RPFilter(link); got.Unknown == "" {
			t.Errorf("%s: %+v", link, got)
		}
	}
	d.Sysctls = Unknown[map[string]string]("why")
	if got := d.RPFilter("host0"); got.Unknown != "why" {
		t.Errorf("%+v", got)
	}
}

func TestConflists(t *testing.T) {
	d := Deep{Texts: Known(map[string]Text{
		"/etc/cni/net.d/10-a.conflist": {Content: "{}"}, "/etc/cni/net.d/calico-kubeconfig": {Content: "a token"}, "/etc/cni/net.d/d/10-b.conf": {Content: "{}"},
		"/etc/calico/a.conf": {Content: "other"},
	})}
	if diff := cmp.Diff(Known(map[string]string{"/etc/cni/net.d/10-a.conflist": "{}"}), d.Conflists("/etc/cni/net.d")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	d.Texts = Unknown[map[string]Text]("why")
	if got := d.Conflists("/etc/cni/net.d"); got.Unknown != "why" {
		t.Errorf("%+v", got)
	}
}
