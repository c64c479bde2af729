package session

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/calico-cni-lab/lab/magefiles/internal/calico"
	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/stage"
	"github.com/calico-cni-lab/lab/magefiles/internal/ui"
)

// Run runs one stage. The first stage of a session that fails ends the others.
func (s *Session) Run(make func(*stage.Env) stage.Stage) error {
	if err := s.ctx.Err(); err != nil {
		return s.cause()
	}
	err := s.runStage(make)
	if err == nil {
		return nil
	}
	if s.ctx.Err() != nil {
		return s.cause()
	}
	s.cancel(err)
	if context.Cause(s.ctx) == err { //nolint:errorlint // whether this is the first of several
		s.collectFailed()
	}
	return err
}

func (s *Session) cause() error {
	if cause := context.Cause(s.ctx); errors.Is(cause, context.Canceled) {
		return errInterrupted
	}
	return errStopped
}

func (s *Session) runStage(make func(*stage.Env) stage.Stage) error {
	if _, err := s.Lab(); err != nil {
		return err
	}
	if err := s.begin(); err != nil {
		return err
	}
	st := make(s.env)
	if err := stage.Run(s.ctx, st, s.Console); err != nil {
		return fmt.Errorf("%s: %w", st.Name(), err)
	}
	return nil
}

// Up is the stage that brings up the machines.
func (s *Session) Up(e *stage.Env) stage.Stage { return stage.Up(e, planned{s.provider, s}) }

// planned is a provider whose plan is kept before it makes anything, so that it can be destroyed without lab.yaml.
type planned struct {
	machine.Provider
	s *Session
}

func (p planned) Up(ctx context.Context) (machine.Change, error) {
	p.s.Console.Notice("machines: %s (%s)", p.Name(), p.s.why)
	if err := machine.NewPlan(p.Name(), p.s.lab).Write(p.s.stateDir); err != nil {
		return machine.Change{}, err
	}
	// What the later stages need is made meanwhile. Whoever needs it gets its error.
	go func() { _ = p.s.maker.Compile(p.s.ctx) }()
	return p.Provider.Up(ctx)
}

// Verify checks the lab after the stages, with time for BIRD and Felix to settle.
func (s *Session) Verify(asJSON bool) error {
	err := stage.Traced(s.ctx, "verify", "check", func(context.Context) error { return s.check(asJSON, 4*checkTime) })
	if err != nil && s.ctx.Err() == nil {
		s.collectFailed()
	}
	if err := errors.Join(err, s.writeTimeline()); err != nil || asJSON {
		return err
	}
	s.Console.Finished(time.Since(s.start), "go tool mage ssh "+s.lab.ByRole(lab.RoleCalico)[0].Name)
	return nil
}

// KeepTimeline has the run write when each stage did what on which machine.
func (s *Session) KeepTimeline() {
	s.trace = &stage.Trace{}
	s.ctx = stage.WithTrace(s.ctx, s.trace)
}

func (s *Session) writeTimeline() error {
	if s.trace == nil {
		return nil
	}
	file := filepath.Join(s.stateDir, "timeline.md")
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	if err := errors.Join(s.trace.Mermaid(f), f.Close()); err != nil {
		return err
	}
	s.Console.Notice("timeline: %s", file)
	return nil
}

// checkTime is how long a condition may take to hold on machines as fast as this computer. Others get more.
const (
	checkTime  = 5 * time.Second
	slowFactor = 12 // an emulated CPU beside other work on this computer; 25 s were measured without
)

// Check looks at the lab and changes nothing.
func (s *Session) Check(asJSON bool) error { return s.check(asJSON, checkTime) }

func (s *Session) check(asJSON bool, limit time.Duration) error {
	l, err := s.Lab()
	if err != nil {
		return err
	}
	if err := s.running(); err != nil {
		return err
	}
	if s.provider.Capabilities().SlowCPU {
		limit *= slowFactor
	}
	ctx, cancel := context.WithTimeoutCause(s.ctx, limit, fmt.Errorf("not after %s", limit))
	defer cancel()
	hosts, err := s.Hosts(ctx)
	if err != nil {
		// A machine that has just died was still running a moment ago.
		return cmp.Or(s.running(), err)
	}
	report := check.Run(s.ctx, check.Subject{Lab: l, Pins: s.maker.Pins, Hosts: hosts}, limit)
	if s.ctx.Err() != nil {
		return s.cause()
	}
	if err := summarize(func(w io.Writer) { ui.Markdown(w, report) }); err != nil {
		return err
	}
	if asJSON {
		enc := json.NewEncoder(os.Stdout)
		enc.SetIndent("", "  ")
		if err := enc.Encode(report); err != nil {
			return err
		}
	} else {
		s.Console.Report(report)
	}
	if failed := report.Failed(); len(failed) > 0 {
		return fmt.Errorf("%d of %d conditions do not hold; the first: %s", len(failed), len(report.Results), failed[0].Name)
	}
	return nil
}

