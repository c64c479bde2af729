// Package machine is the hardware layer: what brings up a lab's machines, so that the stages see nothing
// but SSH endpoints with a user that may use sudo.
package machine

import (
	"context"
	"errors"
	"net/netip"

	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
)

// Home is where everything lies that root owns on this computer: trees and stores that machines are made from, and one
// directory for each embedded lab.
const Home = "/var/lib/calico-cni-lab"

// Hosts is what LAB_HARDWARE calls machines that exist already.
const Hosts = "hosts"

// Provider is one kind of hardware layer. Every method may be called again at any time, also after one that
// was interrupted, and finishes what is unfinished.
type Provider interface {
	// Name is what LAB_HARDWARE calls it.
	Name() string
	// Preflight gives everything that would stop Up, and makes nothing.
	Preflight(ctx context.Context) error
	// Up installs what this computer lacks, makes the machines that don't exist, boots those that don't run, and returns
	// when they take connections. It says how many it made and booted.
	Up(ctx context.Context) (Change, error)
	// Endpoints are the machines' SSH endpoints, in the plan's order.
	Endpoints() ([]remote.Endpoint, error)
	// Status says what exists, in the plan's order.
	Status(ctx context.Context) ([]Status, error)
	// Stop halts the machines in order and keeps what is on them.
	Stop(ctx context.Context) error
	// Destroy removes everything that Up made, without asking the machines.
	Destroy(ctx context.Context) error
}

// Change is what Up did.
type Change struct{ Made, Booted int }

// State is what a machine is.
type State string

// The states.
const (
	Absent  State = "absent"
	Stopped State = "stopped"
	Running State = "running"
)

// Status of one machine.
type Status struct {
	Machine string
	Role    lab.Role
	Address netip.Addr
	State   State
	Memory  int64 // bytes in use, 0 where it can't be known
}

// Plan is the part of a lab that a provider needs. It is kept with the lab's state, so that a lab can be
// destroyed whose lab.yaml is gone or broken.
type Plan struct {
	Hardware string       `json:"hardware"`
	Name     string       `json:"name"`
	Subnet   netip.Prefix `json:"subnet"`
	Gateway  netip.Addr   `json:"gateway"`
	Machines []Planned    `json:"machines"`
}

// Planned is one machine of a Plan.
type Planned struct {
	Name    string     `json:"name"`
	Role    lab.Role   `json:"role"`
	Address netip.Addr `json:"address"`
	SSH     *lab.SSH   `json:"ssh,omitempty"` // of machines that exist already
}

// NewPlan takes the plan from a lab.
func NewPlan(hardware string, l *lab.Lab) Plan {
	p := Plan{Hardware: hardware, Name: l.Name, Subnet: l.Subnet, Gateway: l.Gateway()}
	for _, m := range l.Machines {
		planned := Planned{Name: m.Name, Role: m.Role, Address: m.Address}
		if hardware == Hosts {
			planned.SSH = &m.SSH
		}
		p.Machines = append(p.Machines, planned)
	}
	return p
}

// ErrNotUp says that a lab's machines are not there or not running.
var ErrNotUp = errors.New("the lab is not up; bring it up with: go tool mage verify")
