package docker

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine/box"
)

// create makes a machine's container with everything that is different on every machine.
func (p *Provider) create(ctx context.Context, d daemon, m machine.Planned, user ssh.PublicKey, from images) error {
	private, public, err := machine.NewKey(m.Name)
	if err != nil {
		return err
	}
	files, err := box.Identity{Plan: p.Plan, Machine: m, Interface: uplink, User: user, HostKey: private, HostPub: public}.Tar()
	if err != nil {
		return err
	}
	if err := machine.SaveHostKey(p.StateDir, m.Name, public); err != nil {
		return err
	}
	args := append([]string{"create", "--tty", "--name", p.container(m.Name), "--hostname", m.Name, "--network", p.Plan.Name, "--ip", m.Address.String()}, likeMachines...)
	for _, other := range p.Plan.Machines {
		args = append(args, "--add-host", other.Name+":"+other.Address.String())
	}
	args = append(args, p.labels(d, m.Name)...)
	args = append(args, from.modules...)
	args = append(args,
		"--tmpfs", "/run:exec,mode=0755", "--tmpfs", "/run/lock", "--tmpfs", "/tmp:exec,mode=1777",
		"--mount", fmt.Sprintf("type=volume,dst=/var/lib/docker,volume-label=%s=%s,volume-label=%s=%s", labelID, d.ID, labelMachine, m.Name),
		"--log-driver", "json-file", "--log-opt", "max-size=1m",
		"--stop-signal", stopSignal, "--env", "container=docker", from.byRole[m.Role], programs+"init")
	if _, err := p.docker(ctx, d, args...); err != nil {
		return err
	}
	return p.copyIn(ctx, d, files, p.container(m.Name), "/")
}

// likeMachines are the options of containers that may do what machines do. They are not privileged: no devices of the daemon's computer,
// and capabilities by name. SYS_MODULE is what calico-node asks for.
var likeMachines = []string{
	"--cap-add", "NET_ADMIN", "--cap-add", "SYS_ADMIN", "--cap-add", "SYS_MODULE", "--cap-add", "SYS_PTRACE", "--cap-add", "IPC_LOCK",
	"--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined", "--security-opt", "systempaths=unconfined",
	"--cgroupns", "private",
}

// boot starts a machine and returns once it lets users in.
func (p *Provider) boot(ctx context.Context, d daemon, name, state string) error {
	verb := "start"
	if state == paused {
		verb = "unpause"
	}
	limit := p.patience(bootTimeout)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("gave up after %s", limit))
	defer cancel()
	_, err := p.docker(ctx, d, verb, p.container(name))
	if err == nil {
		_, err = p.dockerFor(ctx, d, bootTimeout, "exec", p.container(name), programs+"booted", fmt.Sprint(int(limit/(50*time.Millisecond))))
	}
	if err == nil {
		return nil
	}
	console, cerr := p.docker(context.WithoutCancel(ctx), d, "logs", "--tail", "8", p.container(name))
	if cerr != nil || strings.TrimSpace(console) == "" {
		return err
	}
	return fmt.Errorf("%w\n  the end of its console (docker logs %s):\n  | %s", err, p.container(name), strings.ReplaceAll(strings.TrimSpace(console), "\n", "\n  | "))
}

// reconnect joins a machine to a network that was made anew under it.
func (p *Provider) reconnect(ctx context.Context, d daemon, m machine.Planned) error {
	_, _ = p.docker(ctx, d, "network", "disconnect", "--force", p.Plan.Name, p.container(m.Name)) // from the one that is gone
	_, err := p.docker(ctx, d, "network", "connect", "--ip", m.Address.String(), p.Plan.Name, p.container(m.Name))
	return err
}

// What Docker calls the states of a container that are told apart here.
const (
	running = "running"
	paused  = "paused"
)

// states returns what Docker says of each machine; nothing of one that isn't there. A lab of the same name that isn't this one is an error.
func (p *Provider) states(ctx context.Context, d daemon) (map[string]string, error) {
	out, err := p.docker(ctx, d, "ps", "--all", "--filter", "label="+labelLab+"="+p.Plan.Name, "--format",
		fmt.Sprintf(`{{.Label %q}}|{{.Label %q}}|{{.State}}|{{.Label %q}}`, labelID, labelMachine, labelOwner))
	if err != nil {
		return nil, err
	}
	states := map[string]string{}
	for line := range strings.SplitSeq(out, "\n") {
		f := strings.SplitN(line, "|", 4)
		if len(f) != 4 {
			continue
		}
		if f[0] != d.ID {
			return nil, p.inUse(f[3])
		}
		states[f[1]] = f[2]
	}
	return states, nil
}

// Status implements machine.Provider.
func (p *Provider) Status(ctx context.Context) ([]machine.Status, error) {
	d, err := p.known()
	if err != nil {
		return nil, err
	}
	states, err := p.states(ctx, d)
	if err != nil {
		return nil, err
	}
	var all []machine.Status
	for _, m := range p.Plan.Machines {
		s := machine.Status{Machine: m.Name, Role: m.Role, Address: m.Address, State: machine.Stopped}
		switch states[m.Name] {
		case "":
			s.State = machine.Absent
		case running:
			s.State = machine.Running
		}
		all = append(all, s)
	}
	return all, nil
}

// Memory implements machine.Meter. Docker takes a second to tell.
func (p *Provider) Memory(ctx context.Context) (map[string]int64, error) {
	d, err := p.known()
	if err != nil {
		return nil, err
	}
	states, err := p.states(ctx, d)
	if err != nil {
		return nil, err
	}
	args := []string{"stats", "--no-stream", "--format", "{{.Name}}|{{.MemUsage}}"}
	for _, m := range p.Plan.Machines {
		if states[m.Name] == running {
			args = append(args, p.container(m.Name))
		}
	}
	if len(args) == 4 {
		return nil, nil
	}
	out, err := p.docker(ctx, d, args...)
	if err != nil {
		return nil, err
	}
	used := map[string]int64{}
	for line := range strings.SplitSeq(out, "\n") {
		name, usage, _ := strings.Cut(line, "|")
		used[strings.TrimPrefix(name, p.Plan.Name+"-")] = size(usage)
	}
	return used, nil
}

// Stop implements machine.Provider.
func (p *Provider) Stop(ctx context.Context) error {
	d, err := p.known()
	if err != nil {
		return err
	}
	states, err := p.states(ctx, d)
	if err != nil {
		return err
	}
	args := []string{"stop", "--time", fmt.Sprint(int(p.patience(haltTime).Seconds()))}
	for _, m := range p.Plan.Machines {
		switch states[m.Name] {
		case paused: // a process that is frozen takes no signal
			if _, err := p.docker(ctx, d, "unpause", p.container(m.Name)); err != nil {
				return err
			}
			fallthrough
		case running:
			args = append(args, p.container(m.Name))
		}
	}
	if len(args) == 3 {
		return nil
	}
	_, err = p.dockerFor(ctx, d, 2*haltTime, args...)
	return err
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
