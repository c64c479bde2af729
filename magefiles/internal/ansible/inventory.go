// Package ansible gives the playbooks in ansible/ what they need from the lab: hosts, groups and variables.
package ansible

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
	"github.com/calico-cni-lab/lab/magefiles/internal/spec"
	"github.com/calico-cni-lab/lab/magefiles/internal/stage"
	"github.com/calico-cni-lab/lab/scripts"
)

// Inventory is what a dynamic inventory prints
// (https://docs.ansible.com/ansible/latest/dev_guide/developing_inventory.html#inventory-scripts).
type Inventory struct {
	Meta   meta  `json:"_meta"`
	All    group `json:"all"`
	Etcd   group `json:"etcd"`
	Calico group `json:"calico"`
	Router group `json:"router"`
}

type meta struct {
	HostVars map[string]hostVars `json:"hostvars"`
}

type group struct {
	Hosts    []string `json:"hosts,omitzero"`
	Children []string `json:"children,omitempty"`
	Vars     any      `json:"vars,omitempty"`
}

// said is a machine's text, or has some in it: its users' names and homes. Ansible takes variables for templates, and a template
// runs what it likes on this computer, so one that looks like a template is marked as none
// (https://docs.ansible.com/ansible/latest/playbook_guide/playbooks_advanced_syntax.html#unsafe-or-raw-strings).
type said string

// MarshalJSON implements json.Marshaler.
func (s said) MarshalJSON() ([]byte, error) {
	if strings.Contains(string(s), "{") {
		return json.Marshal(map[string]string{"__ansible_unsafe": string(s)})
	}
	return json.Marshal(string(s))
}

// hostVars differ from machine to machine.
type hostVars struct {
	ControlPath    string           `json:"ansible_control_path"`
	ArtifactsThere bool             `json:"lab_artifacts_there"` // whether the machine itself sees this computer's artifacts
	Lacks          []said           `json:"lab_lacks"`           // Debian packages whose programs are missing
	Containers     []container      `json:"lab_containers"`
	Files          map[string]files `json:"lab_files"`             // by stage, and certificates
	Go             *toolchain       `json:"lab_go,omitempty"`      // on the Calico nodes
	Cnitool        said             `json:"lab_cnitool,omitempty"` // there, too: the program
	Etcd           *fact.Etcd       `json:"lab_etcd,omitempty"`    // on the machines of its members
	Sessions       int              `json:"lab_sessions"`          // with how many nodes it is to speak BGP
	Birdc          []string         `json:"lab_birdc,omitempty"`   // the command that asks its BIRD
	Reflector      bool             `json:"lab_reflector"`
}

// container is a spec.Container.
type container struct {
	Part     string   `json:"part"`
	Name     string   `json:"name"`
	Several  bool     `json:"several"`
	Image    image    `json:"image"`
	Network  string   `json:"network"`
	Hostname string   `json:"hostname"`
	Env      []string `json:"env"`
	Volumes  []string `json:"volumes"`
	Caps     []string `json:"caps"`
	Seccomp  bool     `json:"seccomp"`
	SysWrite bool     `json:"sys_write"`
	Init     bool     `json:"init"`
	Grace    int      `json:"grace"`
	CA       string   `json:"ca"`
	Cmd      []string `json:"cmd"`
	Flags    []string `json:"flags"` // all of the above, as docker run takes it
}

type image struct {
	Ref     string `json:"ref"`
	ID      string `json:"id"`
	Archive string `json:"archive"` // as the machine sees it, where it sees artifacts, else as this computer does
}

// files are remote.Files by what has to be done for them, and the directories that they are in.
type files struct {
	Dirs     []directory `json:"dirs"`
	Programs []file      `json:"programs"` // have a src
	Rendered []file      `json:"rendered"` // have their content
	Links    []link      `json:"links"`
}

// directory is made where it is missing, for an owner; one that is there stays as it is.
type directory struct {
	Path  said `json:"path"`
	Owner said `json:"owner"`
	Group said `json:"group"`
}

type file struct {
	Path    said   `json:"path"`
	Mode    string `json:"mode"`
	Owner   said   `json:"owner"`
	Group   said   `json:"group"`
	Src     string `json:"src,omitempty"` // as the machine sees it, where it does, else as this computer does
	There   bool   `json:"there"`         // whether the machine sees it
	Content string `json:"content,omitempty"`
}

type link struct {
	Path   said   `json:"path"`
	Target string `json:"target"`
}

// toolchain is Go's.
type toolchain struct {
	Release string `json:"release"` // go1.26.8, as in the file VERSION
	Root    string `json:"root"`    // where it is on a machine
	Files   int    `json:"files"`   // in the tree
	Tar     string `json:"tar"`     // of the tree go/; like image.Archive
}

