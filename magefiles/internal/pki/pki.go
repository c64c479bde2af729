// Package pki is a lab's certificate authority and the certificates that it has issued, in a directory of this computer's. What is
// good there is never written again.
package pki

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Subject is whom a certificate is for. A server has the names and addresses at which it is called; one that has none is only a
// client.
type Subject struct {
	Name      string // its common name, and that of its files
	Names     []string
	Addresses []netip.Addr
}

func (s Subject) server() bool { return len(s.Names)+len(s.Addresses) > 0 }

// Pair is a certificate with its key, as files on this computer in PEM, and the files' SHA-256 in hex.
type Pair struct {
	Cert, Key       string
	CertSum, KeySum string
	Until           time.Time // the certificate is good
}

// Set is an authority and what it has issued.
type Set struct {
	CA     Pair // without its key's sum, which is nobody's business
	Issued map[string]Pair
	// Faults say what isn't as it should be, by common name, and of the authority as CA: issuing mends them.
	Faults map[string]string
}

const (
	lifetime   = 365 * 24 * time.Hour
	caLifetime = 10 * lifetime
	// Early is how long before its end a certificate is issued anew.
	Early = 30 * 24 * time.Hour
	// leeway is how far a machine's clock may be behind this computer's.
	leeway = 48 * time.Hour

	// CA is the authority's name in a directory.
	CA = "ca"
)

// Read reads what is in a directory, and compares it with whom certificates are wanted for. It changes nothing.
func Read(dir string, wanted []Subject, now time.Time) (Set, error) {
	s := Set{Issued: map[string]Pair{}, Faults: map[string]string{}}
	ca, fault, err := readAuthority(dir, now)
	if err != nil {
		return s, err
	}
	if fault != "" {
		s.Faults[CA] = fault
	}
	if ca == nil {
		return s, nil
	}
	s.CA = ca.pair
	for _, subject := range wanted {
		c, fault, err := readPair(dir, subject.Name, now)
		if err != nil {
			return s, err
		}
		if c != nil {
			if other := ca.differs(c.cert, subject); other != "" {
				c, fault = nil, fmt.Sprintf("the certificate of %s %s", subject.Name, other)
			}
		}
		if fault != "" {
			s.Faults[subject.Name] = fault
		}
		if c != nil {
			s.Issued[subject.Name] = c.pair
		}
	}
	return s, nil
}

// differs says what of a certificate isn't the authority's, or not as it is for a subject.
func (a *pair) differs(c *x509.Certificate, s Subject) string {
	var addresses []string
	for _, ip := range c.IPAddresses {
		addresses = append(addresses, ip.String())
	}
	var wanted []string
	for _, ip := range s.Addresses {
		wanted = append(wanted, ip.String())
	}
	switch {
	case c.CheckSignatureFrom(a.cert) != nil:
		return "is another authority's"
	case c.Subject.CommonName != s.Name:
		return fmt.Sprintf("has the common name %q", c.Subject.CommonName)
	case !slices.Equal(c.DNSNames, s.Names), !slices.Equal(addresses, wanted):
		return fmt.Sprintf("is for %s, not for %s", words(c.DNSNames, addresses), words(s.Names, wanted))
	case !slices.Equal(c.ExtKeyUsage, usages(s)):
		return "is for another use"
	}
	return ""
}

func words(lists ...[]string) string {
	if all := slices.Concat(lists...); len(all) > 0 {
		return strings.Join(all, ", ")
	}
	return "no address"
}

// usages: an etcd is a client of its peers, too.
func usages(s Subject) []x509.ExtKeyUsage {
	if s.server() {
		return []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	}
	return []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
}

// Issue is Read after what was missing, wrong, or about to end was made anew. A new authority issues everything anew.
func Issue(dir string, wanted []Subject, now time.Time) (Set, error) {
	s, err := Read(dir, wanted, now)
	if err != nil || len(s.Faults) == 0 {
		return s, err
	}
	if err := issue(dir, wanted, now); err != nil {
		return s, fmt.Errorf("the lab's certificates: %w", err)
	}
	return Read(dir, wanted, now)
}

func issue(dir string, wanted []Subject, now time.Time) error {
	// Nobody else may even see which there are.
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	ca, fault, err := readAuthority(dir, now)
	if err != nil {
		return err
	}
	if fault != "" {
		if ca, err = newAuthority(dir, now); err != nil {
			return err
		}
	}
	for _, subject := range wanted {
		c, fault, err := readPair(dir, subject.Name, now)
		if err != nil {
			return err
		}
		if fault == "" && ca.differs(c.cert, subject) == "" {
			continue
		}
		if err := ca.issue(dir, subject, now); err != nil {
			return err
		}
	}
	return nil
}

// template is what all of the lab's certificates have in common.
func template(commonName string, now time.Time, life time.Duration) *x509.Certificate {
	c := &x509.Certificate{NotBefore: now.Add(-leeway), NotAfter: now.Add(life), BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature}
	c.Subject.CommonName = commonName
	c.Subject.Organization = []string{"Calico CNI Lab"}
	return c
}

func newAuthority(dir string, now time.Time) (*pair, error) {
	t := template("CA of a lab", now, caLifetime)
	t.IsCA, t.KeyUsage, t.MaxPathLenZero = true, x509.KeyUsageCertSign, true
	if err := write(dir, CA, t, nil); err != nil {
		return nil, err
	}
	ca, fault, err := readAuthority(dir, now)
	if err == nil && fault != "" {
		err = fmt.Errorf("%s, though it was just made", fault)
	}
	return ca, err
}

func (a *pair) issue(dir string, s Subject, now time.Time) error {
	t := template(s.Name, now, lifetime)
	t.ExtKeyUsage, t.DNSNames = usages(s), s.Names
	for _, ip := range s.Addresses {
		t.IPAddresses = append(t.IPAddresses, net.IP(ip.AsSlice()))
	}
	return write(dir, s.Name, t, a)
}

func files(dir, name string) (cert, key string) {
	return filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
}

func sum(data []byte) string {
	s := sha256.Sum256(data)
	return hex.EncodeToString(s[:])
}
