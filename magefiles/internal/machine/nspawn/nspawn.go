// Package nspawn is the hardware layer of systemd-nspawn containers on this computer: each boots its own systemd, and a bridge
// in a network namespace without any way out joins them.
package nspawn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/computer"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine/box"
	"github.com/calico-cni-lab/lab/magefiles/internal/progress"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
	"github.com/calico-cni-lab/lab/scripts"
)

// Name is what LAB_HARDWARE calls this layer.
const Name = "nspawn"

const (
	bridge      = "underlay"
	uplink      = "host0"          // what nspawn calls a machine's interface on it
	shareInside = "/run/lab-share" // where a machine sees the artifacts' directory
	bootTimeout = 90 * time.Second
	haltTimeout = 30 * time.Second
	// Of fifty machines, on a computer that has other things to do.
	killTimeout = 30 * time.Second
	// bootAtOnce keeps two cores busy; with more each takes longer, and none is sooner.
	bootAtOnce    = 12
	maxSocketPath = 107 // sun_path, unix(7)
)

// Provider implements machine.Provider.
type Provider struct{ machine.Options }

// Kind returns this kind of hardware layer.
func Kind() machine.Kind {
	return machine.Kind{
		Name:       Name,
		New:        func(o machine.Options) machine.Provider { return New(o) },
		Chosen:     chosen,
		Otherwise:  otherwise,
		CacheUsers: cacheUsers,
	}
}

// New returns a provider. Nothing is looked at or made yet.
func New(o machine.Options) *Provider { return &Provider{o} }

var (
	_ machine.Provider = (*Provider)(nil)
	_ machine.Remover  = (*Provider)(nil)
)

// Name implements machine.Provider.
func (p *Provider) Name() string { return Name }

// Capabilities implements machine.Provider.
func (p *Provider) Capabilities() machine.Capabilities {
	return machine.Capabilities{RepairsNetwork: true}
}

func (p *Provider) labDir() string             { return filepath.Join(machine.Home, "labs", p.Plan.Name) }
func (p *Provider) dir(name string) string     { return filepath.Join(p.labDir(), name) }
func (p *Provider) socket(name string) string  { return filepath.Join(p.dir(name), "run", "ssh.sock") }
func (p *Provider) console(name string) string { return filepath.Join(p.dir(name), "console.log") }
func (p *Provider) netns() string              { return p.Plan.Name }

// Up implements machine.Provider.
func (p *Provider) Up(ctx context.Context) error {
	if p.Lab == nil || p.Maker == nil {
		return machine.ErrNoLab
	}
	// Endpoints need nothing that is made here but the machines' keys.
	key, err := machine.UserKey(p.StateDir)
	if err != nil {
		return err
	}
	running, err := p.running()
	if err != nil {
		return err
	}
	if len(running) == len(p.Plan.Machines) {
		return nil
	}
	if err := p.install(ctx); err != nil {
		return err
	}
	var from parts
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return p.fit(gctx, running) })
	g.Go(func() (err error) { from, err = p.prepare(gctx); return err })
	if err := g.Wait(); err != nil {
		return err
	}
	if err := p.claim(ctx, false); err != nil {
		return err
	}
	if err := p.raiseLimits(ctx, len(p.Plan.Machines)-len(running)); err != nil {
		return err
	}
	if err := p.underlay(ctx); err != nil {
		return err
	}
	one := progress.Counter(ctx, len(p.Plan.Machines), "machines booted")
	g, ctx = errgroup.WithContext(ctx)
	g.SetLimit(bootAtOnce)
	for _, m := range p.Plan.Machines {
		if running[m.Name] {
			one()
			continue
		}
		g.Go(func() error {
			if !computer.Exists(p.dir(m.Name)) {
				if err := p.create(ctx, m, key.PublicKey(), from); err != nil {
					return fmt.Errorf("making %s: %w", m.Name, err)
				}
			}
			if err := p.boot(ctx, m.Name); err != nil {
				return fmt.Errorf("booting %s: %w", m.Name, err)
			}
			one()
			return nil
		})
	}
	return g.Wait()
}

