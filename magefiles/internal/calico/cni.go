package calico

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
)

// Where the lab has CNI's parts on a machine.
const (
	PluginDir = "/opt/cni/bin"
	ConfDir   = "/etc/cni/net.d"
)

// Cnitool is where cnitool is on a machine: where `go install` puts it for the login user, as in the tutorial.
func Cnitool(ctx context.Context, h *remote.Host) (string, error) {
	login, err := h.Login(ctx)
	return login.Home + "/go/bin/cnitool", err
}

// Attachment is an interface that a network gave to a network namespace, as libcni remembers it
// (containernetworking/cni, libcni/api.go: cachedInfo, one file each in /var/lib/cni/results).
type Attachment struct {
	Network     string          `json:"networkName"`
	ContainerID string          `json:"containerId"`
	IfName      string          `json:"ifName"`
	NetNS       string          `json:"netns"` // the sandbox key
	Result      json.RawMessage `json:"result"`
	Live        bool            `json:"-"` // whether NetNS still exists
}

// result is what is read of a CNI result (spec 1.0.0).
type result struct {
	Interfaces []struct{ Name string }
	IPs        []struct{ Address string }
}

// Addresses of the attachment, as hosts.
func (a Attachment) Addresses() []netip.Addr {
	var r result
	if json.Unmarshal(a.Result, &r) != nil {
		return nil
	}
	var addrs []netip.Addr
	for _, ip := range r.IPs {
		if p, err := netip.ParsePrefix(ip.Address); err == nil {
			addrs = append(addrs, p.Addr())
		}
	}
	return addrs
}

// HostInterface is the attachment's end on the machine.
func (a Attachment) HostInterface() string {
	var r result
	if json.Unmarshal(a.Result, &r) != nil || len(r.Interfaces) == 0 {
		return ""
	}
	return r.Interfaces[0].Name
}

// listAttachments prints one JSON object a line, each behind a word for whether its namespace exists. Docker leaves
// the file that a namespace was mounted on behind for up to a minute.
const listAttachments = `shopt -s nullglob
for f in /var/lib/cni/results/*; do
	ns=$(jq -r .netns "$f")
	if [ "$(stat -f -c %T "$ns" 2>/dev/null)" = nsfs ]; then echo -n "live "; else echo -n "gone "; fi
	jq -c . "$f"
done`

// Attachments gives what cnitool has attached to a network on a machine.
func Attachments(ctx context.Context, h *remote.Host, network string) ([]Attachment, error) {
	out, err := h.Script(ctx, listAttachments)
	if err != nil {
		return nil, err
	}
	var all []Attachment
	for line := range strings.Lines(out) {
		word, data, _ := strings.Cut(line, " ")
		a := Attachment{Live: word == "live"}
		if err := json.Unmarshal([]byte(data), &a); err != nil {
			return nil, fmt.Errorf("/var/lib/cni/results on %s: %w", h.Name, err)
		}
		if a.Network == network {
			all = append(all, a)
		}
	}
	return all, nil
}

// Add runs `cnitool add` for a sandbox and gives the CNI result.
func Add(ctx context.Context, h *remote.Host, network, sandboxKey string) (string, error) {
	return cnitool(ctx, h, "add", network, sandboxKey)
}

// Del runs `cnitool del` for a sandbox, which may be gone: its addresses are released all the same.
func Del(ctx context.Context, h *remote.Host, network, sandboxKey string) error {
	// What Docker left of a sandbox that is gone is an empty file. Calico's plugin takes no file for no sandbox, but
	// stops at one that is no sandbox.
	const remove = `if [ -f "$1" ] && [ "$(stat -f -c %T "$1")" != nsfs ]; then rm -f "$1"; fi`
	if _, err := h.Sudo(ctx, "bash", "-c", remove, "bash", sandboxKey); err != nil {
		return err
	}
	_, err := cnitool(ctx, h, "del", network, sandboxKey)
	return err
}

func cnitool(ctx context.Context, h *remote.Host, verb, network, sandboxKey string) (string, error) {
	program, err := Cnitool(ctx, h)
	if err != nil {
		return "", err
	}
	return h.Sudo(ctx, "env", "CNI_PATH="+PluginDir, "NETCONFPATH="+ConfDir, program, verb, network, sandboxKey)
}
