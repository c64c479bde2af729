// Package support puts what is needed to understand a lab that misbehaves into one archive.
package support

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
	"github.com/calico-cni-lab/lab/magefiles/internal/secret"
)

// File is one file of the archive.
type File struct {
	Name    string
	Content []byte
}

// patience is how long a machine may take for all of its files.
const patience = time.Minute

// ours keeps other people's containers out.
const ours = " --filter label=" + fact.LabelPart

// everywhere are the files of every machine and the commands that print them, by bash as root.
var everywhere = []struct{ name, command string }{
	{"journal", "journalctl --boot --no-pager --lines=5000"},
	{"failed-units", "systemctl --failed --no-pager"},
	{"processes", "ps -ef --forest"},
	{"memory", "free -m; df -h /"},
	{"versions", "uname -a; cat /etc/os-release; docker version; iptables --version"},
	{"ip-address", "ip address"},
	{"ip-route", "ip route show table all"},
	{"ip-rule", "ip rule"},
	{"ip-neigh", "ip neigh"},
	{"iptables", "iptables-save"},
	{"ip6tables", "ip6tables-save"},
	{"ipset", "ipset list"},
	{"docker-ps", "docker ps --all --no-trunc" + ours},
	{"docker-inspect", "docker ps --all --quiet" + ours + " | xargs --no-run-if-empty docker inspect"},
	{"docker-images", "docker images --no-trunc --filter reference='calico-cni-lab/*'"},
	{"docker-logs", `for c in $(docker ps --all --format '{{.Names}}'` + ours + `); do echo "== $c"; docker logs --timestamps --tail 2000 "$c" 2>&1; done`},
}

// onNodes are those of the Calico nodes.
var onNodes = []struct{ name, command string }{
	{"calico-logs", `for f in /var/log/calico/*/current /var/log/calico/*/*.log; do if [ -f "$f" ]; then echo "== $f"; tail -n 2000 "$f"; fi; done`},
	{"cni-results", `for f in /var/lib/cni/results/*; do if [ -f "$f" ]; then echo "== $f"; cat "$f"; fi; done`},
	{"cni-config", `tail -n +1 /etc/cni/net.d/*; ls -l /opt/cni/bin`},
	{"bird", `docker exec "$(docker ps --quiet` + ours + `=calico-node)" birdcl -s /var/run/calico/bird.ctl show protocols all`},
	{"bird-routes", `docker exec "$(docker ps --quiet` + ours + `=calico-node)" birdcl -s /var/run/calico/bird.ctl show route all`},
	{"go-version", "cat /usr/local/go/VERSION"}, // the go command would keep telemetry in root's home
}

// onRouters are those of the routers.
var onRouters = []struct{ name, command string }{
	{"bird-conf", "cat /etc/bird/bird.conf"},
	{"bird", "docker exec bird birdc show protocols all"},
	{"bird-routes", "docker exec bird birdc show route all"},
}

// onEtcd are those of the datastore's machine.
var onEtcd = []struct{ name, command string }{
	{"calicoctl", `exec 2>&1; timeout 10 calicoctl get nodes || exit; calicoctl version; calicoctl ipam show --show-blocks; ` +
		`for kind in workloadendpoints networkpolicies networksets; do echo "== $kind"; calicoctl get "$kind" --all-namespaces --output=yaml; done; ` +
		`for kind in nodes ippools ipreservations ipamconfigurations blockaffinities bgpconfigurations bgppeers bgpfilters felixconfigurations ` +
		`clusterinformations profiles tiers hostendpoints globalnetworkpolicies globalnetworksets kubecontrollersconfigurations; do ` +
		`echo "== $kind"; calicoctl get "$kind" --output=yaml; done`},
}

// fromMachine returns the files of a machine. What can't be had is said in the file that it belongs to.
func fromMachine(ctx context.Context, m lab.Machine, h *remote.Host) []File {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("not after %s", patience))
	defer cancel()
	list := everywhere
	switch m.Role {
	case lab.RoleCalico:
		list = append(list[:len(list):len(list)], onNodes...)
	case lab.RoleEtcd:
		list = append(list[:len(list):len(list)], onEtcd...)
	case lab.RoleRouter:
		list = append(list[:len(list):len(list)], onRouters...)
	}
	files := make([]File, len(list))
	var wg sync.WaitGroup
	for i, c := range list {
		wg.Go(func() {
			out, err := h.Script(ctx, c.command)
			if err != nil {
				out += fmt.Sprintf("\n(%v)", err)
			}
			files[i] = File{path.Join(m.Name, c.name+".txt"), []byte(out + "\n")}
		})
	}
	wg.Wait()
	return files
}

// Write writes a .tar.gz of files, in a directory of the archive's own name. It appears when it is whole. What looks like a
// secret is masked.
func Write(file string, files []File, at time.Time) (err error) {
	top := strings.TrimSuffix(path.Base(file), ".tar.gz")
	f, err := os.CreateTemp(path.Dir(file), "logs.") // with mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already when all went well
	z := gzip.NewWriter(f)
	t := tar.NewWriter(z)
	for _, entry := range files {
		content := []byte(secret.Mask(string(entry.Content)))
		hdr := &tar.Header{Name: path.Join(top, entry.Name), Mode: 0o644, Size: int64(len(content)), ModTime: at}
		if err = errors.Join(err, t.WriteHeader(hdr)); err == nil {
			_, err = t.Write(content)
		}
	}
	if err = errors.Join(err, t.Close(), z.Close(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}