// Box implements machine.Boxer.
func (p *Provider) Box(ctx context.Context) (string, bool, error) {
	if err := p.install(ctx); err != nil {
		return "", false, err
	}
	tree, err := box.Recipe{Debian: p.Maker.Debian, Run: p.Run}.Tree(ctx, p.Store)
	return filepath.Dir(tree), true, err
}

// parts are what machines are made from.
type parts struct {
	layers map[lab.Role]string // below the machine's own files, as overlay's lowerdir wants them
	store  string              // Docker data directory with the images
}

// prepare makes the parts, only where a machine is still to be made from them.
func (p *Provider) prepare(ctx context.Context) (parts, error) {
	if !slices.ContainsFunc(p.Plan.Machines, func(m machine.Planned) bool { return !computer.Exists(p.dir(m.Name)) }) {
		return parts{}, nil
	}
	var images artifact.Images
	var tree, toolchain string
	roles := p.Plan.Roles()
	files := map[lab.Role][]remote.File{}
	var mu sync.Mutex
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		tree, err = box.Recipe{Debian: p.Maker.Debian, Run: p.Run}.Tree(gctx, p.Store)
		return err
	})
	g.Go(func() (err error) { toolchain, err = p.toolchainLayer(gctx); return err })
	g.Go(func() (err error) { images, err = p.Maker.Images(gctx); return err })
	if p.Files != nil {
		for _, role := range roles {
			g.Go(func() error {
				list, err := p.Files(gctx, role)
				mu.Lock()
				defer mu.Unlock()
				files[role] = list
				return err
			})
		}
	}
	if err := g.Wait(); err != nil {
		return parts{}, err
	}
	made := parts{layers: map[lab.Role]string{}}
	g, gctx = errgroup.WithContext(ctx)
	g.Go(func() (err error) { made.store, err = p.dockerStore(gctx, tree, images); return err })
	for _, role := range roles {
		below := []string{tree}
		if role == lab.RoleCalico {
			below = []string{toolchain, tree}
		}
		g.Go(func() error {
			layer, err := p.filesLayer(gctx, tree, role, files[role])
			if layer != "" {
				below = append([]string{layer}, below...)
			}
			mu.Lock()
			defer mu.Unlock()
			made.layers[role] = strings.Join(below, ":")
			return err
		})
	}
	err := g.Wait()
	return made, err
}

// create makes a machine's directory with everything that is different on every machine.
func (p *Provider) create(ctx context.Context, m machine.Planned, user ssh.PublicKey, from parts) error {
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
	_, err = p.Run.Run(ctx, command.Cmd{
		Args: []string{"bash", "-c", scripts.Text("nspawn-create.sh"), "nspawn-create.sh", p.dir(m.Name), from.layers[m.Role], from.store,
			fmt.Sprintf("%d:%d", os.Getuid(), os.Getgid())},
		Stdin: bytes.NewReader(files), Root: true,
	})
	return err
}

// Endpoints implements machine.Provider.
func (p *Provider) Endpoints() ([]remote.Endpoint, error) {
	key, err := machine.UserKey(p.StateDir)
	if err != nil {
		return nil, err
	}
	var all []remote.Endpoint
	for _, m := range p.Plan.Machines {
		hostKey, err := machine.HostKey(p.StateDir, m.Name)
		if errors.Is(err, machine.ErrNotUp) {
			if computer.Exists(p.dir(m.Name)) {
				return nil, fmt.Errorf("%s exists, but its host key in %s is gone, and with it the way in; start over: go tool mage destroy", m.Name, p.StateDir)
			}
			continue // it is still to be made
		}
		if err != nil {
			return nil, err
		}
		e := remote.Endpoint{
			Machine: m.Name, Network: "unix", Address: p.socket(m.Name), User: box.User, HostKey: hostKey,
			Keys: []remote.Key{{File: filepath.Join(p.StateDir, machine.UserKeyFile), Signer: key}},
		}
		if p.Maker != nil && p.shows(m.Name, p.Maker.Store.Dir) {
			e.Shares = []remote.Share{{Here: p.Maker.Store.Dir, There: shareInside}}
		}
		all = append(all, e)
	}
	if len(all) == 0 {
		return nil, machine.ErrNotUp
	}
	return all, nil
}

