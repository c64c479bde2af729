// Package docker is the hardware layer of Docker containers: each boots its own systemd, on whatever computer the daemon is that the docker
// command talks to. Nothing here needs root on this one, and nothing but that command.
package docker

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine/box"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
)

// Name is what LAB_HARDWARE calls this layer.
const Name = "docker"

// Labels of what a lab has at a daemon. Whatever has none of them is nobody's business here.
const (
	labelLab     = "calico-cni-lab.lab"     // the lab's name
	labelID      = "calico-cni-lab.id"      // which of the labs of that name
	labelOwner   = "calico-cni-lab.owner"   // whose it is, for people
	labelMachine = "calico-cni-lab.machine" // of a container and its volume
	labelBox     = "calico-cni-lab.box"     // of images: what they were made from
)

const (
	uplink      = "eth0" // what Docker calls a machine's interface on the underlay
	programs    = "/usr/local/lib/lab/"
	bootTimeout = 90 * time.Second
	haltTime    = 30 * time.Second
	// commandTimeout is for what takes a second on a computer that isn't busy.
	commandTimeout = 2 * time.Minute
	// stopSignal is SIGRTMIN+3, on which systemd halts (systemd(1)).
	stopSignal = "SIGRTMIN+3"
)

// Provider implements machine.Provider.
type Provider struct{ machine.Options }

// Kind returns this kind of hardware layer.
func Kind() machine.Kind {
	return machine.Kind{
		Name:   Name,
		New:    func(o machine.Options) machine.Provider { return New(o) },
		Chosen: chosen,
		Fit:    fitMaker,
		Clean:  clean,
	}
}

// New returns a provider. Nothing is looked at or made yet.
func New(o machine.Options) *Provider { return &Provider{o} }

var _ machine.Provider = (*Provider)(nil)

// Name implements machine.Provider.
func (p *Provider) Name() string { return Name }

// Capabilities implements machine.Provider.
func (p *Provider) Capabilities() machine.Capabilities {
	return machine.Capabilities{RepairsNetwork: true}
}

// container is what a machine is called at the daemon, where names are everybody's.
func (p *Provider) container(name string) string { return p.Plan.Name + "-" + name }

