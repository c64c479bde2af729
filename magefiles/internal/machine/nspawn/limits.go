package nspawn

import (
	"context"
	"fmt"
	"math/bits"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/computer"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/scripts"
)

// The kernel counts inotify instances by user, and what is in a user namespace counts for the user who made it, too: for root,
// here (inotify(7), user_namespaces(7)). A machine for which none is left hangs at boot.
const (
	inotifyMachine = 8  // of systemd 5, one of D-Bus and one of calico-node; counted, and a bit
	inotifyOthers  = 16 // for what root may start beside the machines
)

// instances prints how many inotify instances count for root: those of root's processes, and of users that only machines have.
const instances = `find /proc/[0-9]*/fd -lname anon_inode:inotify -printf '%U\n' 2>/dev/null | awk '$1 == 0 || $1 >= 524288 { n++ } END { print n + 0 }'`

// need is what a limit of this computer's kernel has to be for a lab.
type need struct {
	name string // as sysctl(8) has it
	at   int
}

// load is how much a lab puts on this computer.
type load struct {
	machines, workloads int
	starting, instances int // machines that don't run yet; inotify instances that are in use
}

// needs are the limits that a load comes near to, of those that count for all of this computer's containers together.
func (l load) needs() []need {
	return []need{
		{"fs.inotify.max_user_instances", roundUp(l.instances + l.starting*inotifyMachine + inotifyOthers)},
		{"fs.inotify.max_user_watches", l.machines * 512},
		{"fs.file-max", 65536 + l.machines*4096 + l.workloads*256},
		{"kernel.pid_max", 16384 + l.machines*256 + l.workloads*32},
		{"kernel.threads-max", 16384 + l.machines*256 + l.workloads*32},
		// The ARP cache is one for all network namespaces: each machine knows all others, and its own workloads.
		{"net.ipv4.neigh.default.gc_thresh2", 256 + l.machines*l.machines + 2*l.workloads},
		{"net.ipv4.neigh.default.gc_thresh3", 512 + 2*(l.machines*l.machines+2*l.workloads)},
		// By ping and over TCP each workload's packets are a connection on two machines.
		{"net.netfilter.nf_conntrack_max", 16384 + l.workloads*1024},
	}
}

// roundUp returns the next power of two.
func roundUp(n int) int { return 1 << bits.Len(uint(n-1)) }

// load is the lab's.
func (p *Provider) load(ctx context.Context, starting int) (load, error) {
	l := load{machines: len(p.Plan.Machines), starting: starting}
	for _, m := range p.Lab.ByRole(lab.RoleCalico) {
		l.workloads += m.Workloads.Count
	}
	out, err := p.Run.Root(ctx, "bash", "-c", instances)
	if err != nil {
		return l, err
	}
	if l.instances, err = strconv.Atoi(out); err != nil {
		return l, fmt.Errorf("counting inotify instances: %w", err)
	}
	return l, nil
}

// raiseLimits raises this computer's limits to what the lab needs, where they are lower.
func (p *Provider) raiseLimits(ctx context.Context, starting int) error {
	l, err := p.load(ctx, starting)
	if err != nil {
		return err
	}
	var args, remedy []string
	for _, n := range l.needs() {
		args = append(args, n.name, strconv.Itoa(n.at))
		if is, ok := limit("/", n.name); ok && is < n.at {
			remedy = append(remedy, fmt.Sprintf("%s=%d", n.name, n.at))
		}
	}
	return p.limits(ctx, "raise them: sudo sysctl "+strings.Join(remedy, " "), args...)
}

// limits puts the limits back that no other lab needs, without arguments; with them it raises those.
func (p *Provider) limits(ctx context.Context, hint string, args ...string) error {
	out, err := p.Run.Run(ctx, command.Cmd{
		Args: append([]string{"bash", "-c", scripts.Text("nspawn-limits.sh"), "nspawn-limits.sh", p.labDir(), "/proc/sys"}, args...), Root: true, Hint: hint,
	})
	for line := range strings.Lines(out) {
		p.Notice("%s", strings.TrimSpace(line))
	}
	return err
}

// limit reads one of the kernel's; ok is false where it has none of the name.
func limit(root, name string) (n int, ok bool) {
	data, err := os.ReadFile(filepath.Join(root, "proc/sys", strings.ReplaceAll(name, ".", "/")))
	if err != nil {
		return 0, false
	}
	n, err = strconv.Atoi(strings.TrimSpace(string(data)))
	return n, err == nil // what is larger than an int is no limit
}

// What machines take of memory, in MB: measured, and a bit. Of a Calico node calico-node's programs are the largest part.
const (
	nodeMemory     = 165
	workloadMemory = 8
	etcdMemory     = 120
	spareMemory    = 128
)

// checkMemory refuses to boot machines for which there is no room.
func (p *Provider) checkMemory(running map[string]bool) error {
	need := int64(spareMemory)
	for _, m := range p.Lab.Machines {
		switch {
		case running[m.Name]:
		case m.Role != lab.RoleCalico:
			need += etcdMemory
		default:
			need += nodeMemory + int64(m.Workloads.Count)*workloadMemory
		}
	}
	return memoryFault(len(p.Lab.Machines)-len(running), need, computer.FreeMemory())
}

// memoryFault says what is too little, in MB. free is 0 where it isn't known.
func memoryFault(machines int, need, free int64) error {
	if free == 0 || need <= free {
		return nil
	}
	return fmt.Errorf("%d machines take some %d MB of memory, and %d MB are free; write fewer machines or workloads into lab.yaml, or end something else", machines, need, free)
}
