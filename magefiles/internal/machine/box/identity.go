package box

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
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

// network is how systemd-networkd sets up the interface.
func (i Identity) network() string {
	var b strings.Builder
	a, u := i.Machine.Address, i.Plan.Underlay
	fmt.Fprintf(&b, "[Match]\nName=%s\n\n[Network]\nAddress=%s/%d\n", i.Interface, a, u.SubnetOf(a).Bits())
	if a == u.Router {
		fmt.Fprintf(&b, "Address=%s/%d\n", u.GatewayOf(u.Behind.Addr()), u.Behind.Bits())
	}
	fmt.Fprintf(&b, "LinkLocalAddressing=no\nIPv6AcceptRA=no\n\n[Route]\nGateway=%s\nMetric=%d\n", u.GatewayOf(a), routeMetric)
	if u.Detours(a) {
		fmt.Fprintf(&b, "\n[Route]\nDestination=%s\nGateway=%s\n", u.Behind, u.Router)
	}
	return b.String()
}

// sysctls are the kernel's settings of a router, "" for other machines. Docker has the machine forward, too, but where it wasn't so before
// it also drops what is forwarded. And a router between two subnets on one link would tell machines to leave it out.
func (i Identity) sysctls() string {
	if i.Machine.Role != lab.RoleRouter {
		return ""
	}
	return fmt.Sprintf("net.ipv4.ip_forward = 1\nnet.ipv4.conf.all.send_redirects = 0\nnet.ipv4.conf.%s.send_redirects = 0\n", i.Interface)
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
	type file struct {
		name    string
		content []byte
		mode    int64
		owner   int
	}
	files := []file{
		{"/etc/hostname", []byte(i.Machine.Name + "\n"), 0o644, 0},
		{"/etc/hosts", []byte(hosts.String()), 0o644, 0},
		{"/etc/machine-id", []byte(hex.EncodeToString(id) + "\n"), 0o444, 0},
		{"/etc/systemd/network/10-underlay.network", []byte(i.network()), 0o644, 0},
		{"/etc/ssh/ssh_host_ed25519_key", i.HostKey, 0o600, 0},
		{"/etc/ssh/ssh_host_ed25519_key.pub", ssh.MarshalAuthorizedKey(i.HostPub), 0o644, 0},
		{"/home/" + User + "/.ssh/authorized_keys", ssh.MarshalAuthorizedKey(i.User), 0o600, UID},
	}
	if settings := i.sysctls(); settings != "" {
		files = append(files, file{"/etc/sysctl.d/90-router.conf", []byte(settings), 0o644, 0})
	}
	t := NewFiles()
	for _, f := range files {
		if err := t.Add(f.name, f.content, f.mode, f.owner); err != nil {
			return nil, err
		}
	}
	return t.Tar()
}
