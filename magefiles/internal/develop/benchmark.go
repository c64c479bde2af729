package develop

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/run"
)

// series is what something took, time after time.
type series struct {
	what  string
	costs []cost
}

// bench is a lab that is measured.
type bench struct {
	run      *run.Run
	lab      *run.Lab
	series   []*series // in the order of the table
	memories []int64   // of all machines, in bytes
}

// nodes is how many Calico nodes the lab has.
func (b *bench) nodes() int { return len(b.lab.ByRole(lab.RoleCalico)) }

// bgp is who speaks BGP with whom, for the table.
func (b *bench) bgp() string {
	switch n := len(b.lab.BGP.Reflectors); n {
	case 0:
		return "mesh"
	case 1:
		return "1 reflector"
	default:
		return fmt.Sprintf("%d reflectors", n)
	}
}

// reflectors are those of a lab that is measured with some.
const reflectors = 2

// What is measured, in the table's words.
const (
	whatCold    = "nothing cached to verified"
	whatFull    = "destroyed to verified, warm cache"
	whatAgain   = "`verify` again"
	whatCheck   = "`check`"
	whatDestroy = "`destroy`"
)

// Benchmark measures what docs/speed.md says and prints it as a table: wall time, and the CPU time of the whole computer, so
// nothing else should run on it. Labs of as many Calico nodes as nodes has are measured too, each in a mesh and with two route
// reflectors; with more than one number there, the times over the nodes are drawn into the directory docs. It destroys the lab; with
// cold it first empties the caches, and downloads and compiles everything once.
func Benchmark(ctx context.Context, r *run.Run, rounds int, nodes []int, cold bool) error {
	if err := atLeastOne(rounds); err != nil {
		return err
	}
	l, err := r.Lab(ctx)
	if err != nil {
		return err
	}
	if len(nodes) > 0 && l.Provider.Capabilities().Undo {
		return errors.New("-nodes: the lab's machines exist already, and the benchmark can't make more; leave -nodes out, or use LAB_HARDWARE=nspawn")
	}
	b := &bench{run: r, lab: l}
	if err := mage(ctx, r, nil, "destroy"); err != nil {
		return err
	}
	if cold {
		if err := b.cold(ctx); err != nil {
			return err
		}
	}
	if err := b.rounds(ctx, rounds); err != nil {
		return err
	}
	all := []*bench{b}
	defer func() { // also of one that fails later
		var rows [][]string
		for _, b := range all {
			rows = append(rows, b.rows()...)
		}
		r.Console.Table(columns, rows)
	}()
	for _, n := range nodes {
		for _, reflecting := range []int{0, reflectors} {
			more, err := manyNodes(ctx, r, l, rounds, n, reflecting)
			if more != nil && more.lab != nil {
				all = append(all, more)
			}
			if err != nil {
				return err
			}
		}
	}
	if len(nodes) < 2 {
		return nil
	}
	return draw(r, all)
}

var columns = []string{"machines", "BGP", "what", "runs", "wall min", "median", "max", "CPU-s min", "median", "max"}

