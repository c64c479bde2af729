package docker

import (
	"context"
	"errors"
	"fmt"
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
	// Counted: systemd, D-Bus, containerd, and logind, which machines had then.
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
	d, err := p.known()
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
	return errors.Join(machine.OneSubnet(p.Plan.Underlay), i.fault(len(p.Plan.Machines)), p.clash(ctx, d))
}

// fault is everything about a daemon that machines can't be on.
func (i info) fault(machines int) error {
	var all []error
	have, err := version.NewVersion(i.ServerVersion)
	if err != nil {
		return fmt.Errorf("the Docker daemon says nothing of its version (%q); is it Docker, not Podman? The lab needs Docker %s or newer", i.ServerVersion, oldest)
	}
	if have.LessThan(version.Must(version.NewVersion(oldest))) {
		all = append(all, fmt.Errorf("the daemon says that it is %s; the lab needs Docker %s or newer: upgrade it, or where that is Podman, use Docker", i.ServerVersion, oldest))
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
		all = append(all, fmt.Errorf("the Docker daemon's computer has %d MB of memory, %s %d MB; give it more (Docker Desktop: Settings, Resources, Memory)", i.MemTotal>>20, needs(machines), need>>20))
	}
	return errors.Join(all...)
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
			all = append(all, fmt.Errorf("the kernel of the Docker daemon's computer lets root have %d inotify instances, and %s %d, so they would hang at boot; "+
				"raise the limit there: sudo sysctl fs.inotify.max_user_instances=512 (Docker Desktop: docker run --rm --privileged %s sysctl -w fs.inotify.max_user_instances=512)",
				n, needs(machines), machines*inotifyMachine+inotifyOthers, "debian:bookworm-slim"))
		case "disk":
			all = append(all, fmt.Errorf("the Docker daemon has %d MB of free space, %s %d MB; make room there (docker system df shows what takes it), then run this again", n>>10, needs(machines), machines*diskMachine>>20))
		case "memory":
			all = append(all, fmt.Errorf("the Docker daemon's computer has %d MB of memory free, %s %d MB; stop something, or give it more (Docker Desktop: Settings, Resources, Memory)",
				n>>10, needs(machines), machines*memoryMachine>>20))
		}
	}
	if len(kernel) > 0 {
		all = append(all, fmt.Errorf("the kernel of the Docker daemon's computer lacks what the machines use, or doesn't let containers have it:\n  %s\n"+
			"use the distribution's usual kernel there, or another hardware layer: LAB_HARDWARE=vagrant", strings.Join(kernel, "\n  ")))
	}
	return errors.Join(all...)
}

// needs begins what machines need.
func needs(machines int) string {
	if machines == 1 {
		return "1 machine needs"
	}
	return fmt.Sprintf("%d machines need", machines)
}
