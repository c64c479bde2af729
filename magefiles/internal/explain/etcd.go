package explain

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/pki"
	"github.com/calico-cni-lab/lab/magefiles/internal/spec"
)

func etcd(_ context.Context, l *Lab, _ []string) (Story, error) {
	w := &writer{}
	w.part("Who keeps the data")
	healthy := l.etcdMembers(w)
	w.part("Who may do what")
	l.etcdRights(w)
	w.part("By what they know one another")
	until := l.certificates(w)
	end := "when its certificates end is unknown"
	if !until.IsZero() {
		end = "its certificates are good until " + until.Format(day)
	}
	if n := len(l.Members()); n == 1 {
		answers := map[bool]string{true: "is healthy", false: "isn't healthy"}[healthy == 1]
		w.answers("etcd on %s keeps what Calico's nodes have to agree on. It %s; %s.", l.etcd(), answers, end)
	} else {
		w.answers("%d members of etcd keep what Calico's nodes have to agree on. %d of them are healthy, %d have to be; %s.", n, healthy, n/2+1, end)
	}
	return w.story, nil
}

const day = "2 January 2006"

// etcdMembers tells of each member, and returns how many are healthy.
func (l *Lab) etcdMembers(w *writer) (healthy int) {
	all := l.Members()
	if n := len(all); n == 1 {
		w.say("One etcd has nodes, pools, blocks, workload endpoints and policies. While it is away nobody can be plumbed, and no policy be changed; what is plumbed goes on, since Felix and BIRD keep what they know.")
	} else {
		w.say("Each of %d members has all the data: nodes, pools, blocks, workload endpoints and policies. One, the leader, puts what is written in order, and it is written when a majority has it. So %d have to be there, and %d may be away.", n, n/2+1, n-n/2-1)
	}
	for _, m := range all {
		seen, ok := l.Facts.Machine(m.Name)
		if why := cmp.Or(l.Facts.Unreached[m.Name], seen.Etcd.Unknown); !ok || why != "" {
			w.unknown("how etcd on %s is: %s.", m.Name, why).by(m.Name, fact.Containers.Command())
			continue
		}
		if !seen.Etcd.Value.OK {
			w.wrong("etcd on %s isn't healthy: %s.", m.Name, seen.Etcd.Value.Said).by(m.Name, fact.EtcdHealth.Command())
			continue
		}
		healthy++
		i := slices.IndexFunc(seen.Members.Value, func(is fact.Member) bool { return is.Peer == spec.PeerURL(m) })
		if i < 0 {
			w.unknown("what etcd on %s is to the others: %s.", m.Name, cmp.Or(seen.Members.Unknown, "it isn't among the members")).by(m.Name, fact.EtcdMembers.Command())
			continue
		}
		is := seen.Members.Value[i]
		role := ""
		switch {
		case is.Learner:
			role = ", and gets the data before it has a vote"
		case is.Leader && len(all) > 1:
			role = ", and the leader now"
		}
		w.say("etcd on %s is healthy%s. It answers its clients at %s, and other members at %s.", m.Name, role, is.Client, is.Peer).
			saw(fmt.Sprintf("%s %s %s %s, etcd %s", is.ID, is.Name, is.Peer, is.Client, seen.Etcd.Value.Version)).by(m.Name, fact.EtcdMembers.Command())
	}
	return healthy
}

// etcdRights tells what etcd lets its clients do.
func (l *Lab) etcdRights(w *writer) {
	auth := fact.Unknown[fact.Auth]("no member says so")
	for _, m := range l.Members() {
		if seen, ok := l.Facts.Machine(m.Name); ok && seen.Auth.Unknown == "" {
			auth = seen.Auth
			break
		}
	}
	if auth.Unknown != "" {
		w.unknown("what etcd lets its clients do: %s.", auth.Unknown).by(l.etcd(), fact.EtcdAuth.Command())
		return
	}
	if !auth.Value.Enabled {
		w.wrong("Authentication is off: whoever has a certificate of the lab's may do everything.").by(l.etcd(), fact.EtcdAuth.Command())
		return
	}
	w.say("Authentication is on, without passwords: a client is the user whose name is the common name of its certificate, and may do what that user's roles may.").by(l.etcd(), fact.EtcdAuth.Command())
	for _, user := range slices.Sorted(maps.Keys(auth.Value.Users)) {
		who := "somebody's, and not the lab's"
		if bearer := spec.Bearer(user); bearer != "" {
			who = bearer
		}
		for _, role := range auth.Value.Users[user] {
			w.say("%s (%s) may:", user, who).saw(grants(role, auth.Value.Roles[role])...).by(l.etcd(), "sudo docker exec etcd etcdctl role get "+role)
		}
	}
}

// grants are a role's rights, a line each.
func grants(role string, all []fact.Grant) (lines []string) {
	if role == "root" {
		return []string{"do everything, whatever its grants are"}
	}
	for _, g := range all {
		what := "read"
		if g.Write {
			what = "read and write"
		}
		line := fmt.Sprintf("%s %s", what, g.Key)
		switch {
		case g == fact.Below(g.Key, g.Write):
			line += "..."
		case g.End != "":
			line += " up to " + g.End
		}
		lines = append(lines, line)
	}
	return lines
}

// certificates tells who shows which certificate, and returns when the first of them ends; zero where that isn't known.
func (l *Lab) certificates(w *writer) (until time.Time) {
	ca := l.Certificates.CA
	if ca.Cert == "" {
		w.unknown("the lab's certificates: %s.", cmp.Or(l.Certificates.Faults[pki.CA], "this computer has none"))
		return until
	}
	w.say("etcd shows its clients a certificate, and they show theirs: who has none that the lab's own authority has signed isn't answered. The authority's key stays on this computer, in .lab/pki.").
		saw("good until "+ca.Until.Format(day)).by(l.etcd(), enddate("etcd/ca.crt"))
	until = ca.Until
	for _, subject := range spec.Subjects(l.Lab) {
		held := l.holders(subject.Name)
		if fault := l.Certificates.Faults[subject.Name]; fault != "" {
			w.wrong("Of %s, %s: %s. It is issued anew by: go tool mage verify", subject.Name, spec.Bearer(subject.Name), fault).by(held[0], enddate(subject.Name+"/tls.crt"))
		} else {
			w.say("%s is %s. Its certificate is on %s.", subject.Name, spec.Bearer(subject.Name), strings.Join(held, ", ")).
				saw("good until "+l.Certificates.Issued[subject.Name].Until.Format(day)).by(held[0], enddate(subject.Name+"/tls.crt"))
		}
		if end := l.Certificates.Issued[subject.Name].Until; end.Before(until) {
			until = end
		}
	}
	w.say("One is good for a year. In the last month of it check says so, and verify issues it anew.")
	return until
}

// enddate is the command line that shows whose a certificate on a machine is, and when it ends.
func enddate(file string) string {
	return "sudo openssl x509 -noout -subject -enddate -in " + path.Join(spec.PKIDir, file)
}

// holders are the machines that hold a certificate.
func (l *Lab) holders(name string) (all []string) {
	for _, m := range l.Machines {
		if slices.Contains(spec.Held(m.Role), name) {
			all = append(all, m.Name)
		}
	}
	return all
}
