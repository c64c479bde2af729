// Package docker is the hardware layer of Docker containers: each boots its own systemd, on whatever computer the daemon is that the docker
// command talks to. Nothing here needs root on this one, and nothing but that command.
package docker

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine/box"
	"github.com/calico-cni-lab/lab/magefiles/internal/progress"
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
	// handshakeTime is for docker exec and sshd to start, and a login.
	handshakeTime = 10 * time.Second
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
	d, made, err := readDaemon(p.StateDir)
	if err != nil || !made {
		d = here()
	}
	return machine.Capabilities{SlowCPU: d.far(), RepairsNetwork: true}
}

// slow is how much longer a far daemon may take, which may be emulated.
const slow = 12

// patience is a limit as it is for the lab's daemon.
func (p *Provider) patience(limit time.Duration) time.Duration {
	if p.Capabilities().SlowCPU {
		return slow * limit
	}
	return limit
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
	one := progress.Counter(ctx, len(p.Plan.Machines), "machines booted")
	g, ctx := errgroup.WithContext(ctx)
	for _, m := range p.Plan.Machines {
		if states[m.Name] == running {
			one()
			continue
		}
		g.Go(func() error {
			if states[m.Name] == "" {
				if err := p.create(ctx, d, m, key.PublicKey(), images); err != nil {
					return fmt.Errorf("making %s: %w", m.Name, err)
				}
			} else if anew || states[m.Name] != paused { // a machine that doesn't run may have lost its interface
				if err := p.reconnect(ctx, d, m); err != nil {
					return fmt.Errorf("connecting %s to the underlay: %w", m.Name, err)
				}
			}
			if err := p.boot(ctx, d, m.Name, states[m.Name]); err != nil {
				return fmt.Errorf("booting %s: %w", m.Name, err)
			}
			one()
			return nil
		})
	}
	return g.Wait()
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
		if errors.Is(err, machine.ErrNotUp) {
			continue // it is still to be made
		}
		if err != nil {
			return nil, err
		}
		all = append(all, remote.Endpoint{
			Machine: m.Name, Proxy: append(d.command(), "exec", "--interactive", p.container(m.Name), programs+"sshd"), User: box.User, HostKey: hostKey,
			Keys: []remote.Key{{File: filepath.Join(p.StateDir, machine.UserKeyFile), Signer: key}}, Handshake: p.patience(handshakeTime),
		})
	}
	if len(all) == 0 {
		return nil, machine.ErrNotUp
	}
	return all, nil
}

func (p *Provider) docker(ctx context.Context, d daemon, args ...string) (string, error) {
	return p.dockerFor(ctx, d, commandTimeout, args...)
}

func (p *Provider) dockerFor(ctx context.Context, d daemon, limit time.Duration, args ...string) (string, error) {
	out, err := d.run(ctx, p.Run, command.Cmd{Args: args, Timeout: p.patience(limit)})
	return strings.TrimSpace(out), err
}
