package box

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
)

// routeMetric is the default route's. It leads nowhere: any other default route that somebody adds comes before it.
const routeMetric = 100

// Identity is what is different on every machine that is made of a box.
type Identity struct {
	Plan      machine.Plan
	Machine   machine.Planned
	Interface string        // on the underlay
	User      ssh.PublicKey // that opens it
	HostKey   []byte        // the private part
	HostPub   ssh.PublicKey
}

// Tar returns the machine's own files, for its root directory.
func (i Identity) Tar() ([]byte, error) {
	var hosts strings.Builder
	fmt.Fprintf(&hosts, "127.0.0.1 localhost\n::1 localhost ip6-localhost\n\n")
	for _, other := range i.Plan.Machines {
		fmt.Fprintf(&hosts, "%s %s\n", other.Address, other.Name)
	}
	// Set from the start, so that systemd doesn't take this for a first boot.
	id := make([]byte, 16)
	if _, err := rand.Read(id); err != nil {
		return nil, err
	}
	network := fmt.Sprintf("[Match]\nName=%s\n\n[Network]\nAddress=%s/%d\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n\n[Route]\nGateway=%s\nMetric=%d\n",
		i.Interface, i.Machine.Address, i.Plan.Subnet.Bits(), i.Plan.Gateway, routeMetric)
	t := NewFiles()
	for _, f := range []struct {
		name    string
		content []byte
		mode    int64
		owner   int
	}{
		{"/etc/hostname", []byte(i.Machine.Name + "\n"), 0o644, 0},
		{"/etc/hosts", []byte(hosts.String()), 0o644, 0},
		{"/etc/machine-id", []byte(hex.EncodeToString(id) + "\n"), 0o444, 0},
		{"/etc/systemd/network/10-underlay.network", []byte(network), 0o644, 0},
		{"/etc/ssh/ssh_host_ed25519_key", i.HostKey, 0o600, 0},
		{"/etc/ssh/ssh_host_ed25519_key.pub", ssh.MarshalAuthorizedKey(i.HostPub), 0o644, 0},
		{"/home/" + User + "/.ssh/authorized_keys", ssh.MarshalAuthorizedKey(i.User), 0o600, UID},
	} {
		if err := t.Add(f.name, f.content, f.mode, f.owner); err != nil {
			return nil, err
		}
	}
	return t.Tar()
}
