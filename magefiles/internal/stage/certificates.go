package stage

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/pki"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
	"github.com/calico-cni-lab/lab/magefiles/internal/spec"
)

// certificatesCondition: a machine holds the certificates of those that run on it, as this computer has issued them, and they are good
// for a while. Those that aren't are issued anew with the spec, before any stage.
func certificatesCondition(e *Env, kind string, m lab.Machine) check.Condition {
	return on(kind, m, fact.Certificates, "the certificates of "+m.Name+" are on it, and good for another month", "issues what has to be, and writes the files",
		func(seen fact.Machine, _ *fact.Lab) check.Finding {
			if seen.Files.Unknown != "" {
				return check.CantSee("%s", seen.Files.Unknown)
			}
			until := e.Certificates.CA.Until // nothing that it has signed is good for longer
			for _, name := range spec.Held(m.Role) {
				if fault := cmp.Or(e.Certificates.Faults[pki.CA], e.Certificates.Faults[name]); fault != "" {
					return check.Not("%s", fault)
				}
				if end := e.Certificates.Issued[name].Until; end.Before(until) {
					until = end
				}
			}
			if fault := filesFault(e.CertificateFiles(m), seen); fault != "" {
				return check.Not("%s", fault)
			}
			return check.OK("%s, until %s", plural(len(spec.Held(m.Role)), "certificate"), until.Format("2 January 2006"))
		})
}

// putCertificates puts the certificates that a machine lacks or has otherwise.
func (e *Env) putCertificates(ctx context.Context, h *remote.Host, m lab.Machine, seen fact.Machine) error {
	if len(e.Certificates.Issued) == 0 {
		return fmt.Errorf("there are no certificates for %s", m.Name)
	}
	return e.put(ctx, h, e.CertificateFiles(m), seen)
}

// certificatesGone says whether a machine lacked certificates: then their directory may be a new one, and a container that runs sees the
// old one. Other contents it sees by itself: each connection reads them anew.
func (e *Env) certificatesGone(m lab.Machine, seen fact.Machine) bool {
	return seen.Files.Unknown == "" && slices.ContainsFunc(e.CertificateFiles(m), func(f remote.File) bool { _, there := seen.Files.Value[f.Path]; return !there })
}
