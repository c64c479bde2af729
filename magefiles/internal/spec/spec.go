// Package spec is what each machine of a lab is to have: containers, files, resources. It is the one place for them; the
// stages bring them about, conditions compare facts with them, and Ansible's inventory hands them to the playbooks.
package spec

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"text/template"

	"golang.org/x/sync/errgroup"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/pki"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
	"github.com/calico-cni-lab/lab/templates"
)

// Paths on a machine.
const (
	PluginDir    = "/opt/cni/bin"
	ConfDir      = "/etc/cni/net.d"
	Calicoctl    = "/usr/local/bin/calicoctl"
	calicoctlCfg = "/etc/calico/calicoctl.cfg"
	GoRoot       = "/usr/local/go"
	goProfile    = "/etc/profile.d/golang.sh"
	homeBin      = "~/go/bin"                 // of the login user
	CNIState     = "/var/lib/cni"             // what libcni and the plugins remember
	nodename     = "/var/lib/calico/nodename" // which node the machine is, to Calico's plugin
)

// TCP ports where something of the lab's answers.
const (
	EtcdPort     = 2379
	BGPPort      = 179
	WorkloadPort = 8080
)

// Ports are the TCP ports of the lab on a machine, and what for.
func Ports(r lab.Role) map[uint16]string {
	switch r {
	case lab.RoleEtcd:
		return map[uint16]string{EtcdPort: "etcd answers its clients", 2380: "etcd answers its peers"}
	case lab.RoleRouter:
		return map[uint16]string{BGPPort: "BIRD speaks BGP"}
	}
	return map[uint16]string{BGPPort: "BIRD speaks BGP", WorkloadPort: "the workloads answer", 9099: "Felix says whether it is ready"}
}

// Artifacts are what is put on the machines, made on this computer.
type Artifacts struct {
	Calico, CNI, Toolchain string // directories
	Sums                   map[string]map[string]string
	GoFiles                int    // in the toolchain
	Missing                string // why they aren't there; "" where they are
	Images                 artifact.Images
}

// Make makes the artifacts that aren't in the cache.
func Make(ctx context.Context, m *artifact.Maker) (Artifacts, error) {
	a := Artifacts{Sums: map[string]map[string]string{}}
	if err := m.CheckPublished(); err != nil {
		return a, err
	}
	g, gctx := errgroup.WithContext(ctx)
	for _, part := range []struct {
		dir *string
		get func(context.Context) (string, error)
	}{{&a.Calico, m.OrPublished(m.Calico, m.CalicoctlURL())}, {&a.CNI, m.OrPublished(m.CNI, m.PluginsURL())}, {&a.Toolchain, m.Toolchain}} {
		g.Go(func() (err error) { *part.dir, err = part.get(gctx); return err })
	}
	g.Go(func() (err error) { a.Images, err = m.Images(gctx); return err })
	if err := g.Wait(); err != nil {
		return a, err
	}
	for _, dir := range []string{a.Calico, a.CNI} {
		sums, err := artifact.Sums(dir)
		if err != nil {
			return a, err
		}
		a.Sums[dir] = sums
	}
	var err error
	a.GoFiles, err = artifact.ToolchainFiles(a.Toolchain)
	return a, err
}

// Spec is what a lab is to be.
type Spec struct {
	Lab       *lab.Lab
	Pins      artifact.Pins
	Artifacts Artifacts
	// Certificates are the lab's own, as they are on this computer.
	Certificates pki.Set

	rendered map[string][]byte // templates by name, each node's conflist, and each router's bird.conf
	own      []remote.File     // see OwnFiles
}

// New returns the spec of a lab.
func New(l *lab.Lab, pins artifact.Pins, a Artifacts) (*Spec, error) {
	s := &Spec{Lab: l, Pins: pins, Artifacts: a, rendered: map[string][]byte{}}
	values := map[string]string{"Network": l.Network, "EtcdURL": EtcdURLs(l), "Calicoctl": certDir(certCalicoctl), "CNI": certDir(certCNI)}
	for _, name := range []string{"calicoctl.cfg.tmpl", "golang.sh.tmpl"} {
		if err := s.render(name, name, values); err != nil {
			return nil, err
		}
	}
	for _, m := range l.ByRole(lab.RoleCalico) {
		args, err := labelArgs(m.Workloads.Labels)
		if err != nil {
			return nil, err
		}
		values["Args"] = args
		if err := s.render("conflist "+m.Name, "cni.conflist.tmpl", values); err != nil {
			return nil, err
		}
	}
	for _, m := range l.Routers() {
		if err := s.render("bird.conf "+m.Name, "bird.conf.tmpl", newRouter(l, m)); err != nil {
			return nil, err
		}
	}
	var err error
	s.own, err = ownFiles(l.Plugins)
	return s, err
}

