// Package ssh is the hardware layer of machines that exist already: the lab logs in to them by SSH, and neither makes nor
// boots nor stops any.
package ssh

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/skeema/knownhosts"
	cryptossh "golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
	"github.com/calico-cni-lab/lab/scripts"
)

// answerTimeout is how long a machine may take to let a user in.
const answerTimeout = 20 * time.Second

// Name is what LAB_HARDWARE calls this layer.
const Name = "ssh"

// Provider implements machine.Provider.
type Provider struct{ machine.Options }

// Kind returns this kind of hardware layer.
func Kind() machine.Kind {
	return machine.Kind{
		Name:   Name,
		New:    func(o machine.Options) machine.Provider { return New(o) },
		Chosen: chosen,
	}
}

// chosen: lab.yaml says how to log in to a machine.
func chosen(_ context.Context, o machine.Options) (string, bool) {
	if o.Lab != nil && slices.ContainsFunc(o.Lab.Machines, func(m lab.Machine) bool { return m.SSH != lab.SSH{} }) {
		return "lab.yaml says how to log in to the machines", true
	}
	return "lab.yaml doesn't say how to log in to machines (machines.ssh)", false
}

// New returns a provider. Nothing is looked at yet.
func New(o machine.Options) *Provider { return &Provider{o} }

var _ machine.Provider = (*Provider)(nil)

// Name implements machine.Provider.
func (p *Provider) Name() string { return Name }

// Capabilities implements machine.Provider. Nobody knows how fast the machines are, or how far away.
func (p *Provider) Capabilities() machine.Capabilities {
	return machine.Capabilities{SlowCPU: true, Undo: true, Packages: true}
}

// address is where a machine's SSH server is: what lab.yaml says, else port 22 of its address on the underlay.
func address(m machine.Planned) string {
	return net.JoinHostPort(cmp.Or(m.SSH.Address, m.Address.String()), strconv.Itoa(cmp.Or(m.SSH.Port, 22)))
}

// endpoint returns where and how to log in to a machine. Its host key is the one in lab.yaml, else the pinned one, or the known one
// before there is a pinned one.
func (p *Provider) endpoint(m machine.Planned) (remote.Endpoint, error) {
	e := remote.Endpoint{Machine: m.Name, Network: "tcp", Address: address(m), User: m.SSH.User}
	if e.User == "" {
		me, err := user.Current()
		if err != nil {
			return e, fmt.Errorf("%s: no user in lab.yaml (machines.ssh.user), and none here: %w", m.Name, err)
		}
		e.User = me.Username
	}
	host, port, err := net.SplitHostPort(e.Address)
	if err != nil {
		return e, err
	}
	e.OtherKey = fmt.Sprintf("If you installed it anew or changed its key, put the new one into lab.yaml (machines.ssh.hostKey), as this prints it:\n"+
		"    ssh-keyscan -t ed25519 -p %s %s\n  then: go tool mage verify; or give the lab up without it: go tool mage destroy -force -forget=%s", port, host, m.Name)
	if e.Keys, err = keys(m); err != nil {
		return e, fmt.Errorf("%s: %w", m.Name, err)
	}
	e.HostKey, err = machine.HostKey(p.StateDir, m.Name)
	if m.SSH.HostKey != "" || errors.Is(err, machine.ErrNotUp) {
		e.HostKey, err = knownKey(m, e)
	}
	return e, err
}

// keys returns the private key that lab.yaml names; without one, those of ssh-agent and the user's own.
func keys(m machine.Planned) ([]remote.Key, error) {
	home, err := os.UserHomeDir()
	if err != nil {
		return nil, err
	}
	if file := m.SSH.Key; file != "" {
		if rest, ok := strings.CutPrefix(file, "~/"); ok {
			file = filepath.Join(home, rest)
		}
		key, err := remote.ReadKey(file)
		var locked *cryptossh.PassphraseMissingError
		if errors.As(err, &locked) {
			return nil, fmt.Errorf("%s has a passphrase; add it to ssh-agent (ssh-add %[1]s) and leave out machines.ssh.key", file)
		}
		return []remote.Key{key}, err
	}
	var all []remote.Key
	if socket := os.Getenv("SSH_AUTH_SOCK"); socket != "" {
		if conn, err := net.Dial("unix", socket); err == nil {
			// The connection stays open for as long as the keys may sign.
			if signers, err := agent.NewClient(conn).Signers(); err == nil {
				for _, s := range signers {
					all = append(all, remote.Key{Signer: s})
				}
			}
		}
	}
	for _, name := range []string{"id_ed25519", "id_ecdsa", "id_rsa"} { // ssh(1)'s order, without what nobody should use
		if key, err := remote.ReadKey(filepath.Join(home, ".ssh", name)); err == nil {
			all = append(all, key)
		}
	}
	if len(all) == 0 {
		return nil, errors.New("no private key: there is none in ssh-agent, and none without a passphrase in ~/.ssh; name one in lab.yaml (machines.ssh.key)")
	}
	return all, nil
}

