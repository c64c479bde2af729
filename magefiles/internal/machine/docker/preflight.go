package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/go-version"

	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/scripts"
)

const (
	oldest = "20.10" // knows --cgroupns
	// Measured: 120 MB a machine and etcd's, and what the machines write.
	memoryMachine = 160 << 20
	diskMachine   = 300 << 20
	// Counted: systemd, its logind, D-Bus and containerd.
	inotifyMachine = 8
	inotifyOthers  = 16
)

// chosen implements machine.Kind.
func chosen(ctx context.Context, o machine.Options) (reason string, ok bool) {
	if !installed() {
		return "there is no docker command; install Docker, and start it", false
	}
	d := here()
	i, err := New(o).info(ctx, d)
	switch {
	case err != nil || i.ServerVersion == "":
		return fmt.Sprintf("no Docker daemon answers (%s); start it", d), false
	case i.OSType != "linux":
		return "the Docker daemon runs containers of " + i.OSType + "; switch it to Linux containers", false
	}
	return fmt.Sprintf("a Docker daemon answers (%s)", d), true
}

// Preflight implements machine.Provider.
func (p *Provider) Preflight(ctx context.Context) error {
	d, err := p.known(ctx)
	if err != nil {
		return err
	}
	i, err := p.info(ctx, d)
	if err != nil {
		return err
	}
	if _, err := p.states(ctx, d); err != nil {
		return err
	}
	return errors.Join(i.fault(len(p.Plan.Machines)), p.clash(ctx, d))
}

// fault is everything about a daemon that machines can't be on.
func (i info) fault(machines int) error {
	var all []error
	have, err := version.NewVersion(i.ServerVersion)
	if err != nil {
		return fmt.Errorf("the Docker daemon says nothing of its version (%q); is it Docker? The lab needs Docker %s or newer", i.ServerVersion, oldest)
	}
	if have.LessThan(version.Must(version.NewVersion(oldest))) {
		all = append(all, fmt.Errorf("the Docker daemon is %s; the lab needs %s or newer: upgrade it", i.ServerVersion, oldest))
	}
	if i.OSType != "linux" {
		all = append(all, fmt.Errorf("the Docker daemon runs containers of %s; switch it to Linux containers", i.OSType))
	}
	if a := i.arch(); a != "amd64" && a != "arm64" {
		all = append(all, fmt.Errorf("the Docker daemon's computer is %s; the lab can be on amd64 and arm64", a))
	}
	if slices.ContainsFunc(i.SecurityOptions, func(o string) bool { return strings.Contains(o, "name=rootless") }) {
		all = append(all, errors.New("the Docker daemon is rootless, where the machines' own Docker can't have what it needs; use one that isn't: docker context use default, or another hardware layer"))
	}
	if need := int64(machines) * memoryMachine; i.MemTotal > 0 && i.MemTotal < need {
		all = append(all, fmt.Errorf("the Docker daemon's computer has %d MB of memory, %d machines need %d MB; give it more (Docker Desktop: Settings, Resources, Memory)", i.MemTotal>>20, machines, need>>20))
	}
	return errors.Join(all...)
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
		if n.Name == name {
			return fmt.Errorf("the Docker daemon has a network %q already, which isn't this lab's; give the lab another name in lab.yaml, or remove it: docker network rm %[1]s", name)
		}
		for _, c := range n.IPAM.Config {
			if other, err := netip.ParsePrefix(c.Subnet); err == nil && other.Overlaps(subnet) {
				return fmt.Errorf("the underlay %s has addresses that the Docker daemon's network %q has too (%s); give the lab others in lab.yaml (underlay: subnet, and the machines' addresses), "+
					"or remove that network: docker network rm %[2]s", subnet, n.Name, other)
			}
		}
	}
	return nil
}

// fit looks, in a container like the machines, whether machines can be there, and returns the options that show them the kernel's modules.
func (p *Provider) fit(ctx context.Context, d daemon, image string, machines int) (modules []string, err error) {
	const dir = "/lab"
	args := append([]string{"run", "--rm", "--label", labelBox + "=builder", "--network", "none", "--mount", "type=volume,dst=" + dir}, likeMachines...)
	asked := []string{image, "bash", "-c", scripts.Text("docker-fit.sh"), "docker-fit.sh", dir,
		strconv.Itoa(machines*inotifyMachine + inotifyOthers), strconv.Itoa(machines * diskMachine >> 10), strconv.Itoa(machines * memoryMachine >> 10)}
	// So that machines can load what the kernel has as modules. Not every kernel has any; --volume would make the directory.
	modules = []string{"--mount", "type=bind,src=/lib/modules,dst=/lib/modules,readonly"}
	out, err := p.docker(ctx, d, slices.Concat(args, modules, asked)...)
	if err != nil && strings.Contains(err.Error(), "/lib/modules") {
		modules = nil
		out, err = p.docker(ctx, d, slices.Concat(args, asked)...)
	}
	if err != nil {
		return nil, err
	}
	return modules, unfit(out, machines)
}

// unfit is the error of what docker-fit.sh prints.
func unfit(out string, machines int) error {
	var all []error
	var kernel []string
	for line := range strings.Lines(out) {
		what, detail, _ := strings.Cut(strings.TrimSpace(line), " ")
		n, _ := strconv.Atoi(detail)
		switch what {
		case "kernel":
			kernel = append(kernel, detail)
		case "inotify":
			all = append(all, fmt.Errorf("the kernel of the Docker daemon's computer lets root have %d inotify instances, and %d machines need %d, so they would hang at boot; "+
				"raise the limit there: sudo sysctl fs.inotify.max_user_instances=512 (Docker Desktop: docker run --rm --privileged %s sysctl -w fs.inotify.max_user_instances=512)",
				n, machines, machines*inotifyMachine+inotifyOthers, "debian:bookworm-slim"))
		case "disk":
			all = append(all, fmt.Errorf("the Docker daemon has %d MB of free space, %d machines need %d MB; make room there: docker system df", n>>10, machines, machines*diskMachine>>20))
		case "memory":
			all = append(all, fmt.Errorf("the Docker daemon's computer has %d MB of memory free, %d machines need %d MB; stop something, or give it more (Docker Desktop: Settings, Resources, Memory)",
				n>>10, machines, machines*memoryMachine>>20))
		}
	}
	if len(kernel) > 0 {
		all = append(all, fmt.Errorf("the kernel of the Docker daemon's computer lacks what the machines use, or doesn't let containers have it:\n  %s\n"+
			"use the distribution's usual kernel there, or another hardware layer: LAB_HARDWARE=vagrant", strings.Join(kernel, "\n  ")))
	}
	return errors.Join(all...)
}

// size reads what docker stats says of memory, such as "45.3MiB / 23GiB", in bytes; 0 where it says nothing.
func size(usage string) int64 {
	used, _, _ := strings.Cut(usage, " ")
	number := strings.TrimRight(used, "BiKMGTk")
	n, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return 0
	}
	units := map[string]float64{"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40, "kB": 1e3, "MB": 1e6, "GB": 1e9}
	return int64(n * units[strings.TrimPrefix(used, number)])
}

var _ machine.Meter = (*Provider)(nil)