// render keeps a template filled in under a name.
func (s *Spec) render(as, name string, values any) error {
	t, err := template.New(name).Option("missingkey=error").ParseFS(templates.FS, name)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := t.Execute(&b, values); err != nil {
		return err
	}
	s.rendered[as] = b.Bytes()
	return nil
}

// labelArgs are the labels of workloads, as Calico's plugin is told them in a conflist; "" where there are none.
func labelArgs(labels map[string]string) (string, error) {
	if len(labels) == 0 {
		return "", nil
	}
	var args fact.LabelArgs
	list := &args.Mesos.NetworkInfo.Labels.Labels
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		*list = append(*list, fact.Label{Key: name, Value: labels[name]})
	}
	data, err := json.Marshal(args)
	return string(data), err
}

// EtcdURLs are where the datastore answers its clients on the underlay, as etcd's clients take them: a member each.
func EtcdURLs(l *lab.Lab) string {
	var all []string
	for _, m := range l.Members() {
		all = append(all, clientURL(m))
	}
	return strings.Join(all, ",")
}

func clientURL(m lab.Machine) string {
	return "https://" + netip.AddrPortFrom(m.Address, EtcdPort).String()
}

// PeerURL is where a member answers the others, by which etcd knows it.
func PeerURL(m lab.Machine) string { return "https://" + netip.AddrPortFrom(m.Address, 2380).String() }

// Nodes are the Calico nodes.
func (s *Spec) Nodes() []lab.Machine { return s.Lab.ByRole(lab.RoleCalico) }

// NodeContainer names calico-node's container for its release, as the tutorial does: calico-release-v3.31
func (s *Spec) NodeContainer() string {
	v := s.Pins.Calico.Segments()
	return fmt.Sprintf("calico-release-v%d.%d", v[0], v[1])
}

// Names of the other containers.
const (
	EtcdContainer = "etcd"
	EtcdVolume    = "calico-cni-lab-etcd"
)

// Etcd is the container of a member of the datastore. Its data is on a volume, which outlives it.
func (s *Spec) Etcd(m lab.Machine) Container {
	own, admin := certDir(certEtcd), certDir(certRoot)
	peer := PeerURL(m)
	c := Container{
		Part: fact.PartEtcd, Name: EtcdContainer, Image: s.Artifacts.Images.Etcd, CA: s.Certificates.CA.CertSum,
		Network: "host", Seccomp: true,
		Volumes: []string{EtcdVolume + ":/var/lib/etcd:rw", mountCert(certEtcd), mountCert(certRoot)},
		// Whoever may run etcdctl in the container is etcd's administrator.
		Env: []string{"ETCDCTL_CACERT=" + admin + "/ca.crt", "ETCDCTL_CERT=" + admin + "/tls.crt", "ETCDCTL_KEY=" + admin + "/tls.key"},
		Cmd: []string{
			"etcd", "--name", m.Name, "--data-dir", "/var/lib/etcd",
			// On the underlay, and for the machine itself; whoever has no certificate of the lab's isn't answered.
			"--listen-client-urls", clientURL(m) + ",https://127.0.0.1:2379", "--advertise-client-urls", clientURL(m),
			"--client-cert-auth", "--trusted-ca-file", own + "/ca.crt", "--cert-file", own + "/tls.crt", "--key-file", own + "/tls.key",
			"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
			"--peer-client-cert-auth", "--peer-trusted-ca-file", own + "/ca.crt", "--peer-cert-file", own + "/tls.crt", "--peer-key-file", own + "/tls.key",
			"--enable-grpc-gateway=false", // it knows nobody by his certificate
		},
	}
	asked := "127.0.0.1:2379" // as without being told
	if len(s.Lab.Members()) > 1 {
		asked = EtcdURLs(s.Lab)
	}
	c.Env = append(c.Env, "ETCDCTL_ENDPOINTS="+asked)
	return c
}

