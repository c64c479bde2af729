package fault

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/pki"
	"github.com/calico-cni-lab/lab/magefiles/internal/spec"
)

// signalled sends a signal to all processes of a machine.
func signalled(name, signal string) Act {
	return func(ctx context.Context, l *Lab) error { return l.signal(ctx, name, signal) }
}

// killed ends all processes of a machine, as a power cut would.
func killed(name string) Act {
	return func(ctx context.Context, l *Lab) error {
		return await(ctx, 10*time.Second, func() (bool, error) {
			if len(l.Processes(name)) == 0 {
				return true, nil
			}
			return false, l.signal(ctx, name, "KILL")
		})
	}
}

// rebooted has a machine boot anew, and waits until it answers.
func rebooted(name string) Act {
	return func(ctx context.Context, l *Lab) error {
		const booted = "awk '{print $22}' /proc/1/stat" // when PID 1 was started
		before, err := l.On(ctx, name, booted)
		if err == nil {
			_, err = l.On(ctx, name, soon("systemctl reboot"))
		}
		if err != nil {
			return err
		}
		return await(ctx, time.Minute, func() (bool, error) {
			now, err := l.On(ctx, name, booted)
			return err == nil && now != before, nil
		})
	}
}

// restartedAlone registers a node that is dead, starts calico1's calico-node anew without its routes, and wants those via calico2 back
// within 30 seconds. That is what the graceful restart wait of BIRD's is about: it waits for the routes of every peer, the dead one's too.
func restartedAlone(ctx context.Context, l *Lab) error {
	if _, err := l.On(ctx, etcdNode, Apply("Node", "ghost", "{bgp: {ipv4Address: 192.168.4.99/24}}")); err != nil {
		return err
	}
	until := func(seconds int, condition string) string {
		return fmt.Sprintf("timeout %d sh -c 'until %s; do sleep 0.2; done'", seconds, condition)
	}
	_, err := l.On(ctx, calico1, strings.Join([]string{
		until(20, InNode("birdcl -s /var/run/calico/bird.ctl show protocols")+" | grep -q Mesh_192_168_4_99"),
		"sudo docker stop -t 2 " + node, "sudo ip route flush proto bird", "sudo docker start " + node,
		until(30, `ip route | grep -q "via 192.168.4.6 .*proto bird"`),
	}, " && "))
	return err
}

// fullStateDir lays a full file system over the lab's state directory on this computer.
func fullStateDir(ctx context.Context, l *Lab) error {
	_, err := l.Run.Run(ctx, command.Cmd{Root: true, Args: []string{"bash", "-c", `set -e
copy=$(mktemp -d)
mount -t tmpfs -o size=16m full "$copy"
cp -a "$1/." "$copy"
rm -f "$copy"/logs/* "$copy"/*.tar.gz # the oldest make room for new ones
dd if=/dev/zero of="$copy/full" bs=64k status=none || true
mount --move "$copy" "$1" 2>/dev/null || { mount --bind "$copy" "$1"; umount "$copy"; }
rmdir "$copy"`, "bash", l.StateDir()}})
	return err
}

// unmountStateDir takes it away.
func unmountStateDir(ctx context.Context, l *Lab) error {
	_, err := l.Run.Root(ctx, "umount", l.StateDir())
	return err
}

// certificate replaces a certificate of a Calico node's: by one of the lab's own that ends at some time, as this computer has it, too; or,
// where that is zero, by one of another authority. Its key stays what it is. calico-node has to show it anew.
func certificate(name, subject string, until time.Time) Act {
	return func(ctx context.Context, l *Lab) error {
		put, err := l.replaced(subject, until)
		if err == nil {
			_, err = l.On(ctx, name, put+" && sudo docker restart -t 2 "+node)
		}
		return err
	}
}

// certificates replaces all of the lab's by some that end, or have ended, at a time: a lab that was forgotten. What shows them is started
// anew where they have.
func certificates(until time.Time) Act {
	return func(ctx context.Context, l *Lab) error {
		for _, m := range []struct {
			name, shows string
			role        lab.Role
		}{{calico1, node, lab.RoleCalico}, {calico2, node, lab.RoleCalico}, {etcdNode, spec.EtcdContainer, lab.RoleEtcd}} {
			var lines []string
			for _, subject := range spec.Held(m.role) {
				put, err := l.replaced(subject, until)
				if err != nil {
					return err
				}
				lines = append(lines, put)
			}
			if time.Now().After(until) {
				lines = append(lines, "sudo docker restart -t 2 "+m.shows)
			}
			if _, err := l.On(ctx, m.name, strings.Join(lines, " && ")); err != nil {
				return err
			}
		}
		return nil
	}
}

// replaced issues a certificate anew, see reissued, and returns the command line that puts it on a machine. This computer has one that is
// the lab's own, too.
func (l *Lab) replaced(subject string, until time.Time) (string, error) {
	dir := filepath.Join(l.StateDir(), "pki")
	text, err := reissued(dir, subject, until)
	if err == nil && !until.IsZero() {
		err = os.WriteFile(filepath.Join(dir, subject+".crt"), []byte(text), 0o644)
	}
	return fmt.Sprintf("printf %%s %s | sudo tee %s/%s/tls.crt", command.Quote(text), spec.PKIDir, subject), err
}

// reissued is a certificate like a subject's in PEM, with the same key: one that is good until a time, or, where that is zero, one of an
// authority that nobody knows.
func reissued(dir, subject string, until time.Time) (string, error) {
	read := func(name string) (tls.Certificate, error) {
		return tls.LoadX509KeyPair(filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key"))
	}
	ca, err := read(pki.CA)
	if err != nil {
		return "", err
	}
	old, err := read(subject)
	if err != nil {
		return "", err
	}
	like := *old.Leaf
	if until.IsZero() { // signed by a key that isn't the authority's
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return "", err
		}
		other := *ca.Leaf
		other.PublicKey, other.SubjectKeyId, like.AuthorityKeyId = key.Public(), nil, nil
		ca.Leaf, ca.PrivateKey = &other, key
	} else {
		like.NotBefore, like.NotAfter = until.AddDate(-1, 0, 0), until
	}
	der, err := x509.CreateCertificate(rand.Reader, &like, ca.Leaf, old.Leaf.PublicKey, ca.PrivateKey)
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))) + "\n", nil
}
