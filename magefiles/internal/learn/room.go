// Package learn walks a reader through the tutorial and the experiments on the lab's real machines. What it says about Calico stands in the chapters;
// what it does with them stands here.
package learn

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/calico-cni-lab/lab/magefiles/internal/baseline"
	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/learn/lesson"
	"github.com/calico-cni-lab/lab/magefiles/internal/learn/predicate"
	"github.com/calico-cni-lab/lab/magefiles/internal/learn/shell"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/run"
	"github.com/calico-cni-lab/lab/magefiles/internal/stage"
)

// Room is the lab as a lesson uses it: shells that stay open, and what can be seen.
type Room struct {
	run    *run.Run
	lab    *run.Lab
	shells map[string]*shell.Shell // by machine, "" for this computer
	states map[string]string       // what they had become when the step began, likewise
}

// commandTime is how long a lesson's command may take. A stage may have to boot something.
const commandTime = 2 * time.Minute

// endTime is how long something that was ended may take to be gone.
const endTime = 5 * time.Second

// Enter opens a room. The lab must be up.
func Enter(ctx context.Context, r *run.Run) (*Room, error) {
	l, err := r.Lab(ctx)
	if err != nil {
		return nil, err
	}
	if err := l.Running(ctx); err != nil {
		return nil, err
	}
	return &Room{run: r, lab: l, shells: map[string]*shell.Shell{}}, l.WriteSSHConfig()
}

// Leave ends the shells, and what still runs in them.
func (r *Room) Leave() error {
	var all errgroup.Group
	for _, s := range r.shells {
		all.Go(s.Close)
	}
	clear(r.shells)
	return all.Wait()
}

// Do runs a lesson's command where it belongs.
func (r *Room) Do(ctx context.Context, c lesson.Command, live func(string)) (string, error) {
	done, err := r.do(ctx, c, live)
	return done.Printed, err
}

func (r *Room) do(ctx context.Context, c lesson.Command, live func(string)) (shell.Result, error) {
	s, err := r.shell(ctx, c.Machine)
	if err != nil {
		return shell.Result{}, err
	}
	done, err := s.Run(ctx, c.Command, commandTime*time.Duration(r.lab.Slow), live)
	if err != nil {
		err = fmt.Errorf("%s$ %s: %w", c.Machine, c.Command, err)
	}
	return done, err
}

// Missing is what a step needs and the machines haven't, with why; "" where nothing is missing.
func (r *Room) Missing(ctx context.Context, step lesson.Step) (string, error) {
	for _, b := range step.Blocks {
		if b.Kind != lesson.Needs {
			continue
		}
		for _, c := range b.Commands {
			done, err := r.do(ctx, c, nil)
			if err != nil {
				return "", err
			}
			if done.Status != 0 {
				return fmt.Sprintf("%s (%s$ %s: exit status %d)", c.What, c.Machine, c.Command, done.Status), nil
			}
		}
	}
	return "", nil
}

func (r *Room) shell(ctx context.Context, name string) (*shell.Shell, error) {
	if s := r.shells[name]; s != nil && !s.Broken() {
		return s, nil
	} else if s != nil {
		if err := s.Close(); err != nil {
			return nil, err
		}
	}
	o := r.options(name)
	o.State = r.states[name]
	s, err := shell.Open(ctx, o)
	if err != nil {
		return nil, err
	}
	r.shells[name] = s
	return s, nil
}

// state is what the lesson's shell on a machine has become, as commands; "" where nothing was run there.
func (r *Room) state(ctx context.Context, name string) (string, error) {
	if s := r.shells[name]; s != nil && !s.Broken() {
		return s.State(ctx)
	}
	return r.states[name], nil
}

// keepShells notes what the shells have become, for those that come after them: of a lesson that was left, or where a command hangs.
func (r *Room) keepShells(ctx context.Context) error {
	states := maps.Clone(r.states)
	if states == nil {
		states = map[string]string{}
	}
	for name, s := range r.shells {
		if s.Broken() {
			continue
		}
		state, err := s.State(ctx)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err == nil:
			states[name] = state
		case !s.Broken(): // else it has ended, perhaps with its machine
			return fmt.Errorf("what the shell on %s has become: %w", s.Where, err)
		}
	}
	r.states = states
	return nil
}

// plain are variables of a shell whose output is to look the same everywhere.
const plain = "export LC_ALL=C.UTF-8 TERM=dumb COLUMNS=120 PAGER=cat NO_COLOR=1\n"