// Founding is how a member's container is made that founds a cluster with all the others. What it is told matters only as long as
// the member has no data, so it is no part of what the container is to be.
func (s *Spec) Founding(m lab.Machine) Container {
	var all []string
	for _, other := range s.Lab.Members() {
		all = append(all, other.Name+"="+PeerURL(other))
	}
	return s.bootstrapped(m, "new", all)
}

// Joining is Founding's of a member without data that the cluster has admitted; known are all that the cluster has.
func (s *Spec) Joining(m lab.Machine, known []fact.Member) Container {
	var all []string
	for _, other := range known {
		name := other.Name
		if other.Peer == PeerURL(m) {
			name = m.Name
		}
		all = append(all, name+"="+other.Peer)
	}
	return s.bootstrapped(m, "existing", all)
}

func (s *Spec) bootstrapped(m lab.Machine, state string, members []string) Container {
	c := s.Etcd(m)
	c.Env = append(c.Env, "ETCD_INITIAL_CLUSTER="+strings.Join(members, ","), "ETCD_INITIAL_CLUSTER_STATE="+state, "ETCD_INITIAL_CLUSTER_TOKEN="+s.Lab.Name)
	return c
}

// Node is calico-node's container on a machine.
func (s *Spec) Node(m lab.Machine) Container {
	return Container{
		Part: fact.PartNode, Name: s.NodeContainer(), Image: s.Artifacts.Images.Node, CA: s.Certificates.CA.CertSum,
		Network: "host",
		// What Felix, BIRD and confd need, instead of --privileged: that asks for CAP_SYS_RESOURCE, which a computer
		// that is itself a container may lack.
		Caps:     []string{"NET_ADMIN", "NET_RAW", "NET_BIND_SERVICE", "SYS_MODULE", "SYS_PTRACE", "IPC_LOCK"},
		SysWrite: true, // Felix writes to /proc/sys/net
		Env: []string{
			"NODENAME=" + m.Name,
			"IP=" + m.Address.String(), // found by itself, it would be Vagrant's NAT interface on every machine
			"IP6=none",
			"CALICO_NETWORKING_BACKEND=bird",
			"NO_DEFAULT_POOLS=true",
			"CALICO_MANAGE_CNI=false",
			"DATASTORE_TYPE=etcdv3",
			"ETCD_ENDPOINTS=" + EtcdURLs(s.Lab),
			"ETCD_CA_CERT_FILE=" + certDir(certNode) + "/ca.crt",
			"ETCD_CERT_FILE=" + certDir(certNode) + "/tls.crt",
			"ETCD_KEY_FILE=" + certDir(certNode) + "/tls.key",
			"WAIT_FOR_DATASTORE=true", // it may start before etcd
			"FELIX_HEALTHENABLED=true",
			"FELIX_MTUIFACEPATTERN=" + mtuPattern,
		},
		Volumes: []string{
			mountCert(certNode),
			"/var/log/calico:/var/log/calico",
			"/var/run/calico:/var/run/calico",
			"/var/lib/calico:/var/lib/calico",
			"/lib/modules:/lib/modules:ro",
			"/run/docker/plugins:/run/docker/plugins",
		},
		Cmd: []string{"start_runit"},
	}
}

// mtuPattern matches the interfaces from which Felix takes the MTU that workloads get: Felix' own pattern, and nspawn's host0. Where
// none matches they get 1460.
const mtuPattern = `^(host0|(en|wl|ww|sl|ib)[Pcopsvx].*|(eth|wlan|wwan).*)$`

// NodeDirs are the directories that Docker makes for calico-node's volumes where they aren't there.
var NodeDirs = []string{"/var/log/calico", "/var/lib/calico", "/var/run/calico", "/run/docker/plugins/", "/lib/modules/"}

// CNIResults is the pattern of the files in which libcni remembers what cnitool attached to a network. Other runtimes have theirs
// in the same directory.
func CNIResults(network string) string { return "/var/lib/cni/results/" + network + "-cnitool-*" }