// shows says whether a machine sees a directory of this computer. It doesn't when that was removed and made anew since the machine booted, or
// when LAB_CACHE has changed.
func (p *Provider) shows(name, dir string) bool {
	noted, err := os.ReadFile(filepath.Join(p.dir(name), "share"))
	return err == nil && sameDir(string(noted), dir)
}

// sameDir says whether a directory is the one that nspawn-boot.sh has noted.
func sameDir(noted, dir string) bool {
	info, err := os.Stat(dir)
	if err != nil {
		return false
	}
	at, ok := info.Sys().(*syscall.Stat_t)
	return ok && strings.TrimSpace(noted) == fmt.Sprintf("%d:%d", at.Dev, at.Ino)
}

// Status implements machine.Provider.
func (p *Provider) Status(ctx context.Context) ([]machine.Status, error) {
	if err := p.checkOwner(); err != nil {
		return nil, err
	}
	running, err := p.running()
	if err != nil {
		return nil, err
	}
	var all []machine.Status
	for _, m := range p.Plan.Machines {
		s := machine.Status{Machine: m.Name, Role: m.Role, Address: m.Address, State: machine.Absent}
		switch {
		case running[m.Name]:
			s.State, s.Memory = machine.Running, p.group(m.Name).memory()
		case computer.Exists(p.dir(m.Name)):
			s.State = machine.Stopped
		}
		all = append(all, s)
	}
	return all, nil
}

func (p *Provider) running() (map[string]bool, error) {
	running := map[string]bool{}
	for _, m := range p.Plan.Machines {
		pids, err := p.group(m.Name).pids()
		if err != nil {
			return nil, err
		}
		if len(pids) > 0 {
			running[m.Name] = true
		}
	}
	return running, nil
}

// Stop implements machine.Provider.
func (p *Provider) Stop(ctx context.Context) error {
	if err := errors.Join(p.checkOwner(), p.becomeRoot(ctx)); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, m := range p.Plan.Machines {
		g.Go(func() error {
			if err := p.halt(ctx, m.Name); err != nil {
				return fmt.Errorf("halting %s: %w", m.Name, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// Destroy implements machine.Provider. What isn't there any more is no error.
func (p *Provider) Destroy(ctx context.Context) error {
	if !computer.Exists(p.labDir()) && !p.labGroup().runs() {
		return p.checkOwner() // nothing was made: the directory is made first and removed last
	}
	if err := p.claim(ctx, true); err != nil {
		return err
	}
	// Not machine by machine: lab.yaml, where the plan comes from if the kept one is lost, may name others by now.
	if err := p.kill(ctx, "the lab "+p.Plan.Name, p.labGroup()); err != nil {
		return err
	}
	if err := p.limits(ctx, ""); err != nil {
		return err
	}
	_, err := p.Run.Run(ctx, command.Cmd{
		Args: []string{"bash", "-c", scripts.Text("nspawn-remove.sh"), "nspawn-remove.sh", p.labDir(), p.netns(), bridge, p.labGroup().path, "30"},
		Root: true, Timeout: 2 * time.Minute,
	})
	return err
}

// Remove implements machine.Remover.
func (p *Provider) Remove(ctx context.Context, name string) error {
	if err := errors.Join(p.checkOwner(), p.becomeRoot(ctx)); err != nil {
		return err
	}
	if err := p.kill(ctx, name, p.group(name)); err != nil {
		return err
	}
	_, err := p.Run.Run(ctx, command.Cmd{
		Args: []string{"bash", "-c", scripts.Text("nspawn-remove-machine.sh"), "nspawn-remove-machine.sh", p.dir(name), p.group(name).path}, Root: true, Timeout: time.Minute,
	})
	return err
}

// underlay makes the network namespace and the bridge in it.
func (p *Provider) underlay(ctx context.Context) error {
	_, err := p.Run.Root(ctx, "bash", "-c", scripts.Text("nspawn-underlay.sh"), "nspawn-underlay.sh",
		p.labDir(), p.netns(), bridge, fmt.Sprintf("%s/%d", p.Plan.Gateway, p.Plan.Subnet.Bits()))
	return err
}
