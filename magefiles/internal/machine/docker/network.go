package docker

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
)

// underlay makes the network where it is missing; anew says whether it was.
func (p *Provider) underlay(ctx context.Context, d daemon) (anew bool, err error) {
	there, err := p.docker(ctx, d, "network", "ls", "--quiet", "--filter", "label="+labelID+"="+d.ID)
	if err != nil || there != "" {
		return false, err
	}
	if err := p.clash(ctx, d); err != nil {
		return false, err
	}
	// No address on the daemon's computer, and no translation of the machines' there: nobody has the gateway's address, so nothing
	// leaves. Not --internal: its rules drop what workloads send, whose addresses aren't the network's, where bridges are filtered
	// (bridge-nf-call-iptables, which most daemons switch on).
	args := append([]string{"network", "create", "--driver", "bridge", "--subnet", p.Plan.Subnet.String(), "--gateway", p.Plan.Gateway.String(),
		"--opt", "com.docker.network.bridge.inhibit_ipv4=true", "--opt", "com.docker.network.bridge.enable_ip_masquerade=false",
	}, p.labels(d, "")...)
	_, err = p.docker(ctx, d, append(args, p.Plan.Name)...)
	return true, err
}

// network is what is asked of each of the daemon's.
type network struct {
	Name   string
	Labels map[string]string
	IPAM   struct{ Config []struct{ Subnet string } }
}

// clash returns an error where other networks of the daemon have addresses of the underlay.
func (p *Provider) clash(ctx context.Context, d daemon) error {
	ids, err := p.docker(ctx, d, "network", "ls", "--quiet")
	if err != nil || ids == "" {
		return err
	}
	out, err := p.docker(ctx, d, append([]string{"network", "inspect"}, strings.Fields(ids)...)...)
	if err != nil && out == "" { // one that goes meanwhile is an error beside what is said of the others
		return err
	}
	var all []network
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		return fmt.Errorf("docker network inspect: %w", err)
	}
	return clashing(all, p.Plan.Subnet, d.ID, p.Plan.Name)
}

func clashing(all []network, subnet netip.Prefix, id, name string) error {
	for _, n := range all {
		if id != "" && n.Labels[labelID] == id {
			continue
		}
		remedy := "remove that network: docker network rm " + n.Name
		if owner := n.Labels[labelOwner]; owner != "" {
			remedy = "destroy the lab of " + owner + ", whose network that is"
		}
		if n.Name == name {
			return fmt.Errorf("the Docker daemon has a network %q already, which isn't this lab's; give the lab another name in lab.yaml, or %s", name, remedy)
		}
		for _, c := range n.IPAM.Config {
			if other, err := netip.ParsePrefix(c.Subnet); err == nil && other.Overlaps(subnet) {
				return fmt.Errorf("the underlay %s has addresses that the Docker daemon's network %q has too (%s); give the lab others in lab.yaml (underlay: subnet, and the machines' addresses), or %s",
					subnet, n.Name, other, remedy)
			}
		}
	}
	return nil
}