// Workload is the nth container on a Calico node that is plumbed, from 1 on.
func (s *Spec) Workload(m lab.Machine, n int) Container {
	name := fact.WorkloadName(n)
	return Container{
		Part: fact.PartWorkload, Name: name, Several: true, Image: s.Artifacts.Images.Workload,
		Network: "none", Hostname: name + "-" + m.Name, Seccomp: true, Init: true, Grace: 1,
		Cmd: []string{
			"socat", fmt.Sprintf("TCP-LISTEN:%d,fork,reuseaddr", WorkloadPort),
			fmt.Sprintf("SYSTEM:echo %s on %s sees you as $SOCAT_PEERADDR", name, m.Name),
		},
	}
}

// Workloads are all of a Calico node's.
func (s *Spec) Workloads(m lab.Machine) []Container {
	var all []Container
	for n := range m.Workloads.Count {
		all = append(all, s.Workload(m, n+1))
	}
	return all
}

// Containers are all of a machine's, in the order of the stages.
func (s *Spec) Containers(m lab.Machine) []Container {
	switch m.Role {
	case lab.RoleEtcd:
		return []Container{s.Etcd(m)}
	case lab.RoleRouter:
		return []Container{s.Router()}
	}
	return append([]Container{s.Node(m)}, s.Workloads(m)...)
}

// Survey is the look at a machine that existed before the lab, where others may use what the lab needs.
func Survey(m lab.Machine) fact.Request {
	return fact.Request{Ports: slices.Sorted(maps.Keys(Ports(m.Role)))}
}

// Request is the look at one of the lab's machines; existing says whether it existed before the lab.
func Request(l *lab.Lab, m lab.Machine, existing bool) fact.Request {
	var r fact.Request
	if existing {
		r = Survey(m)
	}
	r.Files = []string{Calicoctl, calicoctlCfg}
	if m.Role == lab.RoleRouter {
		r.Dirs, r.BIRD = append(r.Dirs, birdDir), RouterSocket
	}
	for _, name := range Held(m.Role) {
		r.Dirs = append(r.Dirs, certDir(name))
	}
	if m.Role == lab.RoleEtcd {
		access := EtcdAccess(l, m)
		r.Etcd = &access
	}
	if m.Role == lab.RoleCalico {
		r.Files = append(r.Files, goProfile)
		r.Dirs = append(r.Dirs, PluginDir, ConfDir, homeBin)
		r.GoTree = true
		r.Dial = &fact.Dial{Certificate: certDir(certCalicoctl)}
		for _, etcd := range l.ByRole(lab.RoleEtcd) {
			r.Dial.To = append(r.Dial.To, netip.AddrPortFrom(etcd.Address, EtcdPort))
		}
	}
	return r
}

// Deep makes a request that of a baseline: with the contents of the small files that matter, and all that is only looked at then.
func Deep(r fact.Request) fact.Request {
	r.Deep, r.Texts = true, []string{ConfDir, calicoctlCfg, goProfile, CNIState, nodename}
	return r
}

// Digest tells one lab's spec from another's: what lab.yaml says, and what is made of the pins.
func (s *Spec) Digest() string {
	h := sha256.New()
	var conflists []remote.File
	for _, m := range s.Lab.Machines {
		fmt.Fprintf(h, "%v\n", m)
		conflists = append(conflists, s.Conflist(m))
		if m.Role == lab.RoleRouter {
			conflists = append(conflists, s.RouterFiles(m)...)
		}
		for _, c := range s.Containers(m) {
			c.CA = "" // certificates are issued anew, and the lab stays what it is
			fmt.Fprintf(h, "%q\n", c.Flags())
		}
	}
	for _, f := range slices.Concat(s.CalicoctlFiles(), s.GoFiles(), s.PluginFiles(), s.OwnFiles(), conflists, s.CnitoolFiles()) {
		fmt.Fprintf(h, "%q %o %q %q %q\n", f.Path, f.Mode, f.Owner, f.Link, f.Sum())
	}
	fmt.Fprintf(h, "%+v %+v %s %s\n", s.Lab.BGP, s.Lab.Pool, s.Lab.Network, s.Lab.Versions.Go)
	return hex.EncodeToString(h.Sum(nil))
}