// running says which machines are not.
func (s *Session) running() error {
	all, err := s.provider.Status(s.ctx)
	if err != nil {
		return err
	}
	var off []string
	stopped := false
	for _, m := range all {
		if m.State != machine.Running {
			off = append(off, m.Machine+" is "+string(m.State))
			stopped = stopped || m.State == machine.Stopped
		}
	}
	switch {
	case len(off) == 0:
		return nil
	case stopped:
		return fmt.Errorf("%s; boot with: go tool mage start", strings.Join(off, ", "))
	default:
		return machine.ErrNotUp
	}
}

// ShowPlumbed shows the plumbed workloads.
func (s *Session) ShowPlumbed() error {
	hosts, err := s.Hosts(s.ctx)
	if err != nil {
		return err
	}
	// BIRD exports a new block's route a moment after the address is assigned from it.
	ctx, cancel := context.WithTimeout(s.ctx, 5*time.Second)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		workloads, err := calico.Workloads(ctx, hosts, s.lab)
		if err != nil {
			return err
		}
		routed := true
		for _, w := range workloads {
			routed = routed && w.Block.IsValid()
		}
		if routed || ctx.Err() != nil {
			s.Console.Plumbed(workloads)
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// Unplumb takes the workloads back.
func (s *Session) Unplumb() error {
	if _, err := s.Lab(); err != nil {
		return err
	}
	if err := s.begin(); err != nil {
		return err
	}
	if err := s.running(); err != nil {
		return err
	}
	if err := stage.Unplumb(s.ctx, s.env); err != nil {
		return err
	}
	s.Console.Notice("the workloads are gone, their addresses released; plumb again with: go tool mage plumb")
	return nil
}

// Stop halts the machines.
func (s *Session) Stop() error {
	if err := s.Exists(); err != nil {
		return err
	}
	if err := s.begin(); err != nil {
		return err
	}
	if err := s.provider.Stop(s.ctx); err != nil {
		return err
	}
	s.Console.Finished(time.Since(s.start), "go tool mage start")
	return nil
}

// Exists refuses a lab that was never made, for targets that must not make one.
func (s *Session) Exists() error {
	if _, err := s.Lab(); err != nil {
		return err
	}
	if _, exists, err := machine.ReadPlan(s.stateDir); err != nil || !exists {
		return errors.Join(err, machine.ErrNotUp)
	}
	return nil
}

// Destroy removes the lab, from its kept plan where there is one: lab.yaml may be gone or broken. On machines that stay
// it undoes what the stages did, and asks before, unless force.
func (s *Session) Destroy(force bool) error {
	plan, exists, err := machine.ReadPlan(s.stateDir)
	if errors.Is(err, machine.ErrPlan) { // lab.yaml says as much, unless it was changed
		err, exists = os.Remove(filepath.Join(s.stateDir, machine.PlanFile)), false
	}
	if err != nil || !exists {
		l, lerr := s.Lab()
		if lerr != nil {
			if err == nil && errors.Is(lerr, os.ErrNotExist) {
				err = lerr
			}
			return errors.Join(err, lerr)
		}
		plan = machine.NewPlan(s.provider.Name(), l)
	}
	if err := s.begin(); err != nil {
		return err
	}
	provider, err := s.newProvider(plan)
	if err != nil {
		return err
	}
	if provider.Capabilities().Undo {
		if err := s.undo(provider, plan, force); err != nil {
			return err
		}
	}
	if err := provider.Destroy(s.ctx); err != nil {
		return err
	}
	if err := os.RemoveAll(s.stateDir); err != nil {
		return err
	}
	s.Console.Notice("lab %s is gone; what it was made of is still in the cache (go tool mage clean)", plan.Name)
	return nil
}

// undo takes back what the stages did on machines that stay.
func (s *Session) undo(provider machine.Provider, plan machine.Plan, force bool) error {
	endpoints, err := provider.Endpoints()
	if errors.Is(err, machine.ErrNotUp) {
		return nil // the machines have not become the lab's yet
	}
	if err != nil {
		return err
	}
	var names []string
	for _, m := range plan.Machines {
		names = append(names, m.Name)
	}
	what := fmt.Sprintf("this undoes what the lab did on %s: its containers, etcd's data, routes, firewall chains and files; the machines stay", strings.Join(names, ", "))
	if !force {
		if !term.IsTerminal(int(os.Stdin.Fd())) {
			return fmt.Errorf("%s; there is no terminal to ask on, so say that you mean it: go tool mage destroy -force", what)
		}
		fmt.Printf("%s\nGo on? [y/N] ", what)
		answer, _ := bufio.NewReader(os.Stdin).ReadString('\n')
		if a := strings.ToLower(strings.TrimSpace(answer)); a != "y" && a != "yes" {
			return errors.New("nothing was changed")
		}
	}
	hosts, err := connect(s.ctx, endpoints, s.run.Log)
	if err != nil {
		return err
	}
	stays, err := stage.Undo(s.ctx, hosts)
	if err != nil {
		return err
	}
	for _, line := range stays {
		s.Console.Notice("%s", line)
	}
	return nil
}

// Status shows what exists.
func (s *Session) Status() error {
	l, err := s.Lab()
	if err != nil {
		return err
	}
	machines, err := s.provider.Status(s.ctx)
	if err != nil {
		return err
	}
	running, present := 0, 0
	for _, m := range machines {
		if m.State == machine.Running {
			running++
		}
		if m.State != machine.Absent {
			present++
		}
	}
	p := s.maker.Pins
	more := [][2]string{
		{"pins", fmt.Sprintf("Calico %s, etcd %s, cnitool %s, CNI plugins %s, Go %s, Debian %s", p.Calico, p.Etcd, p.Cnitool, p.Plugins, l.Versions.Go, l.Versions.Debian)},
		{"cache", s.maker.Store.Dir},
	}
	next := "go tool mage verify"
	switch {
	case running == len(machines):
		next = "go tool mage check"
	case present == len(machines):
		next = "go tool mage start"
	}
	if present > 0 {
		more = append(more, [2]string{"logs", filepath.Join(s.stateDir, "logs")},
			[2]string{"ssh", "ssh -F " + filepath.Join(s.stateDir, machine.SSHConfigFile) + " " + machines[0].Machine})
	}
	s.Console.Status(l.Name, s.provider.Name(), machines, append(more, [2]string{"next", next}))
	return nil
}

// SSH becomes an OpenSSH client to a machine; what follows the machine on the command line is the command there.
func (s *Session) SSH(name string) error {
	l, err := s.Lab()
	if err != nil {
		return err
	}
	if _, ok := l.Machine(name); !ok {
		return fmt.Errorf("no machine %q; there are %s", name, strings.Join(l.Names(), ", "))
	}
	if err := s.running(); err != nil {
		return err
	}
	endpoints, err := s.provider.Endpoints()
	if err != nil {
		return err
	}
	if err := machine.WriteSSHConfig(s.stateDir, endpoints); err != nil {
		return err
	}
	ssh, err := exec.LookPath("ssh")
	if err != nil {
		return fmt.Errorf("%w; install Debian's package openssh-client", err)
	}
	args := []string{"ssh", "-F", filepath.Join(s.stateDir, machine.SSHConfigFile), name}
	return syscall.Exec(ssh, append(args, commandAfter(os.Args, name)...), os.Environ())
}

// commandAfter gives what stands behind `ssh MACHINE` on the command line.
func commandAfter(args []string, name string) []string {
	for i := 1; i+1 < len(args); i++ {
		if strings.EqualFold(args[i], "ssh") && args[i+1] == name {
			return args[i+2:]
		}
	}
	return nil
}

// Failed gives what ended the session, nil while nothing did.
func (s *Session) Failed() error {
	if s.ctx.Err() == nil {
		return nil
	}
	cause := context.Cause(s.ctx)
	if errors.Is(cause, context.Canceled) {
		return errInterrupted
	}
	return cause
}

// ReportToStdout keeps standard output for a report: progress goes to standard error.
func (s *Session) ReportToStdout() { s.Console.Redirect(os.Stderr) }
