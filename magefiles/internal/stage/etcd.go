package stage

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
	"github.com/calico-cni-lab/lab/magefiles/internal/spec"
)

// etcd runs etcd, the datastore, in a container on the etcd machine.
func etcd() Stage {
	return Stage{
		Name: Etcd, Needs: []string{Up}, Role: lab.RoleEtcd,
		Conditions: etcdConditions,
		Done: func(e *Env, _ *fact.Lab) string {
			return "etcd " + e.Pins.Etcd.String() + " is healthy on " + e.Lab.Etcd().Name
		},
		Apply: func(ctx context.Context, e *Env, j Job) error {
			return e.on(ctx, e.Lab.ByRole(lab.RoleEtcd), func(ctx context.Context, m lab.Machine, h *remote.Host) error {
				seen := j.Facts.Machines[m.Name]
				if seen.Docker.Unknown != "" {
					return nil // it is looked at again
				}
				if err := e.putCertificates(ctx, h, m, seen); err != nil {
					return err
				}
				c, have := e.Etcd(), seen.Docker.Value
				if err := e.load(ctx, h, c.Image, have); err != nil {
					return err
				}
				var s script
				s.ensure(c, have)
				if s.Len() == 0 && (e.certificatesGone(m, seen) || j.Has(m.Name, "etcd")) { // it runs, and sees its certificates no more, or isn't healthy
					s.cmd("docker", "restart", c.Name)
				}
				if err := s.run(ctx, h); err != nil {
					return err
				}
				auth := spec.EtcdAuth()
				return e.Order(ctx, fact.Order{Within: time.Minute, Auth: &auth})
			})
		},
		Until:   func(*Env, lab.Machine, *fact.Lab) fact.Until { return fact.Until{Within: time.Minute, Etcd: true} },
		Settled: true,
	}
}

func etcdConditions(e *Env) []check.Condition {
	m := e.Lab.Etcd()
	return []check.Condition{
		certificatesCondition(e, "etcd-certificates", m),
		on("etcd-container", m, fact.Containers,
			"etcd's container runs as it should", "starts etcd",
			func(seen fact.Machine, _ *fact.Lab) check.Finding {
				return containerFinding(e, seen, e.Etcd().Faults(seen.Docker.Value, true), e.Etcd().Image.Ref)
			}),
		on("etcd", m, fact.EtcdHealth,
			"etcd is healthy and of the pinned release", "starts etcd again",
			func(seen fact.Machine, _ *fact.Lab) check.Finding {
				switch h := seen.Etcd; {
				case h.Unknown != "":
					return check.CantSee("%s", h.Unknown)
				case !h.Value.OK:
					return check.Not("%s", h.Value.Said)
				case h.Value.Version != e.Pins.Etcd.String():
					return check.Not("etcd is %s; pinned is %s", h.Value.Version, e.Pins.Etcd)
				default:
					return check.OK("etcd %s, %s", h.Value.Version, h.Value.Said)
				}
			}),
		on("etcd-auth", m, fact.EtcdAuth, "etcd lets each of its clients do what it has to, and nothing else", "gives its users their rights",
			func(seen fact.Machine, _ *fact.Lab) check.Finding { return authFinding(seen.Auth, spec.EtcdAuth()) }),
	}
}

// authFinding compares what etcd's users may do; others than the lab's are no matter.
func authFinding(is fact.Seen[fact.Auth], want fact.Auth) check.Finding {
	if is.Unknown != "" {
		return check.CantSee("%s", is.Unknown)
	}
	if !is.Value.Enabled {
		return check.Not("authentication is off: whoever has a certificate may do everything")
	}
	for _, user := range slices.Sorted(maps.Keys(want.Users)) {
		if roles, there := is.Value.Users[user]; !there {
			return check.Not("etcd doesn't know %s", user)
		} else if !slices.Equal(roles, want.Users[user]) {
			return check.Not("%s has the roles %s, not %s", user, check.Names(roles), check.Names(want.Users[user]))
		}
	}
	for _, role := range slices.Sorted(maps.Keys(want.Roles)) {
		if !slices.Equal(is.Value.Roles[role], want.Roles[role]) {
			return check.Not("role %s has other rights than it is to have", role)
		}
	}
	return check.OK("authentication is on, %s have their rights", plural(len(want.Users), "user"))
}

// containerFinding is the finding of a container that runs or has a fault.
func containerFinding(e *Env, seen fact.Machine, fault, ok string) check.Finding {
	if e.Artifacts.Missing != "" {
		return check.CantSee("nothing to compare with: %s", e.Artifacts.Missing)
	}
	if seen.Docker.Unknown != "" {
		return check.CantSee("%s", seen.Docker.Unknown)
	}
	if fault != "" {
		return check.Not("%s", fault)
	}
	return check.OK("%s", ok)
}
