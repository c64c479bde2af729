package stage

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
	"github.com/calico-cni-lab/lab/magefiles/internal/spec"
)

// clustered says whether etcd has, or had, more members than one.
func (e *Env) clustered() bool { return len(e.Lab.Members())+len(e.leaving()) > 1 }

// leaving are the names of members that lab.yaml has no more.
func (e *Env) leaving() (names []string) {
	for _, m := range e.gone() {
		if m.Role == lab.RoleEtcd {
			names = append(names, m.Name)
		}
	}
	return names
}

const keepMembers = "what to do: put lab.yaml back, then: go tool mage verify"

// membersCondition: etcd's cluster has the members that lab.yaml has. Each one's health is a condition of its own.
func membersCondition(e *Env) check.Condition {
	c := on("etcd-members", e.Lab.Etcd(), fact.EtcdMembers, "etcd has the members that lab.yaml has", "adds those that are missing, removes others", nil)
	c.ID, c.Machine = "etcd-members", ""
	c.Test = func(f *fact.Lab) check.Finding { return membersFinding(e, f) }
	return c
}

func membersFinding(e *Env, f *fact.Lab) check.Finding {
	all := knownMembers(e, f)
	if leaving := e.leaving(); all == nil && len(leaving) > 0 {
		return check.Refuse("no member of etcd's that lab.yaml keeps answers, and without %s its data may be lost\n%s", check.Names(leaving), keepMembers)
	}
	if all == nil {
		return check.CantSee("no member says which there are: that takes a majority of them")
	}
	var faults, others, said, unhealthy []string
	voters := 0
	for _, m := range e.Lab.Members() {
		is, there := memberAt(all, spec.PeerURL(m))
		switch {
		case !there:
			faults = append(faults, m.Name+" is none")
		case is.Learner:
			faults = append(faults, m.Name+" has no vote yet")
		default:
			voters++
			if h := f.Machines[m.Name].Etcd; h.Unknown != "" || !h.Value.OK {
				unhealthy = append(unhealthy, m.Name)
			}
		}
		said = append(said, m.Name+map[bool]string{true: " (leader)"}[is.Leader])
	}
	for _, is := range all {
		if !slices.ContainsFunc(e.Lab.Members(), func(m lab.Machine) bool { return spec.PeerURL(m) == is.Peer }) {
			others = append(others, is.Name)
			faults = append(faults, is.Name+" is one, and isn't lab.yaml's")
		}
	}
	switch {
	case len(others) > 0 && 2*(voters-len(unhealthy)) <= voters:
		return check.Refuse("without %s etcd would have no majority, and its data would be lost: of those that lab.yaml keeps %s isn't healthy\n%s",
			check.Names(others), check.Names(unhealthy), keepMembers)
	case len(faults) > 0:
		return check.Not("%s", strings.Join(faults, "; "))
	}
	return check.OK("%s", strings.Join(said, ", "))
}

// knownMembers are etcd's members, as the first one says that answers; nil where none does.
func knownMembers(e *Env, f *fact.Lab) []fact.Member {
	for _, m := range e.Lab.Members() {
		if seen, ok := f.Machine(m.Name); ok && seen.Members.Unknown == "" {
			return seen.Members.Value
		}
	}
	return nil
}

func memberAt(all []fact.Member, peer string) (fact.Member, bool) {
	i := slices.IndexFunc(all, func(m fact.Member) bool { return m.Peer == peer })
	if i < 0 {
		return fact.Member{}, false
	}
	return all[i], true
}

// hasPlace says whether a member was made on a machine: it has a container, or data.
func hasPlace(seen fact.Machine) bool {
	d := seen.Docker.Value
	return len(d.Part(fact.PartEtcd)) > 0 || slices.ContainsFunc(d.Volumes, func(v fact.Volume) bool { return v.Name == spec.EtcdVolume })
}

// founding says whether no member has ever run: then they found the cluster together. All containers are there before the first is
// started, so where one has run, a machine without any has lost it, or is new.
func founding(e *Env, f *fact.Lab) bool {
	for _, m := range e.Lab.Members() {
		seen, ok := f.Machine(m.Name)
		if !ok || seen.Docker.Unknown != "" {
			return false
		}
		made := seen.Docker.Value.Part(fact.PartEtcd)
		if len(made) == 0 && hasPlace(seen) || slices.ContainsFunc(made, func(c fact.Container) bool { return c.State.Status != "created" }) {
			return false
		}
	}
	return true
}

// lateError is that of something that wasn't there in time, and may be the next time.
type lateError struct{ error }

func (e lateError) Unwrap() error { return e.error }

func applyEtcd(ctx context.Context, e *Env, j Job) error {
	first := founding(e, j.Facts)
	alone := len(e.Lab.Members()) == 1
	for _, machines := range atATime(e, j, first) {
		err := e.on(ctx, machines, func(ctx context.Context, m lab.Machine, h *remote.Host) error {
			return e.runMember(ctx, m, h, j, alone || first || hasPlace(j.Facts.Machines[m.Name]), alone || !first)
		})
		if err != nil {
			return err
		}
	}
	if first && !alone {
		err := e.on(ctx, e.Lab.Members(), func(ctx context.Context, _ lab.Machine, h *remote.Host) error {
			var s script
			s.cmd("docker", "start", spec.EtcdContainer)
			return s.run(ctx, h)
		})
		if err != nil {
			return err
		}
	}
	auth := spec.EtcdAuth()
	done, err := e.Order(ctx, "", fact.Order{Within: memberTime(j), Auth: &auth, Members: e.clustered()})
	if err != nil {
		return lateError{withoutMajority(e, j, err)}
	}
	if !e.clustered() {
		return nil
	}
	return e.align(ctx, j, done.Members, first)
}

