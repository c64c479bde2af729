package target

import (
	"context"

	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/run"
	"github.com/calico-cni-lab/lab/magefiles/internal/stage"
)

// Plumb brings the stage about and shows the plumbed workloads.
func Plumb(ctx context.Context, r *run.Run) error {
	if err := Reach(ctx, r, stage.Plumb); err != nil {
		return err
	}
	l, err := r.Lab(ctx)
	if err != nil {
		return err
	}
	f := l.Observer().Look(ctx, l.Machines, nil)
	for _, m := range l.ByRole(lab.RoleCalico) {
		for _, w := range f.Machines[m.Name].Workloads(l.Network) {
			r.Console.Plumbed(m.Name, w, f.Datastore.Value.BlocksOf(m.Name))
		}
	}
	return nil
}

// Unplumb takes the workloads back.
func Unplumb(ctx context.Context, r *run.Run) error {
	l, err := r.Lab(ctx)
	if err != nil {
		return err
	}
	if err := notDuringChallenge(r, "it needs the workloads"); err != nil {
		return err
	}
	if err := r.Begin(ctx); err != nil {
		return err
	}
	var nodes []string
	for _, m := range l.ByRole(lab.RoleCalico) {
		nodes = append(nodes, m.Name)
	}
	if err := l.Running(ctx, nodes...); err != nil {
		return err
	}
	f := l.Observer().Look(ctx, l.ByRole(lab.RoleCalico), nil)
	if err := stage.Unplumb(ctx, l.Engine().Env, &f); err != nil {
		return err
	}
	r.Console.Notice("the workloads are gone, their addresses released; plumb again with: go tool mage plumb")
	return nil
}
