// Package vagrant is the hardware layer of virtual machines: it drives the vagrant command, with the project's
// Vagrantfile, on libvirt or VirtualBox.
package vagrant

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/keep"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine/box"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
)

// Name is what LAB_HARDWARE calls this layer.
const Name = "vagrant"

const machineReadable = "--machine-readable"

const (
	askTimeout  = time.Minute      // a question to vagrant: 2 s, most of it Ruby's start
	bootTimeout = 15 * time.Minute // three machines on an emulated CPU: 2 minutes on 2 cores
	haltTimeout = 5 * time.Minute

	// endGrace is for Vagrant to take back a machine that it is making when it is interrupted. Mage ends the whole run 5 s
	// after Ctrl-C, and what is still there then would go on behind the user's back.
	endGrace = 4 * time.Second
)

// Provider implements machine.Provider.
type Provider struct {
	machine.Options

	once       sync.Once
	chosen     string // Vagrant's provider
	errChoices error
}

// Kind returns this kind of hardware layer.
func Kind() machine.Kind {
	return machine.Kind{
		Name:   Name,
		New:    func(o machine.Options) machine.Provider { return New(o) },
		Chosen: chosen, CacheUsers: cacheUsers, Clean: clean,
	}
}

// chosen: virtual machines of this lab are there, even though no plan says so.
func chosen(_ context.Context, o machine.Options) (string, bool) {
	if len(made(o.StateDir)) > 0 {
		return "Vagrant's machines exist already", true
	}
	return "Vagrant has no machines of this lab", false
}

// New returns a provider. Nothing is looked at or made yet.
func New(o machine.Options) *Provider { return &Provider{Options: o} }

var _ machine.Provider = (*Provider)(nil)

// Name implements machine.Provider.
func (p *Provider) Name() string { return Name }

// Capabilities implements machine.Provider. VirtualBox does without this computer's /dev/kvm, and can't emulate a CPU.
func (p *Provider) Capabilities() machine.Capabilities {
	return machine.Capabilities{SlowCPU: p.given() != box.VirtualBox && emulated(), Packages: true, RepairsNetwork: true}
}

// dotDir is Vagrant's own state of the machines: beside lab.yaml, so that plain vagrant commands in the
// project's directory find the same machines.
func (p *Provider) dotDir() string   { return filepath.Join(filepath.Dir(p.StateDir), ".vagrant") }
func (p *Provider) consoles() string { return filepath.Join(p.dotDir(), "consoles") }
func (p *Provider) waysFile() string { return filepath.Join(p.StateDir, "vagrant.json") }

// keptLab is lab.yaml as it was when the machines were made: the Vagrantfile needs one to destroy them.
func (p *Provider) keptLab() string { return filepath.Join(p.StateDir, "vagrant-lab.yaml") }

// made returns the files with the IDs of the machines that Vagrant has made for the lab whose state is in stateDir:
// machines/NAME/PROVIDER/id.
func made(stateDir string) []string {
	ids, _ := filepath.Glob(filepath.Join(filepath.Dir(stateDir), ".vagrant", "machines", "*", "*", "id"))
	return ids
}

// labFile is lab.yaml, or the one that the machines were made from while lab.yaml can't be read.
func (p *Provider) labFile() string {
	if _, err := os.Stat(p.keptLab()); err == nil && p.Lab == nil {
		return p.keptLab()
	}
	return p.LabFile
}

// vagrant runs the vagrant command with the lab that file describes.
func (p *Provider) vagrant(ctx context.Context, file string, limit time.Duration, args ...string) (string, error) {
	args = append([]string{"vagrant"}, args...)
	if !slices.Contains(args, machineReadable) { // either would switch it off
		args = append(args, "--no-color", "--no-tty")
	}
	return p.Run.Run(ctx, command.Cmd{
		Args: args,
		Dir:  p.ProjectDir,
		Env: []string{
			"VAGRANT_CWD=" + p.ProjectDir, "VAGRANT_DOTFILE_PATH=" + p.dotDir(), "VAGRANT_CHECKPOINT_DISABLE=1",
			"LAB_FILE=" + file, "LAB_CONSOLES=" + p.consoles(),
		},
		Timeout: limit, Grace: endGrace,
	})
}

func (p *Provider) ask(ctx context.Context, args ...string) (string, error) {
	return p.vagrant(ctx, p.labFile(), askTimeout, args...)
}

// Up implements machine.Provider.
func (p *Provider) Up(ctx context.Context) error {
	if p.Lab == nil {
		return machine.ErrNoLab
	}
	before, err := p.states(ctx)
	if err != nil {
		return err
	}
	provider, err := p.provider(ctx)
	if err != nil {
		return err
	}
	absent := false
	for _, m := range p.Plan.Machines {
		if before[m.Name] == machine.Absent {
			absent = true
			// One of that name may have been destroyed by hand.
			if err := machine.ForgetHostKey(p.StateDir, m.Name); err != nil {
				return err
			}
		}
	}
	if absent {
		if err := p.addBox(ctx, provider); err != nil {
			return err
		}
	}
	data, err := lab.Whole(p.LabFile)
	if err != nil {
		return err
	}
	if err := keep.Write(p.keptLab(), data, 0o644); err != nil {
		return err
	}
	if _, err := p.vagrant(ctx, p.LabFile, bootTimeout, "up", "--provider="+provider); err != nil {
		if ctx.Err() == nil {
			err = fmt.Errorf("%w%s", err, p.consoleTails())
		}
		return err
	}
	return p.learn(ctx)
}