// manyNodes measures a lab with that many Calico nodes, which it makes for this and destroys in the end, whatever happens.
func manyNodes(ctx context.Context, r *run.Run, l *run.Lab, rounds, nodes, reflecting int) (b *bench, err error) {
	dir, err := os.MkdirTemp("", "calico-cni-lab-nodes.")
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "lab.yaml")
	own := &run.Run{Console: r.Console, Exec: r.Exec, Root: r.Root, LabFile: file, StateDir: filepath.Join(dir, ".lab")}
	defer func() {
		if _, exists, perr := own.Plan(); exists || perr != nil {
			// Also after Ctrl-C. Mage waits five seconds for that; a destroy that takes longer goes on by itself.
			if derr := mage(context.WithoutCancel(ctx), own, nil, "destroy"); derr != nil {
				err = errors.Join(err, fmt.Errorf("%w; the lab is still there: LAB_FILE=%s go tool mage destroy", derr, file))
				return
			}
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	data, err := lab.Whole(r.LabFile)
	if err != nil {
		return nil, err
	}
	if data, err = withNodes(data, l.Lab, nodes, reflecting); err != nil {
		return nil, fmt.Errorf("-nodes=%d: %w", nodes, err)
	}
	if err := os.WriteFile(file, data, 0o644); err != nil {
		return nil, err
	}
	b = &bench{run: own}
	if b.lab, err = own.Lab(ctx); err != nil {
		return nil, err
	}
	return b, b.rounds(ctx, rounds)
}

// rounds measures a lab that doesn't exist, time after time.
func (b *bench) rounds(ctx context.Context, rounds int) error {
	for i := range rounds {
		b.run.Console.Notice("%d machines, %s, round %d of %d", len(b.lab.Machines), b.bgp(), i+1, rounds)
		for _, step := range [][2]string{{whatFull, "verify"}, {whatAgain, "verify"}, {whatCheck, "check"}} {
			if err := b.timed(ctx, step[0], nil, step[1]); err != nil {
				return err
			}
		}
		if err := b.weigh(ctx); err != nil {
			return err
		}
		if err := b.timed(ctx, whatDestroy, nil, "destroy"); err != nil {
			return err
		}
	}
	return nil
}

// timed runs a target and notes what it took.
func (b *bench) timed(ctx context.Context, what string, env []string, target string) error {
	took, err := measure(func() error { return mage(ctx, b.run, env, target) })
	if err != nil {
		return err
	}
	for _, s := range b.series {
		if s.what == what {
			s.costs = append(s.costs, took)
			return nil
		}
	}
	b.series = append(b.series, &series{what, []cost{took}})
	return nil
}

// weigh notes how much memory the machines use, where the hardware layer knows.
func (b *bench) weigh(ctx context.Context) error {
	machines, err := machine.Measured(ctx, b.lab.Provider)
	if err != nil {
		return err
	}
	var sum int64
	for _, m := range machines {
		sum += m.Memory
	}
	if sum > 0 {
		b.memories = append(b.memories, sum)
	}
	return nil
}

// cold measures once with nothing in any cache.
func (b *bench) cold(ctx context.Context) error {
	if err := mage(ctx, b.run, nil, "clean"); err != nil {
		return err
	}
	temp, err := os.MkdirTemp("", "calico-cni-lab-cold.")
	if err != nil {
		return err
	}
	defer b.run.Exec.Run(context.WithoutCancel(ctx), command.Cmd{Args: []string{"rm", "-rf", temp}, Timeout: 5 * time.Minute})
	b.run.Console.Notice("cold: everything downloaded and compiled anew")
	// The module cache is read-only by default.
	env := []string{"GOCACHE=" + temp + "/build", "GOMODCACHE=" + temp + "/mod", "GOFLAGS=-modcacherw", "MAGEFILE_CACHE=" + temp + "/mage"}
	if err := b.timed(ctx, whatCold, env, "verify"); err != nil {
		return err
	}
	return mage(ctx, b.run, nil, "destroy")
}

// rows are the lab's of the table.
func (b *bench) rows() [][]string {
	machines := fmt.Sprint(len(b.lab.Machines))
	var rows [][]string
	for _, s := range b.series {
		var walls, cpus []time.Duration
		for _, c := range s.costs {
			walls, cpus = append(walls, c.wall), append(cpus, c.cpu)
		}
		row := append([]string{machines, b.bgp(), s.what, fmt.Sprint(len(walls))}, spread(walls, seconds)...)
		rows = append(rows, append(row, spread(cpus, cpuSeconds)...))
	}
	if len(b.memories) > 0 {
		what := "memory of " + machines + " machines"
		row := append([]string{machines, b.bgp(), what, fmt.Sprint(len(b.memories))}, spread(b.memories, megabytes)...)
		rows = append(rows, append(row, "", "", ""))
	}
	return rows
}

func megabytes(n int64) string { return fmt.Sprintf("%d MB", n>>20) }

func cpuSeconds(d time.Duration) string {
	if d == 0 { // not known on this computer
		return "-"
	}
	return fmt.Sprintf("%.1f", d.Seconds())
}
