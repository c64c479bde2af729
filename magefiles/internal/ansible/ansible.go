package ansible

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/calico-cni-lab/lab/magefiles/internal/computer"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/run"
)

// Needs are what the flow takes on this computer. The playbooks use nothing beside ansible.builtin.
var Needs = []computer.Need{{Program: "ansible-playbook", Package: "ansible-core"}}

// Playbooks are what makes the whole lab, in their order.
var Playbooks = []string{"site.yml", "ippool.yml", "calico_networking.yml"}

// Command is the command line that runs all playbooks, in the directory ansible/.
func Command() []string {
	return append([]string{"ansible-playbook", "--inventory", "inventory"}, Playbooks...)
}

// Missing is the error for a computer without Ansible.
func Missing() error {
	if len(computer.Missing(Needs)) == 0 {
		return nil
	}
	return errors.New("ansible-playbook is not installed; on Debian run: sudo apt-get install ansible-core")
}

// Print prints the inventory of the machines that run, as JSON to standard output; what is reported meanwhile goes to standard
// error. Artifacts that the playbooks need and that aren't in the cache are made.
func Print(ctx context.Context, r *run.Run) error {
	r.Console.Redirect(os.Stderr)
	l, err := r.Lab(ctx)
	if err != nil {
		return err
	}
	if l.Provider.Capabilities().Undo {
		return errors.New("the playbooks replace files without keeping what was there, so they are for machines that the lab made; use: go tool mage verify")
	}
	if err := l.Running(ctx); err != nil {
		return err
	}
	s, err := l.Spec(ctx)
	if err != nil {
		return err
	}
	machines, err := look(ctx, l)
	if err != nil {
		return err
	}
	if err := l.WriteSSHConfig(); err != nil {
		return err
	}
	inv, err := New(s, machines, filepath.Join(r.StateDir, machine.SSHConfigFile))
	if err != nil {
		return err
	}
	enc := json.NewEncoder(os.Stdout)
	enc.SetIndent("", "  ")
	return enc.Encode(inv)
}

// look looks at the machines.
func look(ctx context.Context, l *run.Lab) (map[string]Machine, error) {
	endpoints, err := l.Provider.Endpoints()
	if err != nil {
		return nil, err
	}
	f := l.Observer().Look(ctx, l.Machines, nil)
	all := map[string]Machine{}
	for _, e := range endpoints {
		seen, ok := f.Machine(e.Machine)
		if !ok {
			return nil, fmt.Errorf("%s: %s; see: go tool mage status", e.Machine, f.Unreached[e.Machine])
		}
		all[e.Machine] = Machine{Endpoint: e, Login: seen.Login, Lacks: seen.Lacks}
	}
	return all, nil
}
