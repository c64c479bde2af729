package stage

import (
	"maps"
	"slices"
	"strings"
	"testing"

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
	for _, res := range results(envOf(t, f, ""), f).Results {
		if strings.HasPrefix(res.ID, "certificates/") && (res.State != check.Holds || res.Found != "3 certificates, until 28 November 2027") {
			t.Errorf("%+v", res)
		}
	}
}
