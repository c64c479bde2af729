package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/keep"
)

// pair is a certificate and its key, as they were read.
type pair struct {
	pair Pair
	cert *x509.Certificate
	key  crypto.Signer
}

func readAuthority(dir string, now time.Time) (ca *pair, fault string, err error) {
	ca, fault, err = readPair(dir, CA, now)
	if ca != nil && !ca.cert.IsCA {
		ca, fault = nil, "the certificate of "+CA+" is no authority's"
	}
	if ca != nil {
		ca.pair.KeySum = ""
	}
	return ca, fault, err
}

// readPair reads a certificate and its key. fault says why it has to be made anew: c is nil where it can't be used at all. The error
// is one of this computer's.
func readPair(dir, name string, now time.Time) (c *pair, fault string, err error) {
	certFile, keyFile := files(dir, name)
	cert, err := os.ReadFile(certFile)
	key, keyErr := os.ReadFile(keyFile)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(keyErr, fs.ErrNotExist) {
		return nil, "there is no certificate of " + name, nil
	}
	if err := errors.Join(err, keyErr); err != nil {
		return nil, "", err
	}
	both, err := tls.X509KeyPair(cert, key)
	signer, ok := both.PrivateKey.(crypto.Signer)
	if err != nil || !ok || len(both.Certificate) != 1 {
		return nil, fmt.Sprintf("the certificate of %s and its key are damaged, or don't belong together", name), nil
	}
	c = &pair{
		pair: Pair{Cert: certFile, Key: keyFile, CertSum: sum(cert), KeySum: sum(key), Until: both.Leaf.NotAfter},
		cert: both.Leaf, key: signer,
	}
	info, err := os.Stat(keyFile)
	if err != nil {
		return nil, "", err
	}
	const date = "2 January 2006"
	switch {
	case info.Mode().Perm()&0o077 != 0:
		fault = fmt.Sprintf("others may read the key of %s", name)
	case now.After(both.Leaf.NotAfter):
		fault = fmt.Sprintf("the certificate of %s ended on %s", name, both.Leaf.NotAfter.Format(date))
	case now.After(both.Leaf.NotAfter.Add(-Early)):
		fault = fmt.Sprintf("the certificate of %s ends on %s", name, both.Leaf.NotAfter.Format(date))
	case now.Before(both.Leaf.NotBefore):
		fault = fmt.Sprintf("the certificate of %s isn't good before %s: see that this computer's clock is right", name, both.Leaf.NotBefore.Format(date))
	}
	return c, fault, nil
}

// write makes a key and a certificate for it, signed by an authority, or by itself where by is nil.
func write(dir, name string, template *x509.Certificate, by *pair) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	parent, signer := template, crypto.Signer(key)
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	certFile, keyFile := files(dir, name)
	// Cut off between the two, they don't belong together, which is seen.
	if err := keep.Write(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600); err != nil {
		return err
	}
	return keep.Write(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644)
}
