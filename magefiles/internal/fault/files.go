package fault

import (
	"fmt"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
	"github.com/calico-cni-lab/lab/magefiles/internal/spec"
)

// Files are the faults of every file that the lab put on the machines: each truncated, unreadable and removed. The second of the nodes
// stands for all.
func Files(s *spec.Spec) []Fault {
	var all []Fault
	of := func(m lab.Machine, kind, follows string, files []remote.File) {
		for _, f := range files {
			all = append(all, fileFaults(m.Name, kind, follows, f)...)
		}
	}
	for _, m := range []lab.Machine{s.Lab.Etcd(), s.Nodes()[1]} {
		of(m, "calicoctl", "", s.CalicoctlFiles())
		if m.Role == lab.RoleEtcd {
			of(m, "etcd-certificates", withoutEtcd, s.CertificateFiles(m))
			continue
		}
		of(m, "certificates", "felix", s.CertificateFiles(m))
		of(m, "go-path", "", s.GoFiles())
		of(m, "plugins", "", s.PluginFiles())
		of(m, "conflist", "", []remote.File{s.Conflist(m)})
		of(m, "cnitool", "", s.CnitoolFiles())
	}
	return all
}

func fileFaults(machine, kind, follows string, f remote.File) (all []Fault) {
	ways := [][2]string{{"removed", "rm %s"}}
	if f.Link == "" {
		ways = append(ways, [2]string{"truncated", "truncate -s 7 %s"}, [2]string{"unreadable", "chmod 0 %s"})
	}
	for _, way := range ways {
		path := f.Path
		if rest, ok := strings.CutPrefix(path, "~/"); ok {
			path = rest // where a session begins
		}
		all = append(all, Fault{
			Name:  fmt.Sprintf("%s:%s %s", machine, f.Path, way[0]),
			Break: on(machine, "sudo "+fmt.Sprintf(way[1], path)), First: kind + "/" + machine, Follows: follows, Rare: true,
		})
	}
	return all
}