// options say how a shell is opened on a machine; "" is this computer.
func (r *Room) options(name string) shell.Options {
	if name == "" {
		return shell.Options{
			Where: command.Here, Args: []string{"bash", "--norc"}, Dir: r.run.Root, Kill: r.endHere,
			// The targets are compiled already: this program is what `go tool mage` would start.
			Setup: plain + `go() { if [ "$1 $2" = "tool mage" ]; then shift 2; "$LAB_TARGETS" "$@"; else command go "$@"; fi; }`,
			Env:   []string{"LAB_TARGETS=" + executable()},
		}
	}
	return shell.Options{
		Where: name, Setup: plain + "cd",
		Args: []string{"ssh", "-F", r.sshConfig(), name, "exec bash --login"},
		Kill: func(ctx context.Context, session int) error {
			h, err := r.lab.Observer().Host(ctx, name)
			if err != nil {
				return err
			}
			// sshd gives a command a session of its own (setsid(2)). pkill's exit status 1: there was nothing.
			_, err = h.Sudo(ctx, "pkill", "-KILL", "-s", strconv.Itoa(session))
			if command.Status(err) == 1 {
				return nil
			}
			return err
		},
	}
}

func (r *Room) sshConfig() string { return filepath.Join(r.run.StateDir, machine.SSHConfigFile) }

func executable() string {
	file, err := os.Executable()
	if err != nil {
		return os.Args[0]
	}
	return file
}

// endHere ends the processes of a session on this computer, which may take a moment to leave things in order.
func (r *Room) endHere(ctx context.Context, session int) error {
	for _, signal := range []string{"TERM", "KILL"} {
		_, err := r.run.Exec.Output(ctx, "pkill", "-"+signal, "-s", strconv.Itoa(session))
		if command.Status(err) == 1 { // there is nothing any more
			return nil
		}
		if err != nil {
			return err
		}
		if signal == "TERM" {
			_, _ = r.run.Exec.Run(ctx, command.Cmd{Args: []string{"timeout", "5", "bash", "-c", `while pgrep -s "$1" >/dev/null; do read -rt 0.1 <> <(:); done`, "bash", strconv.Itoa(session)}})
		}
	}
	return nil
}

// Predicates understands a step's checks.
func (r *Room) Predicates(expect []lesson.Expect) ([]predicate.Predicate, error) {
	var all []predicate.Predicate
	var errs []error
	for _, e := range expect {
		p, err := predicate.Parse(e.Predicate, r.lab.Names())
		if err != nil {
			errs = append(errs, fmt.Errorf("line %d: %w", e.Line, err))
		}
		all = append(all, p)
	}
	return all, errors.Join(errs...)
}

// probeTime is how long an answer may take.
const probeTime = time.Second

// See finds out everything that predicates need, once. before are the counters as they stood when the step began.
func (r *Room) See(ctx context.Context, all []predicate.Predicate, before map[predicate.Counter]fact.Seen[int64]) *predicate.State {
	s := &predicate.State{Before: before, Probes: map[predicate.Probe]fact.Seen[fact.Probe]{}}
	s.Counters = r.Counters(ctx, all) // first, because the packets that are sent below count
	if slices.ContainsFunc(all, func(p predicate.Predicate) bool { return p.Report }) {
		s.Report, s.Facts = r.report(ctx)
	} else {
		s.Facts = r.lab.Observer().Look(ctx, r.lab.Machines, nil)
	}
	if slices.ContainsFunc(all, func(p predicate.Predicate) bool { return p.Baseline }) {
		s.Restored = r.restored(ctx)
	}
	for _, p := range all {
		if p.Probe != (predicate.Probe{}) {
			s.Probes[p.Probe] = fact.See(r.probe(ctx, &s.Facts, p.Probe))
		}
	}
	return s
}

// restored is whether the lab is as its baseline says.
func (r *Room) restored(ctx context.Context) check.Finding {
	b, err := baseline.Read(r.run.StateDir)
	if err != nil {
		return check.CantSee("%v", err)
	}
	f := r.lab.Observer().Deep().Look(ctx, r.lab.Machines, nil)
	return baseline.Condition(b).Test(&f)
}

// Reset brings the lab back to its baseline; live has the lines that say what is undone.
func (r *Room) Reset(ctx context.Context, live func(string)) error {
	printed, err := r.Do(ctx, lesson.Command{Command: "go tool mage reset"}, live)
	if err != nil {
		return err
	}
	if f := r.restored(ctx); f.State != check.Holds {
		return fmt.Errorf("the lab isn't as it was: %s\n%s", f.Found, printed)
	}
	return nil
}

