package stage

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/pki"
)

// TestCertificatesEnd: what is wrong with a certificate on this computer is said where it is held, and nowhere else.
func TestCertificatesEnd(t *testing.T) {
	f := recording(t, healthyFile)
	for name, where := range map[string][]string{
		pki.CA:        {"certificates/calico1", "certificates/calico2", "etcd-certificates/etcd-node"},
		"calicoctl":   {"certificates/calico1", "certificates/calico2", "etcd-certificates/etcd-node"},
		"calico-node": {"certificates/calico1", "certificates/calico2"},
		"health":      {"etcd-certificates/etcd-node"},
	} {
		e := envOf(t, f, "")
		e.Certificates.Faults = map[string]string{name: "it ends on 3 December 2026"}
		found := map[string]string{}
		r := results(e, f)
		for _, res := range r.Unmet() {
			found[res.ID] = res.Found
		}
		if got := slices.Sorted(maps.Keys(found)); !slices.Equal(got, where) || found[where[0]] != "it ends on 3 December 2026" {
			t.Errorf("%s: %v", name, found)
		}
	}
	for _, ends := range []string{"28 November 2027", "2 May 2027", "1 April 2027"} {
		e := envOf(t, f, "")
		at, err := time.Parse("2 January 2006", ends)
		if err != nil {
			t.Fatal(err)
		}
		switch ends {
		case "2 May 2027":
			cni := e.Certificates.Issued["calico-cni"]
			cni.Until = at
			e.Certificates.Issued["calico-cni"] = cni
		case "1 April 2027": // what it has signed is good for no longer
			e.Certificates.CA.Until = at
		}
		for _, res := range results(e, f).Results {
			if strings.HasPrefix(res.ID, "certificates/") && (res.State != check.Holds || res.Found != "3 certificates, until "+ends) {
				t.Errorf("%+v", res)
			}
		}
	}
}
