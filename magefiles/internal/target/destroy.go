package target

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/term"

	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
	"github.com/calico-cni-lab/lab/magefiles/internal/run"
)

// DestroyOptions are destroy's flags.
type DestroyOptions struct {
	Force  bool     // doesn't ask
	Forget []string // machines that existed before the lab and are gone for good, or were installed anew: they aren't entered
}

// Destroy removes the lab, from its kept plan where there is one: lab.yaml may be gone or broken. On machines that stay it
// undoes what the stages did, and asks before. What is left where it couldn't be undone, another run finishes.
func Destroy(ctx context.Context, r *run.Run, o DestroyOptions) error {
	plan, exists, err := toDestroy(ctx, r)
	if err != nil {
		return err
	}
	provider, err := r.Provider(plan)
	if err != nil {
		return err
	}
	stay := provider.Capabilities().Undo
	if len(o.Forget) > 0 && !stay {
		return fmt.Errorf("-forget is for machines that existed before the lab; those of %s go as a whole: go tool mage destroy", provider.Name())
	}
	if err := r.Begin(ctx); err != nil {
		return err
	}
	if exists && stay {
		if err := plan.Write(r.StateDir); err != nil { // the way in may be another
			return err
		}
		if err := undo(ctx, r, provider, plan, o); err != nil {
			return err
		}
	}
	if err := provider.Destroy(ctx); err != nil {
		return err
	}
	if err := errors.Join(giveUp(r), removeAll(r.StateDir), r.Reset()); err != nil {
		return err
	}
	r.Console.Notice("lab %s is gone; what it was made of is still in the cache (go tool mage clean)", plan.Name)
	return nil
}

// toDestroy returns the plan of what is to be destroyed, and whether it was kept.
func toDestroy(ctx context.Context, r *run.Run) (plan machine.Plan, exists bool, err error) {
	plan, exists, err = r.Plan()
	if err == nil && exists {
		if l, err := lab.Load(r.LabFile); err == nil {
			plan = plan.EnteredBy(machine.NewPlan(plan.Hardware, l))
		}
		return plan, true, nil
	}
	l, lerr := r.Lab(ctx)
	if lerr != nil && err == nil {
		return plan, exists, lerr
	}
	// A plan that can't be read: the lab's name and machines are still in lab.yaml.
	if lerr != nil {
		if l, lerr = r.WithoutPlan(ctx); lerr != nil {
			return plan, exists, errors.Join(err, lerr)
		}
	}
	return machine.NewPlan(l.Provider.Name(), l.Lab), exists, nil
}

// undo takes back what the stages did on the machines that are still the lab's. A machine where that is done isn't any more.
func undo(ctx context.Context, r *run.Run, provider machine.Provider, plan machine.Plan, o DestroyOptions) error {
	for _, name := range o.Forget {
		if !slices.Contains(plan.Names(), name) {
			return fmt.Errorf("-forget: there is no machine %q; there are %s", name, strings.Join(plan.Names(), ", "))
		}
	}
	endpoints, err := provider.Endpoints()
	if errors.Is(err, machine.ErrNotUp) {
		return nil // the machines have not become the lab's yet
	}
	if err != nil {
		return err
	}
	forgotten := func(e remote.Endpoint) bool { return slices.Contains(o.Forget, e.Machine) }
	endpoints = slices.DeleteFunc(endpoints, forgotten)
	if err := confirm(ctx, undoing(endpoints, o.Forget), o.Force); err != nil {
		return err
	}
	for _, name := range o.Forget {
		if err := machine.ForgetHostKey(r.StateDir, name); err != nil {
			return err
		}
	}
	mark, err := machine.ReadMark(r.StateDir)
	if err != nil {
		return err
	}
	errs := make([]error, len(endpoints))
	var wg sync.WaitGroup
	for i, e := range endpoints {
		wg.Go(func() { errs[i] = r.UndoMachine(ctx, e, mark) })
	}
	wg.Wait()
	if ctx.Err() != nil {
		return interrupted(ctx)
	}
	return left(endpoints, errs)
}

// undoing is what is going to happen, for the question.
func undoing(endpoints []remote.Endpoint, forget []string) string {
	var all []string
	if len(endpoints) > 0 {
		all = append(all, fmt.Sprintf("this undoes what the lab did on %s: its containers, etcd's data, routes, firewall chains and files; the machines stay", names(endpoints)))
	}
	if len(forget) > 0 {
		all = append(all, fmt.Sprintf("this forgets %s: what the lab did there stays", strings.Join(forget, ", ")))
	}
	return strings.Join(all, "; ")
}

func names(endpoints []remote.Endpoint) string {
	var all []string
	for _, e := range endpoints {
		all = append(all, e.Machine)
	}
	return strings.Join(all, ", ")
}

// left is the error of machines that are still the lab's: which, why, and what to do.
func left(endpoints []remote.Endpoint, errs []error) error {
	var still, done []remote.Endpoint
	var why strings.Builder
	for i, e := range endpoints {
		if errs[i] == nil {
			done = append(done, e)
			continue
		}
		still = append(still, e)
		fmt.Fprintf(&why, "\n  %s: %v", e.Machine, errs[i])
	}
	if len(still) == 0 {
		return nil
	}
	did := "nothing was undone"
	if len(done) > 0 {
		did = "what the lab did on " + names(done) + " is undone"
	}
	return fmt.Errorf("%s; it is still on %s:%s\n"+
		"when that is mended, finish it: go tool mage destroy -force\n"+
		"a machine that is gone for good, or was installed anew: go tool mage destroy -force -forget=%s", did, names(still), why.String(), strings.ReplaceAll(names(still), " ", ""))
}

// confirm asks whether to go on, unless force.
func confirm(ctx context.Context, what string, force bool) error {
	if force {
		return nil
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return fmt.Errorf("%s; there is no terminal to ask on, so say that you mean it: go tool mage destroy -force", what)
	}
	fmt.Printf("%s\nGo on? [y/N] ", what)
	return answer(ctx, os.Stdin)
}

// answer waits for a yes, or for the end of the run: a terminal that nobody types at is read from for ever.
func answer(ctx context.Context, in *os.File) error {
	typed := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(in).ReadString('\n')
		typed <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case <-ctx.Done():
		return interrupted(ctx)
	case line := <-typed:
		if line == "y" || line == "yes" {
			return nil
		}
		return errors.New("nothing was changed")
	}
}

// removeAll is os.RemoveAll, but that a directory on which a disk of its own is mounted stays, empty.
func removeAll(dir string) error {
	err := os.RemoveAll(dir)
	if errors.Is(err, syscall.EBUSY) {
		if left, rerr := os.ReadDir(dir); rerr == nil && len(left) == 0 {
			return nil
		}
	}
	return err
}
