package spec

import (
	"cmp"
	"io/fs"
	"net/netip"
	"path"
	"slices"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/pki"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
)

// Who has a certificate: its common name, by which etcd knows a client.
const (
	certEtcd      = "etcd"
	certRoot      = "root"
	certHealth    = "health"
	certCalicoctl = "calicoctl"
	certNode      = "calico-node"
	certCNI       = "calico-cni"
)

// Bearer says who shows a certificate with a common name; "" where that is none of the lab's.
func Bearer(name string) string {
	return map[string]string{
		certEtcd:      "etcd itself, to its clients and to other members",
		certRoot:      "etcd's administrator: etcdctl in etcd's container",
		certHealth:    "who asks etcd how it is, and may read nothing",
		certCalicoctl: "whoever calls calicoctl",
		certNode:      "Felix, confd and what else runs in calico-node",
		certCNI:       "Calico's CNI plugin",
	}[name]
}

// PKIDir on a machine has a directory for each certificate that it holds, with the files ca.crt, tls.crt and tls.key.
const PKIDir = "/etc/calico/pki"

func certDir(name string) string { return path.Join(PKIDir, name) }

// mountCert is the volume by which a container sees one of its machine's certificates, and no other.
func mountCert(name string) string { return certDir(name) + ":" + certDir(name) + ":ro" }

// Subjects are whom a lab's certificates are for.
func Subjects(l *lab.Lab) []pki.Subject {
	etcd := pki.Subject{Name: certEtcd}
	for _, m := range l.Members() {
		etcd.Names, etcd.Addresses = append(etcd.Names, m.Name), append(etcd.Addresses, m.Address)
	}
	etcd.Names, etcd.Addresses = append(etcd.Names, "localhost"), append(etcd.Addresses, netip.AddrFrom4([4]byte{127, 0, 0, 1}))
	return []pki.Subject{
		etcd,
		{Name: certRoot}, {Name: certHealth}, {Name: certCalicoctl}, {Name: certNode}, {Name: certCNI},
	}
}

// Held are the certificates that machines of a role hold, by their common names.
func Held(r lab.Role) []string {
	switch r {
	case lab.RoleEtcd:
		return []string{certEtcd, certRoot, certHealth, certCalicoctl}
	case lab.RoleRouter:
		return nil
	}
	return []string{certCalicoctl, certNode, certCNI}
}

// certFiles are the files of one certificate. Their contents stay in files of this computer's until they are sent.
func (s *Spec) certFiles(name string) []remote.File {
	p := s.Certificates.Issued[name]
	file := func(to, from, sum string, mode fs.FileMode) remote.File {
		return remote.File{Path: path.Join(certDir(name), to), Mode: mode, Source: from, SHA256: sum}
	}
	return []remote.File{
		file("ca.crt", s.Certificates.CA.Cert, s.Certificates.CA.CertSum, 0o644),
		file("tls.crt", p.Cert, p.CertSum, 0o644), file("tls.key", p.Key, p.KeySum, 0o600),
	}
}

// CertificateFiles are those of all certificates that a machine holds.
func (s *Spec) CertificateFiles(m lab.Machine) []remote.File {
	var all []remote.File
	for _, name := range Held(m.Role) {
		all = append(all, s.certFiles(name)...)
	}
	return all
}

// EtcdAccess is how the look program asks etcd on a member's machine.
func EtcdAccess(l *lab.Lab, on lab.Machine) fact.Etcd {
	e := fact.Etcd{URL: clientURL(on), Health: certDir(certHealth), Admin: certDir(certRoot)}
	for _, m := range l.Members() {
		if m.Name != on.Name {
			e.Others = append(e.Others, clientURL(m))
		}
	}
	return e
}

// EtcdAuth is what etcd lets its clients do: each what it needs and nothing else, beyond what Calico documents where that isn't enough
// (https://docs.tigera.io/calico/latest/reference/etcd-rbac/calico-etcdv3-paths).
func EtcdAuth() fact.Auth {
	resources := func(write bool, kinds ...string) (all []fact.Grant) {
		for _, k := range kinds {
			all = append(all, fact.Below(fact.ResourcePrefix+k+"/", write))
		}
		return all
	}
	// Pools are the lab's to write (NO_DEFAULT_POOLS), and endpoints the plugin's.
	node := append(resources(true, "clusterinformations", "felixconfigurations", "nodes", "tiers"),
		fact.Below(fact.ResourcePrefix, false), fact.Below(fact.IPAMPrefix, true), fact.Below(fact.FelixPrefix, true))
	cni := slices.Concat(resources(true, "profiles", "workloadendpoints"), resources(false, "blockaffinities", "clusterinformations", "ippools", "ipreservations", "nodes"),
		[]fact.Grant{fact.Below(fact.IPAMPrefix, true)})
	a := fact.Auth{
		Enabled: true,
		Users:   map[string][]string{certRoot: {certRoot}}, // that role may do everything
		Roles: map[string][]fact.Grant{
			certCalicoctl: {fact.Below(fact.IPAMPrefix, true), fact.Below(fact.ResourcePrefix, true)}, certNode: node, certCNI: cni,
		},
	}
	for role, grants := range a.Roles {
		a.Users[role] = []string{role}
		slices.SortFunc(grants, func(a, b fact.Grant) int { return cmp.Compare(a.Key, b.Key) })
	}
	return a
}