// vars are the same for all machines.
type vars struct {
	Python        string                       `json:"ansible_python_interpreter"`
	SSHArgs       string                       `json:"ansible_ssh_common_args"`
	EtcdAuth      fact.Auth                    `json:"lab_etcd_auth"`
	Network       string                       `json:"lab_network"`
	PluginDir     string                       `json:"lab_plugin_dir"`
	ConfDir       string                       `json:"lab_conf_dir"`
	PlumbWorkload said                         `json:"lab_plumb_workload"` // the shell function that plumbs one
	LabelPart     string                       `json:"lab_label_part"`     // labels of the lab's containers
	LabelImage    string                       `json:"lab_label_image"`
	LabelCA       string                       `json:"lab_label_ca"`
	Pool          spec.Resource[spec.PoolSpec] `json:"lab_pool"`
	BGP           bgp                          `json:"lab_bgp"`
}

// bgp is how the nodes are to speak BGP.
type bgp struct {
	AS        uint32                        `json:"as"` // 0: nobody says
	Mesh      bool                          `json:"mesh"`
	ClusterID string                        `json:"cluster_id"`
	Label     string                        `json:"label"`         // of the reflectors
	Mark      string                        `json:"mark"`          // annotation of the BGPConfiguration
	Peer      *spec.Resource[spec.PeerSpec] `json:"peer"`          // where there are reflectors
	PeerName  string                        `json:"peer_name"`     // also where there are none
	Edit      said                          `json:"edit_resource"` // the shell function that edits a resource
	// Routers are the BGPPeers of the routers.
	Routers []spec.Resource[spec.PeerSpec] `json:"routers"`
}

func newBGP(s *spec.Spec) bgp {
	b := bgp{
		AS: s.Lab.BGP.AS, Mesh: s.Lab.BGP.Mesh, ClusterID: spec.ClusterID, Label: fact.LabelReflector, Mark: fact.LabelAS, PeerName: spec.ReflectorPeer,
		Edit: said(scripts.Text("edit-resource.sh")), Routers: []spec.Resource[spec.PeerSpec]{},
	}
	for _, m := range s.Lab.Routers() {
		b.Routers = append(b.Routers, spec.RouterPeer(m))
	}
	if len(s.Lab.BGP.Reflectors) > 0 {
		peer := s.ReflectorPeer()
		b.Peer = &peer
	}
	return b
}

// Machine is what the inventory needs to know of a machine that runs.
type Machine struct {
	Endpoint remote.Endpoint
	Login    fact.Login
	Lacks    []string // as in fact.Machine
}

// New returns the inventory of what a lab is to be. machines are all of the lab's, by name; OpenSSH enters them with the file
// sshConfig.
func New(s *spec.Spec, machines map[string]Machine, sshConfig string) (Inventory, error) {
	inv := Inventory{
		Meta: meta{HostVars: map[string]hostVars{}},
		// A group that says nothing at all Ansible takes for a host of that name.
		Router: group{Hosts: []string{}},
		All: group{Children: []string{string(lab.RoleEtcd), string(lab.RoleCalico), string(lab.RoleRouter)}, Vars: vars{
			Python: "/usr/bin/python3", SSHArgs: "-F " + command.Quote(sshConfig),
			EtcdAuth: spec.EtcdAuth(), Network: s.Lab.Network,
			PluginDir: spec.PluginDir, ConfDir: spec.ConfDir, LabelPart: fact.LabelPart, LabelImage: fact.LabelImage, LabelCA: fact.LabelCA,
			Pool: s.Pool(), BGP: newBGP(s), PlumbWorkload: said(scripts.Text("plumb-workload.sh")),
		}},
	}
	for _, m := range s.Lab.Machines {
		is, ok := machines[m.Name]
		if !ok {
			return inv, fmt.Errorf("nothing is known of %s; bring it up with: go tool mage up", m.Name)
		}
		inv.Meta.HostVars[m.Name] = newHostVars(s, m, is, sshConfig)
		switch m.Role {
		case lab.RoleEtcd:
			inv.Etcd.Hosts = append(inv.Etcd.Hosts, m.Name)
		case lab.RoleCalico:
			inv.Calico.Hosts = append(inv.Calico.Hosts, m.Name)
		case lab.RoleRouter:
			inv.Router.Hosts = append(inv.Router.Hosts, m.Name)
		}
	}
	return inv, nil
}

// certificates is where a machine's certificates are among its files.
const certificates = "certificates"

// controlPath is where OpenSSH keeps its connection to a machine. Ansible names it by the host as it is called on its command line, port and
// user, which are the same in two labs: playbooks for one would be run on the other's machines. OpenSSH's own %h is localhost for every
// machine whose connection goes through a ProxyCommand.
func controlPath(sshConfig, machine string) string {
	return fmt.Sprintf("%%(directory)s/%.8x", sha256.Sum256([]byte(sshConfig+"\x00"+machine)))
}