// Up implements machine.Provider.
func (p *Provider) Up(ctx context.Context) error {
	if p.Lab == nil || p.Maker == nil {
		return machine.ErrNoLab
	}
	key, err := machine.UserKey(p.StateDir)
	if err != nil {
		return err
	}
	d, err := p.claim(ctx)
	if err != nil {
		return err
	}
	states, err := p.states(ctx, d)
	if err != nil {
		return err
	}
	images, err := p.prepare(ctx, d, states)
	if err != nil {
		return err
	}
	anew, err := p.underlay(ctx, d)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, m := range p.Plan.Machines {
		if states[m.Name] == running {
			continue
		}
		g.Go(func() error {
			if states[m.Name] == "" {
				if err := p.create(ctx, d, m, key.PublicKey(), images); err != nil {
					return fmt.Errorf("making %s: %w", m.Name, err)
				}
			} else if anew {
				if err := p.reconnect(ctx, d, m); err != nil {
					return fmt.Errorf("connecting %s to the underlay: %w", m.Name, err)
				}
			}
			if err := p.boot(ctx, d, m.Name, states[m.Name]); err != nil {
				return fmt.Errorf("booting %s: %w", m.Name, err)
			}
			return nil
		})
	}
	return g.Wait()
}

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
	ctx, cancel := context.WithTimeoutCause(ctx, bootTimeout, fmt.Errorf("gave up after %s", bootTimeout))
	defer cancel()
	_, err := p.docker(ctx, d, verb, p.container(name))
	if err == nil {
		_, err = p.dockerFor(ctx, d, bootTimeout, "exec", p.container(name), programs+"booted", fmt.Sprint(int(bootTimeout/(50*time.Millisecond))))
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

// reconnect joins a machine to a network that was made anew under it.
func (p *Provider) reconnect(ctx context.Context, d daemon, m machine.Planned) error {
	_, _ = p.docker(ctx, d, "network", "disconnect", "--force", p.Plan.Name, p.container(m.Name)) // from the one that is gone
	_, err := p.docker(ctx, d, "network", "connect", "--ip", m.Address.String(), p.Plan.Name, p.container(m.Name))
	return err
}

// Endpoints implements machine.Provider.
func (p *Provider) Endpoints() ([]remote.Endpoint, error) {
	d, made, err := readDaemon(p.StateDir)
	if err != nil {
		return nil, err
	}
	if !made {
		return nil, machine.ErrNotUp
	}
	key, err := machine.UserKey(p.StateDir)
	if err != nil {
		return nil, err
	}
	var all []remote.Endpoint
	for _, m := range p.Plan.Machines {
		hostKey, err := machine.HostKey(p.StateDir, m.Name)
		if err != nil {
			return nil, err
		}
		all = append(all, remote.Endpoint{
			Machine: m.Name, Proxy: append(d.command(), "exec", "--interactive", p.container(m.Name), programs+"sshd"), User: box.User, HostKey: hostKey,
			Keys: []remote.Key{{File: filepath.Join(p.StateDir, machine.UserKeyFile), Signer: key}},
		})
	}
	return all, nil
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
	d, err := p.known(ctx)
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
	d, err := p.known(ctx)
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
	d, err := p.known(ctx)
	if err != nil {
		return err
	}
	states, err := p.states(ctx, d)
	if err != nil {
		return err
	}
	args := []string{"stop", "--time", fmt.Sprint(int(haltTime.Seconds()))}
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

// Destroy implements machine.Provider. What isn't there any more is no error.
func (p *Provider) Destroy(ctx context.Context) error {
	d, made, err := readDaemon(p.StateDir)
	if err != nil {
		return err
	}
	if !made && !installed() {
		return nil // nothing can have been made
	}
	if !made {
		d = here()
	}
	ids, err := p.mine(ctx, d, made)
	if err != nil {
		return err
	}
	for _, id := range ids {
		for _, step := range []struct{ list, remove []string }{
			{[]string{"ps", "--all", "--quiet"}, []string{"rm", "--force", "--volumes"}},
			{[]string{"network", "ls", "--quiet"}, []string{"network", "rm"}},
			{[]string{"volume", "ls", "--quiet"}, []string{"volume", "rm"}}, // of a container that somebody removed
		} {
			if err := p.removeAll(ctx, d, append(step.list, "--filter", "label="+labelID+"="+id), step.remove); err != nil {
				return err
			}
		}
	}
	return nil
}

// removeAll removes what a command lists. Something that goes by itself meanwhile is no error.
func (p *Provider) removeAll(ctx context.Context, d daemon, list, remove []string) error {
	out, err := p.docker(ctx, d, list...)
	if err != nil || out == "" {
		return err
	}
	_, failed := p.dockerFor(ctx, d, buildTimeout, append(slices.Clone(remove), strings.Fields(out)...)...)
	if failed == nil {
		return nil
	}
	left, err := p.docker(ctx, d, list...)
	if err == nil && left != "" {
		err = failed
	}
	return err
}

// mine returns the IDs under which this lab has something at the daemon. made says whether the lab's own is known.
func (p *Provider) mine(ctx context.Context, d daemon, made bool) ([]string, error) {
	var ids []string
	if made {
		ids = append(ids, d.ID)
	}
	format := fmt.Sprintf(`{{.Label %q}}|{{.Label %q}}`, labelID, labelOwner)
	for _, list := range [][]string{{"ps", "--all"}, {"network", "ls"}} {
		out, err := p.docker(ctx, d, append(list, "--filter", "label="+labelLab+"="+p.Plan.Name, "--format", format)...)
		if err != nil {
			return nil, err
		}
		for line := range strings.SplitSeq(out, "\n") {
			id, owner, ok := strings.Cut(line, "|")
			if !ok || slices.Contains(ids, id) {
				continue
			}
			if made || owner != p.owner() && p.TakeOver != p.Plan.Name {
				if made {
					continue // another lab's of this name, which was refused when this one was made
				}
				return nil, p.inUse(owner)
			}
			ids = append(ids, id)
		}
	}
	return ids, nil
}

func (p *Provider) inUse(owner string) error {
	err := fmt.Errorf("the lab name %q is in use at this Docker daemon by the lab of %s; destroy it there, or give this lab another name in lab.yaml", p.Plan.Name, owner)
	if owner == p.owner() {
		return fmt.Errorf("%w. If its state directory was lost: go tool mage destroy", err)
	}
	return fmt.Errorf("%w. If that is gone for good, remove what is left of it: %s=%s go tool mage destroy", err, machine.TakeOverVariable, p.Plan.Name)
}

// images are what a machine of a role is made of.
type images struct {
	byRole  map[lab.Role]string
	modules []string // options that show a machine the kernel's modules
}

func (p *Provider) docker(ctx context.Context, d daemon, args ...string) (string, error) {
	return p.dockerFor(ctx, d, commandTimeout, args...)
}

func (p *Provider) dockerFor(ctx context.Context, d daemon, limit time.Duration, args ...string) (string, error) {
	out, err := d.run(ctx, p.Run, command.Cmd{Args: args, Timeout: limit})
	return strings.TrimSpace(out), err
}
