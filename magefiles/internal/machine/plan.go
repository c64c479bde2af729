package machine

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/keep"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
)

// PlanFile is the plan's file in the lab's state directory.
const PlanFile = "plan.json"

// Plan is the part of a lab that a provider needs. It is kept with the lab's state, so that a lab can be destroyed whose
// lab.yaml is gone or broken.
type Plan struct {
	Hardware string `json:"hardware"` // the Kind's name
	Name     string `json:"name"`
	lab.Underlay
	Gateway  netip.Addr `json:"gateway"`
	Machines []Planned  `json:"machines"`
}

// Planned is one machine of a Plan.
type Planned struct {
	Name    string     `json:"name"`
	Role    lab.Role   `json:"role"`
	Address netip.Addr `json:"address"`
	SSH     lab.SSH    `json:"ssh,omitzero"` // how to enter it, if it existed before the lab
}

// NewPlan returns the plan of a lab on a kind of hardware layer.
func NewPlan(hardware string, l *lab.Lab) Plan {
	p := Plan{Hardware: hardware, Name: l.Name, Underlay: l.Underlay, Gateway: l.Gateway()}
	for _, m := range l.Machines {
		p.Machines = append(p.Machines, Planned{Name: m.Name, Role: m.Role, Address: m.Address, SSH: m.SSH})
	}
	return p
}

// ErrPlan says that a plan is damaged.
var ErrPlan = errors.New("the file is damaged; run go tool mage destroy, which works without it, by lab.yaml, then go tool mage verify")

// renamed are names of kinds that a plan may still have, and what they are called now.
var renamed = map[string]string{"hosts": "ssh"}

// ReadPlan reads the plan that is kept in stateDir, and whether there is one. The error of a damaged one is ErrPlan.
func ReadPlan(stateDir string) (p Plan, exists bool, err error) {
	path := filepath.Join(stateDir, PlanFile)
	exists, err = keep.ReadJSON(path, &p)
	var unread *fs.PathError
	if !exists || errors.As(err, &unread) {
		return Plan{}, false, err
	}
	if err == nil {
		if err = p.valid(); err != nil {
			err = fmt.Errorf("%s: %w", path, err)
		}
	}
	if err != nil {
		return Plan{}, true, fmt.Errorf("%w; %w", err, ErrPlan)
	}
	if now, ok := renamed[p.Hardware]; ok {
		p.Hardware = now
	}
	return p, true, nil
}

// valid refuses a plan that lacks something. Names become names of directories, which Destroy removes.
func (p Plan) valid() error {
	names := []string{p.Name}
	for i, m := range p.Machines {
		names = append(names, m.Name)
		if !m.Address.IsValid() || m.Role == "" {
			return fmt.Errorf("machine %q has no address or no role", m.Name)
		}
		if slices.Contains(p.Names()[:i], m.Name) {
			return fmt.Errorf("there are two machines %q", m.Name)
		}
	}
	for _, name := range names {
		if name == "" || name == "." || name != filepath.Base(name) || !filepath.IsLocal(name) {
			return fmt.Errorf("%q is no name", name)
		}
	}
	if p.Hardware == "" || len(p.Machines) == 0 || !p.Subnet.IsValid() || !p.Gateway.IsValid() {
		return errors.New("the kind, the subnet, the gateway or the machines are missing")
	}
	return nil
}

// Write keeps the plan in stateDir, whole or not at all.
func (p Plan) Write(stateDir string) error {
	return keep.WriteJSON(filepath.Join(stateDir, PlanFile), p, 0o644)
}

// Roles are those that machines of the plan have, each once.
func (p Plan) Roles() []lab.Role {
	var all []lab.Role
	for _, m := range p.Machines {
		if !slices.Contains(all, m.Role) {
			all = append(all, m.Role)
		}
	}
	return all
}

// Names are the machines' names, in the plan's order.
func (p Plan) Names() []string {
	var all []string
	for _, m := range p.Machines {
		all = append(all, m.Name)
	}
	return all
}

// same says whether two machines are the same one, however each is entered.
func (m Planned) same(other Planned) bool {
	return m.Name == other.Name && m.Role == other.Role && m.Address == other.Address
}

// EnteredBy is the plan with the ways in that a newer one has for the same machines.
func (p Plan) EnteredBy(newer Plan) Plan {
	p.Machines = slices.Clone(p.Machines)
	for i, m := range p.Machines {
		if j := slices.IndexFunc(newer.Machines, m.same); j >= 0 {
			p.Machines[i].SSH = newer.Machines[j].SSH
		}
	}
	return p
}

// Gone are the machines that a newer plan has no more.
func (p Plan) Gone(newer Plan) []Planned {
	return slices.DeleteFunc(slices.Clone(p.Machines), func(m Planned) bool { return slices.Contains(newer.Names(), m.Name) })
}

// Differences says in which way another plan is one of another lab, for people; "" where it isn't. How the machines are entered
// may change at any time; where the lab resizes, so may machines come and go, as long as one of etcd's members stays, which has the data.
func (p Plan) Differences(other Plan, resizes bool) string {
	var all []string
	differ := func(what, have, want string) {
		if have != want {
			all = append(all, fmt.Sprintf("%s is %s, not %s", what, want, have))
		}
	}
	resizable := func(m Planned) bool { return resizes && (m.Role != lab.RoleEtcd || p.sharesMember(other)) }
	differ("the hardware layer", p.Hardware, other.Hardware)
	differ("its name", p.Name, other.Name)
	differ("the underlay", p.Subnet.String(), other.Subnet.String())
	differ("the gateway", p.Gateway.String(), other.Gateway.String())
	differ("what is behind a router", behind(p.Underlay), behind(other.Underlay))
	have := map[string]Planned{}
	for _, m := range p.Machines {
		have[m.Name] = m
	}
	for _, m := range other.Machines {
		old, there := have[m.Name]
		switch {
		case !there && !resizable(m):
			all = append(all, m.Name+" is new")
		case there && !old.same(m):
			all = append(all, m.Name+" has another role or address")
		}
	}
	for _, m := range p.Gone(other) {
		if !resizable(m) {
			all = append(all, m.Name+" is gone")
		}
	}
	return strings.Join(all, ", ")
}

// OneSubnet refuses a second subnet, where a layer can't have it.
func OneSubnet(u lab.Underlay) error {
	if !u.Behind.IsValid() {
		return nil
	}
	return fmt.Errorf("%s is behind a router, which machines of this kind can't be; use LAB_HARDWARE=nspawn, or take the key behind out of lab.yaml", u.Behind)
}

// behind is the second subnet, in words: every machine has its route to it from its making on.
func behind(u lab.Underlay) string {
	if !u.Behind.IsValid() {
		return "nothing"
	}
	return fmt.Sprintf("%s behind %s", u.Behind, u.Router)
}

// sharesMember says whether two plans have a member of etcd's in common.
func (p Plan) sharesMember(other Plan) bool {
	return slices.ContainsFunc(p.Machines, func(m Planned) bool {
		return m.Role == lab.RoleEtcd && slices.ContainsFunc(other.Machines, m.same)
	})
}
