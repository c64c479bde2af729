// Package machine is the hardware layer: what brings up a lab's machines, so that the stages see nothing but SSH endpoints
// with a user who may use sudo. The kinds that there are, and the choice between them, are in package kind.
package machine

import (
	"context"
	"errors"
	"net/netip"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
)

// Home is the directory for everything that root owns on this computer: trees and stores that machines are made from, and
// one directory for each lab of nspawn containers.
const Home = "/var/lib/calico-cni-lab"

// TakeOverVariable has the name of a lab that is somebody else's, or whose directory can't be found, and that the user says is gone.
const TakeOverVariable = "LAB_TAKE_OVER"

// Provider brings up the machines of one lab. Every method may be called again at any time, also after a call that was
// interrupted, and finishes what is unfinished.
type Provider interface {
	// Name is what LAB_HARDWARE calls the provider's kind.
	Name() string
	// Capabilities returns what code outside of the hardware layer may want to know of the machines. It is cheap.
	Capabilities() Capabilities
	// Preflight returns an error that lists everything that would stop Up. It changes nothing.
	Preflight(ctx context.Context) error
	// Up installs what this computer lacks, makes the machines that don't exist, boots those that don't run, and returns
	// once all of them take connections.
	Up(ctx context.Context) error
	// Endpoints returns the SSH endpoints of the machines that are there, in the plan's order; ErrNotUp where there are none yet.
	Endpoints() ([]remote.Endpoint, error)
	// Status returns what exists, in the plan's order.
	Status(ctx context.Context) ([]Status, error)
	// Stop halts the machines in order and keeps what is on them.
	Stop(ctx context.Context) error
	// Destroy removes everything that Up made, without asking the machines.
	Destroy(ctx context.Context) error
}

// Meter is a provider that can say what its machines use of memory, in bytes by their names. It may take a second.
type Meter interface {
	Memory(ctx context.Context) (map[string]int64, error)
}

// Boxer is a provider whose machines start from a tree of files that is made on this computer.
type Boxer interface {
	// Box makes it, and returns its artifact's directory, and whether that is root's.
	Box(ctx context.Context) (dir string, root bool, err error)
}

// Measured returns what exists, with the memory that machines use where it is known.
func Measured(ctx context.Context, p Provider) ([]Status, error) {
	all, err := p.Status(ctx)
	meter, ok := p.(Meter)
	if err != nil || !ok {
		return all, err
	}
	used, err := meter.Memory(ctx)
	for i := range all {
		all[i].Memory = max(all[i].Memory, used[all[i].Machine])
	}
	return all, err
}

// Remover is a provider whose lab may lose machines while it stands.
type Remover interface {
	// Remove removes what Up made of one machine, without asking it. What isn't there any more is no error.
	Remove(ctx context.Context, name string) error
}

// Resizes says whether a lab may get other machines beside those that it keeps. Of machines that outlive the lab only what the stages
// did is undone.
func Resizes(p Provider) bool {
	_, ok := p.(Remover)
	return ok || p.Capabilities().Undo
}

// Capabilities are the properties of a provider's machines that code outside of the hardware layer may depend on. Nothing
// there depends on a provider's name.
type Capabilities struct {
	SlowCPU        bool // commands may take many times longer than on this computer: an emulated CPU, or one nobody knows
	Undo           bool // the machines outlive the lab: destroying it has to take back what the stages did on them
	Packages       bool // the machines may reach a mirror of their distribution's packages
	RepairsNetwork bool // the lab configured the machines' interface on the underlay, so a stage may set it up again
}

// Options are what a provider is made with.
type Options struct {
	Plan Plan
	// Lab is nil while lab.yaml can't be read. Then only Endpoints, Status, Stop and Destroy work.
	Lab        *lab.Lab
	LabFile    string // lab.yaml, absolute
	ProjectDir string // the project's directory, absolute
	StateDir   string // the lab's state directory, absolute
	Run        *command.Runner
	Maker      *artifact.Maker // nil where Lab is nil
	Store      *artifact.Store // of what root owns, in box.CacheDir; nil where Lab is nil
	Notice     func(format string, args ...any)
	TakeOver   string // the lab whose leftovers of somebody else's the user says may be removed, see TakeOverVariable
	// Files returns the files that are the same on every machine of a role: calicoctl, the CNI plugins, cnitool, Go's
	// profile. A provider that can put them there before the first boot does; for the others the stages do. May be nil.
	Files func(context.Context, lab.Role) ([]remote.File, error)
	// Survey returns what is in the lab's way on a machine that exists already, and changes nothing there. May be nil.
	Survey func(context.Context, string, *remote.Host) ([]string, error)
}

// ErrNoLab is what a provider without Options.Lab returns where it can't do without.
var ErrNoLab = errors.New("lab.yaml can't be read, and machines can't be made without it; correct it first")

// Kind is one kind of hardware layer.
type Kind struct {
	Name string // what LAB_HARDWARE calls it
	// New makes a provider for o.Plan. It looks at nothing and changes nothing.
	New func(o Options) Provider
	// Chosen reports whether a new lab, o.Lab, is on this kind where nobody asked for one, and why (not). It changes nothing.
	Chosen func(ctx context.Context, o Options) (reason string, ok bool)
	// Fit has o.Maker make what this kind's machines run, where that isn't what runs here: another CPU's, or made another way. nil: it is.
	Fit func(ctx context.Context, o Options) error
	// Otherwise is Chosen for a lab that no kind takes for certain: whether this one may be tried. May be nil.
	Otherwise func(ctx context.Context, o Options) (reason string, ok bool)
	// CacheUsers returns the directories of the labs whose machines stand on what is in o.Store; nil: none can. As root, where o.Store exists.
	CacheUsers func(ctx context.Context, o Options) ([]string, error)
	// Clean removes from this computer what this kind keeps of boxes beside the cache, once no machine is made of it; nil: nothing.
	Clean func(ctx context.Context, o Options) error
}

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
	Memory  int64 // in use, in bytes; 0 where it isn't known
}

// ErrNotUp says that a lab's machines are not there or not running.
var ErrNotUp = errors.New("the lab is not up; bring it up with: go tool mage verify")
