//go:build linux

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

// dialTime is more than a retransmission of a SYN takes: one may be lost by chance.
const dialTime = 1500 * time.Millisecond

// dial makes a TCP connection to each address, and ends it in good order.
func dial(d *fact.Dial, slow int) fact.Seen[[]fact.Dialled] {
	if d == nil {
		return fact.Unknown[[]fact.Dialled](fact.NotAsked)
	}
	all := make([]fact.Dialled, len(d.To))
	var wg sync.WaitGroup
	for i, to := range d.To {
		wg.Go(func() {
			all[i].To = to
			ctx, cancel := context.WithTimeout(context.Background(), dialTime*time.Duration(max(slow, 1)))
			defer cancel()
			conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", to.String())
			if err != nil {
				all[i].Said, all[i].Refused = err.Error(), errors.Is(err, unix.ECONNREFUSED)
				return
			}
			greet(ctx, conn, to.Addr().String(), d.Certificate)
		})
	}
	wg.Wait()
	return fact.Known(all)
}

// greet shows the certificate and says goodbye. What comes of that is the business of others: the packets have arrived.
func greet(ctx context.Context, conn net.Conn, name, dir string) {
	pool := x509.NewCertPool()
	if ca, err := os.ReadFile(filepath.Join(dir, "ca.crt")); err == nil {
		pool.AppendCertsFromPEM(ca)
	}
	config := tls.Config{RootCAs: pool, ServerName: name, MinVersion: tls.VersionTLS12}
	if pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")); err == nil {
		config.Certificates = []tls.Certificate{pair}
	}
	c := tls.Client(conn, &config)
	_ = c.HandshakeContext(ctx)
	_ = c.Close()
}
