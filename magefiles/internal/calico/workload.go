package calico

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
)

// WorkloadContainer is the container on each Calico node that is plumbed.
const WorkloadContainer = "workload"

// WorkloadPort is where a workload answers over TCP.
const WorkloadPort = 8080

// Plumbed is a workload with its interface.
type Plumbed struct {
	Node       lab.Machine
	SandboxKey string
	Attachment
	Address netip.Addr
	Block   netip.Prefix // the node's block that Address is from; zero where BIRD has no route for it yet
}

// Workload finds a node's workload; lack says why it is not plumbed.
func Workload(ctx context.Context, h *remote.Host, l *lab.Lab, m lab.Machine) (w Plumbed, lack string, err error) {
	w.Node = m
	key, err := SandboxKey(ctx, h)
	if err != nil {
		return w, "no container " + WorkloadContainer + " runs", ctx.Err()
	}
	w.SandboxKey = key
	attachments, err := Attachments(ctx, h, l.Network)
	if err != nil {
		return w, "", err
	}
	i := slices.IndexFunc(attachments, func(a Attachment) bool { return a.NetNS == key })
	if i < 0 || len(attachments[i].Addresses()) == 0 {
		return w, "the workload has no interface", nil
	}
	w.Attachment = attachments[i]
	w.Address = w.Addresses()[0]
	// What libcni remembers is one thing, what is in the sandbox another.
	out, err := h.Sudo(ctx, "nsenter", "--net="+key, "ip", "-4", "-json", "address", "show", "dev", w.IfName)
	if err != nil {
		return w, "the workload has no interface " + w.IfName, ctx.Err()
	}
	var links []struct {
		AddrInfo []struct{ Local string } `json:"addr_info"`
	}
	if err := json.Unmarshal([]byte(out), &links); err != nil {
		return w, "", fmt.Errorf("ip address on %s: %w", h.Name, err)
	}
	for _, link := range links {
		for _, a := range link.AddrInfo {
			if a.Local == w.Address.String() {
				return w, "", nil
			}
		}
	}
	return w, fmt.Sprintf("%s does not have %s", w.IfName, w.Address), nil
}

// SandboxKey gives the network namespace of a node's workload, by its path on the machine.
func SandboxKey(ctx context.Context, h *remote.Host) (string, error) {
	key, err := h.Sudo(ctx, "docker", "inspect", "--format", "{{.NetworkSettings.SandboxKey}}", WorkloadContainer)
	if err == nil && key == "" {
		err = fmt.Errorf("container %s on %s does not run", WorkloadContainer, h.Name)
	}
	return key, err
}

// Workloads gives every node's plumbed workload with its block, in the nodes' order.
func Workloads(ctx context.Context, hosts map[string]*remote.Host, l *lab.Lab) ([]Plumbed, error) {
	nodes := l.ByRole(lab.RoleCalico)
	all := make([]Plumbed, len(nodes))
	g, ctx := errgroup.WithContext(ctx)
	for i, m := range nodes {
		g.Go(func() error {
			h := hosts[m.Name]
			w, lack, err := Workload(ctx, h, l, m)
			if err != nil {
				return err
			}
			if lack != "" {
				return fmt.Errorf("%s: %s", m.Name, lack)
			}
			routes, err := Routes(ctx, h)
			if err != nil {
				return err
			}
			for _, b := range Blocks(routes) {
				if b.Contains(w.Address) {
					w.Block = b
				}
			}
			all[i] = w
			return nil
		})
	}
	return all, g.Wait()
}