func newHostVars(s *spec.Spec, m lab.Machine, is Machine, sshConfig string) hostVars {
	_, shared := is.Endpoint.Shares.Path(s.Artifacts.Calico)
	v := hostVars{
		ControlPath: controlPath(sshConfig, m.Name), ArtifactsThere: shared, Lacks: []said{},
		Files: map[string]files{stage.Calico: newFiles(s.CalicoFiles(m), is), certificates: newFiles(s.CertificateFiles(m), is)},
	}
	for _, name := range is.Lacks {
		v.Lacks = append(v.Lacks, said(name))
	}
	for _, c := range s.Containers(m) {
		v.Containers = append(v.Containers, newContainer(c, is))
	}
	if m.Role == lab.RoleEtcd {
		access := spec.EtcdAccess(s.Lab, m)
		v.Etcd = &access
		v.Containers[0].Flags = s.Founding(m).Flags()
	}
	if m.Role == lab.RoleCalico {
		v.Files[stage.Golang] = newFiles(s.GoFiles(), is)
		v.Files[stage.CNIPlugins] = newFiles(slices.Concat(s.PluginFiles(), []remote.File{s.Conflist(m)}, s.OwnFiles()), is)
		v.Files[stage.Cnitool] = newFiles(s.CnitoolFiles(), is)
		v.Go = &toolchain{
			Release: "go" + s.Lab.Versions.Go.String(), Root: spec.GoRoot, Files: s.Artifacts.GoFiles,
			Tar: is.sees(path.Join(s.Artifacts.Toolchain, artifact.ToolchainTar)),
		}
		v.Cnitool = said(is.Login.Cnitool())
		// That it speaks with the routers, too, they are asked.
		v.Sessions, v.Reflector = len(stage.SessionsOf(s, m))-len(s.Lab.Routers()), s.Lab.BGP.Reflects(m.Name)
		v.Birdc = []string{"docker", "exec", s.NodeContainer(), "birdcl", "-s", "/var/run/calico/bird.ctl"}
	}
	if m.Role == lab.RoleRouter {
		v.Sessions, v.Birdc = len(stage.SessionsOf(s, m)), []string{"docker", "exec", spec.RouterContainer, "birdc"}
	}
	return v
}

// sees returns the path under which the machine sees a file of this computer; where it doesn't, the file's own.
func (m Machine) sees(here string) string {
	if there, ok := m.Endpoint.Shares.Path(here); ok {
		return there
	}
	return here
}

func newContainer(c spec.Container, on Machine) container {
	return container{
		Part: c.Part, Name: c.Name, Several: c.Several, Image: image{Ref: c.Image.Ref, ID: c.Image.ID, Archive: on.sees(c.Image.Archive)},
		Network: c.Network, Hostname: c.Hostname, Env: list(c.Env), Volumes: list(c.Volumes), Caps: list(c.Caps),
		Seccomp: c.Seccomp, SysWrite: c.SysWrite, Init: c.Init, Grace: c.Grace, CA: c.CA, Cmd: list(c.Cmd), Flags: c.Flags(),
	}
}

// list is an empty list in JSON where there is none: null has no filters in a playbook.
func list[T any](values []T) []T {
	if values == nil {
		return []T{}
	}
	return values
}

func newFiles(all []remote.File, on Machine) files {
	f := files{Dirs: []directory{}, Programs: []file{}, Rendered: []file{}, Links: []link{}}
	seen := map[string]bool{}
	for _, one := range spec.ForLogin(all, on.Login) {
		if dir := path.Dir(one.Path); !seen[dir] {
			seen[dir] = true
			f.Dirs = append(f.Dirs, newDirectory(dir, on.Login))
		}
		owner, grp := said("root"), said("root")
		if user, rest, ok := strings.Cut(one.Owner, ":"); ok {
			owner, grp = said(user), said(rest)
		}
		to := file{Path: said(one.Path), Mode: mode(one.Mode), Owner: owner, Group: grp}
		switch {
		case one.Link != "":
			f.Links = append(f.Links, link{Path: said(one.Path), Target: one.Link})
		case one.Source != "":
			to.Src = on.sees(one.Source)
			_, to.There = on.Endpoint.Shares.Path(one.Source)
			f.Programs = append(f.Programs, to)
		default:
			to.Content = string(one.Content)
			f.Rendered = append(f.Rendered, to)
		}
	}
	return f
}

// newDirectory: what is in a user's home is the user's.
func newDirectory(dir string, l fact.Login) directory {
	if l.Home != "" && strings.HasPrefix(dir, l.Home+"/") {
		return directory{Path: said(dir), Owner: said(l.User), Group: said(l.Group)}
	}
	return directory{Path: said(dir), Owner: "root", Group: "root"}
}

// mode is how Ansible takes permission bits: without the 0 YAML's octal could be meant.
func mode(m fs.FileMode) string { return fmt.Sprintf("0%o", m.Perm()) }
