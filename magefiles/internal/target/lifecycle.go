package target

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
	"github.com/calico-cni-lab/lab/magefiles/internal/run"
	"github.com/calico-cni-lab/lab/magefiles/internal/stage"
)

// Stop halts the machines.
func Stop(ctx context.Context, r *run.Run) error {
	start := time.Now()
	l, err := existing(ctx, r)
	if err != nil {
		return err
	}
	if err := r.Begin(ctx); err != nil {
		return err
	}
	l.Hosts.Close()
	if err := l.Provider.Stop(ctx); err != nil {
		return err
	}
	r.Console.Finished(time.Since(start), "go tool mage start")
	return nil
}

// Start boots halted machines and brings the lab back.
func Start(ctx context.Context, r *run.Run) error {
	if _, err := existing(ctx, r); err != nil {
		return err
	}
	return Verify(ctx, r, VerifyOptions{})
}

// existing refuses a lab that was never made, for targets that must not make one.
func existing(ctx context.Context, r *run.Run) (*run.Lab, error) {
	l, err := r.Lab(ctx)
	if err != nil {
		return nil, err
	}
	if made, err := l.Made(ctx); err != nil || !made {
		return nil, cmp.Or(err, machine.ErrNotUp)
	}
	return l, nil
}

// Destroy removes the lab, from its kept plan where there is one: lab.yaml may be gone or broken. On machines that stay it
// undoes what the stages did, and asks before, unless force.
func Destroy(ctx context.Context, r *run.Run, force bool) error {
	plan, exists, err := r.Plan()
	if err != nil || !exists {
		l, lerr := r.Lab(ctx)
		if lerr != nil && err == nil {
			return lerr
		}
		// A plan that can't be read: the lab's name and machines are still in lab.yaml.
		if lerr != nil {
			if l, lerr = r.WithoutPlan(ctx); lerr != nil {
				return errors.Join(err, lerr)
			}
		}
		plan = machine.NewPlan(l.Provider.Name(), l.Lab)
	}
	if err := r.Begin(ctx); err != nil {
		return err
	}
	provider, err := r.Provider(plan)
	if err != nil {
		return err
	}
	if exists && provider.Capabilities().Undo {
		if err := undo(ctx, r, provider, plan, force); err != nil {
			return err
		}
	}
	if err := provider.Destroy(ctx); err != nil {
		return err
	}
	if err := errors.Join(os.RemoveAll(r.StateDir), r.Reset()); err != nil {
		return err
	}
	r.Console.Notice("lab %s is gone; what it was made of is still in the cache (go tool mage clean)", plan.Name)
	return nil
}

// undo takes back what the stages did on machines that stay.
func undo(ctx context.Context, r *run.Run, provider machine.Provider, plan machine.Plan, force bool) error {
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
	if err := confirm(what, force); err != nil {
		return err
	}
	hosts, err := connect(ctx, r, endpoints)
	if err != nil {
		return err
	}
	defer func() {
		for _, h := range hosts {
			h.Close()
		}
	}()
	mark, err := machine.ReadMark(r.StateDir)
	if err != nil {
		return err
	}
	stays, err := stage.Undo(ctx, hosts, mark)
	if err != nil {
		return err
	}
	for _, line := range stays {
		r.Console.Notice("%s", line)
	}
	return nil
}

// confirm asks whether to go on, unless force.
func confirm(what string, force bool) error {
	if force {
		return nil
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return fmt.Errorf("%s; there is no terminal to ask on, so say that you mean it: go tool mage destroy -force", what)
	}
	fmt.Printf("%s\nGo on? [y/N] ", what)
	answer, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if a := strings.ToLower(strings.TrimSpace(answer)); err != nil || a != "y" && a != "yes" {
		return errors.New("nothing was changed")
	}
	return nil
}

// undoPatience is how long a machine may take to let a user in who wants to undo what the lab did there.
const undoPatience = 30 * time.Second

// connect dials all machines at once; the error names every one that doesn't answer.
func connect(ctx context.Context, r *run.Run, endpoints []remote.Endpoint) (map[string]*remote.Host, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, undoPatience, fmt.Errorf("not after %s", undoPatience))
	defer cancel()
	all := make([]*remote.Host, len(endpoints))
	errs := make([]error, len(endpoints))
	var wg sync.WaitGroup
	for i, e := range endpoints {
		wg.Go(func() { all[i], errs[i] = remote.DialBooted(ctx, e, r.Exec.Log) })
	}
	wg.Wait()
	hosts := map[string]*remote.Host{}
	for i, e := range endpoints {
		if all[i] != nil {
			hosts[e.Machine] = all[i]
		}
	}
	return hosts, errors.Join(errs...)
}
