package stage

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/spec"
)

// etcd runs etcd, the datastore, in a container on each of its members' machines.
func etcd() Stage {
	return Stage{
		Name: Etcd, Needs: []string{Up}, Role: lab.RoleEtcd,
		Conditions: etcdConditions,
		Done: func(e *Env, _ *fact.Lab) string {
			var names []string
			for _, m := range e.Lab.Members() {
				names = append(names, m.Name)
			}
			return "etcd " + e.Pins.Etcd.String() + " is healthy on " + strings.Join(names, ", ")
		},
		Apply: applyEtcd,
		Until: func(e *Env, _ lab.Machine, _ *fact.Lab) fact.Until {
			if len(e.Lab.Members()) > 1 { // they have had their time, and the others can do without one
				return fact.Until{Within: 5 * time.Second, Etcd: true}
			}
			return fact.Until{Within: time.Minute, Etcd: true}
		},
		Settled: true,
	}
}

func etcdConditions(e *Env) []check.Condition {
	var all []check.Condition
	for _, m := range e.Lab.Members() {
		c := e.Etcd(m)
		all = append(all, certificatesCondition(e, "etcd-certificates", m),
			on("etcd-container", m, fact.Containers,
				"etcd's container runs as it should"+onMember(e, m), "starts etcd",
				func(seen fact.Machine, _ *fact.Lab) check.Finding {
					return containerFinding(e, seen, c.Faults(seen.Docker.Value, true), c.Image.Ref)
				}),
			on("etcd", m, fact.EtcdHealth,
				"etcd is healthy and of the pinned release"+onMember(e, m), mendEtcd(e),
				func(seen fact.Machine, f *fact.Lab) check.Finding {
					switch h := seen.Etcd; {
					case h.Unknown != "":
						return check.CantSee("%s", h.Unknown)
					case !h.Value.OK:
						return e.orDropped(check.Not("%s", h.Value.Said), f, spec.EtcdPort, m.Name)
					case h.Value.Version != e.Pins.Etcd.String():
						return check.Not("etcd is %s; pinned is %s", h.Value.Version, e.Pins.Etcd)
					default:
						return check.OK("etcd %s, %s", h.Value.Version, h.Value.Said)
					}
				}))
	}
	if e.clustered() {
		all = append(all, membersCondition(e))
	}
	auth := on("etcd-auth", e.Lab.Etcd(), fact.EtcdAuth, "etcd lets each of its clients do what it has to, and nothing else", "gives its users their rights", nil)
	auth.Test = func(f *fact.Lab) check.Finding { return authFinding(authOf(e, f), spec.EtcdAuth()) }
	return append(all, auth)
}

// onMember names the machine where there are several.
func onMember(e *Env, m lab.Machine) string {
	if len(e.Lab.Members()) == 1 {
		return ""
	}
	return " on " + m.Name
}

func mendEtcd(e *Env) string {
	if len(e.Lab.Members()) == 1 {
		return "starts etcd again"
	}
	return "starts etcd again; if that is not it, makes it a new member, which gets its data from the others"
}

// authOf is what the first member that answers lets its clients do: they all let them do the same.
func authOf(e *Env, f *fact.Lab) fact.Seen[fact.Auth] {
	first := fact.Unknown[fact.Auth]("the machine doesn't answer")
	for i, m := range e.Lab.Members() {
		seen, ok := f.Machine(m.Name)
		switch {
		case ok && seen.Auth.Unknown == "":
			return seen.Auth
		case ok && i == 0:
			first = seen.Auth
		}
	}
	return first
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