// memberTime is how long etcd may take to be healthy; when it was tried once, longer.
func memberTime(j Job) time.Duration { return time.Duration(min(j.Round+1, 2)) * 30 * time.Second }

// atATime are the machines that something is done on at the same time. As long as the datastore answers, it goes on doing so: one
// member after the other.
func atATime(e *Env, j Job, first bool) [][]lab.Machine {
	var all []lab.Machine
	for _, m := range e.Lab.Members() {
		if seen, ok := j.Facts.Machine(m.Name); ok && seen.Docker.Unknown == "" { // otherwise it is looked at again
			all = append(all, m)
		}
	}
	if first || j.Facts.Datastore.Unknown != "" {
		return [][]lab.Machine{all}
	}
	return slices.Collect(slices.Chunk(all, 1))
}

// runMember puts on a member's machine what it needs. make says whether the container is to be there, start whether it is to run.
func (e *Env) runMember(ctx context.Context, m lab.Machine, h *remote.Host, j Job, make, start bool) error {
	seen := j.Facts.Machines[m.Name]
	if err := e.putCertificates(ctx, h, m, seen); err != nil {
		return err
	}
	c, have := e.Etcd(m), seen.Docker.Value
	if err := e.load(ctx, h, c.Image, have); err != nil || !make {
		return err
	}
	var s script
	unhealthy := j.Has(m.Name, "etcd")
	if c.Faults(have, false) != "" || unhealthy && j.Round > 0 {
		s.create(e.Founding(m), have)
	}
	if start && (s.Len() > 0 || c.Faults(have, true) != "") {
		s.cmd("docker", "start", c.Name)
	}
	if s.Len() == 0 && (e.certificatesGone(m, seen) || unhealthy) { // it runs, and sees its certificates no more, or isn't healthy
		s.cmd("docker", "restart", c.Name)
	}
	if s.Len() == 0 {
		return nil
	}
	if err := s.run(ctx, h); err != nil || !start || j.Facts.Datastore.Unknown != "" || len(e.Lab.Members()) == 1 {
		return err
	}
	_, _ = e.Order(ctx, m.Name, fact.Order{Own: true, Within: rejoinTime}) // what comes of it is seen below
	return context.Cause(ctx)
}

// rejoinTime is how long a member that has been started may take to be one of the others again, before it is made a new one.
const rejoinTime = 10 * time.Second

// withoutMajority says what to do where etcd doesn't answer and members have lost their data.
func withoutMajority(e *Env, j Job, err error) error {
	var lost []string
	for _, m := range e.Lab.Members() {
		if seen, ok := j.Facts.Machine(m.Name); ok && seen.Docker.Unknown == "" && !hasPlace(seen) {
			lost = append(lost, m.Name)
		}
	}
	if len(lost) == 0 || len(lost) == len(e.Lab.Members()) {
		return err
	}
	return fmt.Errorf("%w\n%s without data, and no majority of the others answers; if they don't come back, start over: go tool mage destroy verify, and with a backup after that: go tool mage restore FILE",
		err, check.Names(lost)+map[bool]string{true: " is", false: " are"}[len(lost) == 1])
}

// align brings the cluster's members in line with lab.yaml, one after the other, while a majority answers. What can't be mended of one
// stays for its conditions to say: the datastore works without.
func (e *Env) align(ctx context.Context, j Job, members []fact.Member, first bool) error {
	healthy := 0
	for _, m := range e.Lab.Members() {
		seen, ok := j.Facts.Machine(m.Name)
		if !ok || seen.Docker.Unknown != "" {
			continue
		}
		within := 2 * time.Second // it has been waited for
		if j.Facts.Datastore.Unknown != "" {
			within = rejoinTime
		}
		err := e.alignOne(ctx, m, seen, members, first || hasPlace(seen), within)
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		if err != nil {
			e.Notice("%s is no healthy member of etcd: %v", m.Name, err)
			continue
		}
		healthy++
	}
	var others []string
	for _, is := range members {
		if !slices.ContainsFunc(e.Lab.Members(), func(m lab.Machine) bool { return spec.PeerURL(m) == is.Peer }) {
			others = append(others, is.Peer)
		}
	}
	if len(others) == 0 || healthy < len(e.Lab.Members()) {
		return nil
	}
	_, err := e.Order(ctx, "", fact.Order{Remove: others})
	return err
}

func (e *Env) alignOne(ctx context.Context, m lab.Machine, seen fact.Machine, members []fact.Member, hasData bool, within time.Duration) error {
	peer := spec.PeerURL(m)
	is, there := memberAt(members, peer)
	if there && hasData {
		order := fact.Order{Own: true, Within: within}
		if is.Learner {
			order = fact.Order{Promote: peer}
		}
		if _, err := e.Order(ctx, m.Name, order); err == nil || ctx.Err() != nil {
			return err
		}
	}
	// It has no data, or can't be one of them with what it has.
	admitted, err := e.Order(ctx, "", fact.Order{Admit: peer, Members: true})
	if err != nil {
		return err
	}
	h, err := e.Host(ctx, m.Name)
	if err != nil {
		return err
	}
	var s script
	for _, old := range seen.Docker.Value.Part(fact.PartEtcd) {
		s.cmd("docker", "rm", "--force", old.ID)
	}
	s.line("docker rm --force %s >/dev/null 2>&1 || true", spec.EtcdContainer) // made in this very run
	s.cmd("docker", "volume", "rm", "--force", spec.EtcdVolume)
	s.create(e.Joining(m, admitted.Members), fact.Docker{})
	s.cmd("docker", "start", spec.EtcdContainer)
	if err := s.run(ctx, h); err != nil {
		return err
	}
	_, err = e.Order(ctx, "", fact.Order{Promote: peer})
	return err
}