// learn keeps how the machines are reached, and pins the host keys of new ones.
func (p *Provider) learn(ctx context.Context) error {
	out, err := p.ask(ctx, "ssh-config")
	if err != nil {
		return err
	}
	ways, err := parseSSHConfig(out)
	if err != nil {
		return err
	}
	// Vagrant has logged in already: the machines answer.
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("gave up after 1m"))
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	for _, w := range ways {
		g.Go(func() error {
			if _, err := machine.HostKey(p.StateDir, w.Machine); !errors.Is(err, machine.ErrNotUp) {
				return err
			}
			key, err := remote.ShownHostKey(ctx, remote.Endpoint{Machine: w.Machine, Network: "tcp", Address: w.Address, User: w.User})
			if err != nil {
				return err
			}
			return machine.SaveHostKey(p.StateDir, w.Machine, key)
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return keep.WriteJSON(p.waysFile(), ways, 0o644)
}

func (p *Provider) ways() ([]way, error) {
	var ways []way
	there, err := keep.ReadJSON(p.waysFile(), &ways)
	if err != nil {
		return nil, fmt.Errorf("%w; remove it, and go tool mage up writes it again", err)
	}
	if !there {
		return nil, machine.ErrNotUp
	}
	return ways, nil
}

// Endpoints implements machine.Provider.
func (p *Provider) Endpoints() ([]remote.Endpoint, error) {
	ways, err := p.ways()
	if err != nil {
		return nil, err
	}
	var all []remote.Endpoint
	for _, m := range p.Plan.Machines {
		i := slices.IndexFunc(ways, func(w way) bool { return w.Machine == m.Name })
		if i < 0 {
			continue // it is still to be made
		}
		w := ways[i]
		e := remote.Endpoint{Machine: m.Name, Network: "tcp", Address: w.Address, User: w.User}
		if e.HostKey, err = machine.HostKey(p.StateDir, m.Name); err != nil {
			return nil, err
		}
		for _, file := range w.Keys {
			key, err := remote.ReadKey(file)
			if err != nil {
				return nil, err
			}
			e.Keys = append(e.Keys, key)
		}
		all = append(all, e)
	}
	if len(all) == 0 {
		return nil, machine.ErrNotUp
	}
	return all, nil
}

// Status implements machine.Provider.
func (p *Provider) Status(ctx context.Context) ([]machine.Status, error) {
	states, err := p.states(ctx)
	if err != nil {
		return nil, err
	}
	var all []machine.Status
	for _, m := range p.Plan.Machines {
		all = append(all, machine.Status{Machine: m.Name, Role: m.Role, Address: m.Address, State: states[m.Name]})
	}
	return all, nil
}

// states returns every machine's state. Vagrant takes two seconds to answer; while all machines take connections where it
// said last, it isn't asked.
func (p *Provider) states(ctx context.Context) (map[string]machine.State, error) {
	if p.allAnswer(ctx) {
		states := map[string]machine.State{}
		for _, m := range p.Plan.Machines {
			states[m.Name] = machine.Running
		}
		return states, nil
	}
	states := map[string]machine.State{}
	if len(made(p.StateDir)) > 0 {
		out, err := p.ask(ctx, "status", machineReadable)
		if err != nil {
			return nil, err
		}
		states = parseStatus(out)
	}
	for _, m := range p.Plan.Machines {
		if states[m.Name] == "" {
			states[m.Name] = machine.Absent
		}
	}
	// Booted by hand or at another address than before: they run, but where to connect to is not known.
	if _, err := p.ways(); err != nil {
		for name, s := range states {
			if s == machine.Running {
				states[name] = machine.Stopped
			}
		}
	}
	return states, nil
}

func (p *Provider) allAnswer(ctx context.Context) bool {
	ways, err := p.ways()
	if err != nil || len(ways) != len(p.Plan.Machines) {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	for _, w := range ways {
		g.Go(func() error {
			conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", w.Address)
			if err == nil {
				conn.Close()
			}
			return err
		})
	}
	return g.Wait() == nil
}

// Stop implements machine.Provider.
func (p *Provider) Stop(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	// All at once: `vagrant halt` of three goes one after the other.
	for _, m := range p.Plan.Machines {
		g.Go(func() error {
			_, err := p.vagrant(ctx, p.labFile(), haltTimeout, "halt", m.Name)
			return err
		})
	}
	return g.Wait()
}

// Destroy implements machine.Provider.
func (p *Provider) Destroy(ctx context.Context) error {
	if len(made(p.StateDir)) > 0 {
		file := p.LabFile
		if _, err := os.Stat(p.keptLab()); err == nil {
			file = p.keptLab()
		}
		if _, err := p.vagrant(ctx, file, haltTimeout, "destroy", "--force"); err != nil {
			return err
		}
	}
	return os.RemoveAll(p.dotDir())
}

// consoleTails are the ends of what the machines printed while they booted, for an error.
func (p *Provider) consoleTails() string {
	var b strings.Builder
	for _, m := range p.Plan.Machines {
		file := filepath.Join(p.consoles(), m.Name+".log")
		data, err := os.ReadFile(file)
		if err != nil {
			if !errors.Is(err, os.ErrNotExist) {
				fmt.Fprintf(&b, "\n  %s's console: %s", m.Name, file) // virtlogd's file, which root may read
			}
			continue
		}
		lines := strings.Split(strings.TrimSpace(string(data)), "\n")
		lines = lines[max(0, len(lines)-6):]
		fmt.Fprintf(&b, "\n  the end of %s's console (%s):\n  | %s", m.Name, file, strings.Join(lines, "\n  | "))
	}
	return b.String()
}