// report is what check says, and the facts that it says it of.
func (r *Room) report(ctx context.Context) (fact.Seen[check.Report], fact.Lab) {
	viewer := r.lab.Viewer()
	report, err := viewer.Peek(ctx, stage.Goal{Stages: []string{stage.Plumb}, Probe: true})
	if err != nil {
		return fact.Unknown[check.Report](err.Error()), r.lab.Observer().Look(ctx, r.lab.Machines, nil)
	}
	return fact.Known(report), viewer.Facts()
}

func (r *Room) probe(ctx context.Context, f *fact.Lab, p predicate.Probe) (fact.Probe, error) {
	sandbox := ""
	if p.From.Container != "" {
		c, ok := f.Machines[p.From.Machine].Docker.Value.Named(p.From.Container)
		sandbox = c.NetworkSettings.SandboxKey
		switch {
		case !ok:
			sandbox = "/run/netns/" + p.From.Container // where `ip netns add` makes them
		case sandbox == "":
			return fact.Probe{}, fmt.Errorf("container %s doesn't run", p.From)
		}
	}
	q := fact.ProbeRequest{To: []netip.Addr{p.To}, Port: p.Port, Within: probeTime * time.Duration(r.lab.Slow)}
	got, err := r.lab.Observer().Send(ctx, p.From.Machine, sandbox, q)
	if err == nil && len(got) != 1 {
		err = fmt.Errorf("%d answers of the probe, not 1", len(got))
	}
	if err != nil {
		return fact.Probe{}, err
	}
	return got[0], nil
}

// Counters are the counters that predicates are about, as they stand. A machine is asked once, whatever their number.
func (r *Room) Counters(ctx context.Context, all []predicate.Predicate) map[predicate.Counter]fact.Seen[int64] {
	rules := map[string]fact.Seen[string]{}
	now := map[predicate.Counter]fact.Seen[int64]{}
	for _, p := range all {
		c := p.Counter
		if c == (predicate.Counter{}) {
			continue
		}
		if _, asked := rules[c.Machine]; !asked {
			rules[c.Machine] = fact.See(r.rules(ctx, c.Machine))
		}
		seen := rules[c.Machine]
		now[c] = fact.Seen[int64]{Value: c.Count(seen.Value), Unknown: seen.Unknown}
	}
	return now
}

// rules are a machine's, with what they have counted.
func (r *Room) rules(ctx context.Context, machine string) (string, error) {
	h, err := r.lab.Observer().Host(ctx, machine)
	if err != nil {
		return "", err
	}
	return h.Sudo(ctx, "iptables-save", "--counters", "--table", "filter")
}

// settleTime is how long Calico may take until what a step did can be seen.
const settleTime = time.Minute

// Await looks until all predicates hold, or settleTime is over, and returns the last findings.
func (r *Room) Await(ctx context.Context, all []predicate.Predicate, before map[predicate.Counter]fact.Seen[int64]) []check.Finding {
	settled, cancel := context.WithTimeout(ctx, settleTime*time.Duration(r.lab.Slow))
	defer cancel()
	for {
		findings := Test(all, r.See(ctx, all, before)) // a look that was begun in time is finished
		open := slices.ContainsFunc(findings, func(f check.Finding) bool { return f.State != check.Holds })
		if !open || settled.Err() != nil {
			return findings
		}
		timer := time.NewTimer(300 * time.Millisecond)
		select {
		case <-timer.C:
		case <-settled.Done():
			timer.Stop()
		}
	}
}

// Test tests all predicates.
func Test(all []predicate.Predicate, s *predicate.State) []check.Finding {
	findings := make([]check.Finding, len(all))
	for i, p := range all {
		findings[i] = p.Test(s)
	}
	return findings
}

// Fits says what of a chapter isn't in this lab: a chapter names machines.
func (r *Room) Fits(c lesson.Chapter) error {
	missing := map[string]bool{}
	for _, s := range c.Steps {
		for _, b := range s.Blocks {
			for _, cmd := range b.Commands {
				if _, ok := r.lab.Machine(cmd.Machine); !ok && cmd.Machine != "" {
					missing[cmd.Machine] = true
				}
			}
		}
	}
	if len(missing) == 0 {
		return nil
	}
	if c.Lab != "" {
		return fmt.Errorf("%s is written for %s, and uses %s, which %s doesn't have; bring that lab up: LAB_FILE=%s go tool mage verify",
			c.Name, c.Lab, strings.Join(slices.Sorted(maps.Keys(missing)), " and "), r.run.LabFile, c.Lab)
	}
	return fmt.Errorf("the chapter uses %s, which %s doesn't have; chapters are written for the lab.yaml of the project",
		strings.Join(slices.Sorted(maps.Keys(missing)), " and "), r.run.LabFile)
}