// knownKey returns a host key that somebody has checked before: the one in lab.yaml, or in the user's known_hosts.
func knownKey(m machine.Planned, e remote.Endpoint) (cryptossh.PublicKey, error) {
	if m.SSH.HostKey != "" {
		key, _, _, _, err := cryptossh.ParseAuthorizedKey([]byte(m.SSH.HostKey))
		return key, err
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return nil, err
	}
	known, err := knownhosts.NewDB(filepath.Join(home, ".ssh", "known_hosts"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var keys []knownhosts.PublicKey
	if known != nil {
		keys = known.HostKeys(e.Address)
	}
	// Whom a certificate authority has signed isn't known by a key of its own.
	keys = slices.DeleteFunc(keys, func(k knownhosts.PublicKey) bool { return k.Cert })
	if len(keys) == 0 {
		host, port, _ := net.SplitHostPort(e.Address)
		return nil, fmt.Errorf("%s: its host key isn't known here yet; log in once and compare the key:\n    ssh -p %s %s@%s\n"+
			"  or put the key into lab.yaml (machines.ssh.hostKey), as this prints it:\n    ssh-keyscan -t ed25519 -p %[2]s %[4]s", m.Name, port, e.User, host)
	}
	best := slices.IndexFunc(keys, func(k knownhosts.PublicKey) bool { return k.Type() == cryptossh.KeyAlgoED25519 })
	return keys[max(best, 0)].PublicKey, nil
}

// Preflight implements machine.Provider. It logs in to every machine and reports all faults of all of them.
func (p *Provider) Preflight(ctx context.Context) error {
	return p.each(func(m machine.Planned) error {
		e, err := p.endpoint(m)
		if err != nil {
			return err
		}
		answering, cancel := context.WithTimeoutCause(ctx, answerTimeout, fmt.Errorf("gave up after %s", answerTimeout))
		defer cancel()
		h, err := remote.Dial(answering, e, p.Run.Log)
		if err != nil {
			host, port, _ := net.SplitHostPort(e.Address)
			return fmt.Errorf("%w; try: ssh -p %s %s@%s", err, port, e.User, host)
		}
		defer h.Close()
		out, err := h.Run(answering, "sh", "-c", scripts.Text("host-preflight.sh"), "host-preflight.sh", m.Address.String(), runtime.GOARCH)
		if err != nil {
			return err
		}
		var faults []error
		for line := range strings.Lines(out) {
			faults = append(faults, fmt.Errorf("%s: %s", m.Name, strings.TrimSpace(line)))
		}
		if len(faults) > 0 || p.Survey == nil { // without sudo little can be seen
			return errors.Join(faults...)
		}
		lines, err := p.Survey(ctx, m.Name, h)
		for _, line := range lines {
			faults = append(faults, fmt.Errorf("%s: %s", m.Name, line))
		}
		return errors.Join(append(faults, err)...)
	})
}

// each calls f for all machines at once, and returns all errors in the plan's order.
func (p *Provider) each(f func(machine.Planned) error) error {
	errs := make([]error, len(p.Plan.Machines))
	var wg sync.WaitGroup
	for i, m := range p.Plan.Machines {
		wg.Go(func() { errs[i] = f(m) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Up implements machine.Provider: it pins the host keys. From now on the machines are the lab's.
func (p *Provider) Up(context.Context) error {
	for _, m := range p.Plan.Machines {
		e, err := p.endpoint(m)
		if err != nil {
			return err
		}
		if known, err := machine.HostKey(p.StateDir, m.Name); err == nil && bytes.Equal(known.Marshal(), e.HostKey.Marshal()) {
			continue
		}
		if err := machine.SaveHostKey(p.StateDir, m.Name, e.HostKey); err != nil {
			return err
		}
	}
	return nil
}

// Endpoints implements machine.Provider: those of the machines that are the lab's. One that can't be entered from here says why.
func (p *Provider) Endpoints() ([]remote.Endpoint, error) {
	var all []remote.Endpoint
	for _, m := range p.Plan.Machines {
		_, err := machine.HostKey(p.StateDir, m.Name)
		if errors.Is(err, machine.ErrNotUp) {
			continue
		}
		e, err := p.endpoint(m)
		e.Err = err
		all = append(all, e)
	}
	if len(all) == 0 {
		return nil, machine.ErrNotUp
	}
	return all, nil
}

// Status implements machine.Provider. A machine is absent until it is the lab's, and stopped when it doesn't answer.
func (p *Provider) Status(ctx context.Context) ([]machine.Status, error) {
	all := make([]machine.Status, len(p.Plan.Machines))
	var wg sync.WaitGroup
	for i, m := range p.Plan.Machines {
		wg.Go(func() {
			all[i] = machine.Status{Machine: m.Name, Role: m.Role, Address: m.Address, State: machine.Absent}
			if _, err := machine.HostKey(p.StateDir, m.Name); err != nil {
				return
			}
			all[i].State = machine.Stopped
			conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", address(m))
			if err == nil {
				conn.Close()
				all[i].State = machine.Running
			}
		})
	}
	wg.Wait()
	return all, nil
}

// Stop implements machine.Provider: it refuses.
func (p *Provider) Stop(context.Context) error {
	return errors.New("these machines are not the lab's to stop; go tool mage unplumb removes the workloads, go tool mage destroy everything that the lab put there")
}

// Destroy implements machine.Provider. The machines stay; whoever calls it has undone what the stages did there (see
// machine.Capabilities.Undo).
func (p *Provider) Destroy(context.Context) error { return nil }
