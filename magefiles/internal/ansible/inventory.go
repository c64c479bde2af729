// Package ansible gives the playbooks in ansible/ what they need from the lab: hosts, groups and variables.
package ansible

import (
	"errors"
	"slices"

	v3 "github.com/projectcalico/api/pkg/apis/projectcalico/v3"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/calico"
	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/computer"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
)

// Needs are what the flow takes on this computer.
var Needs = []computer.Need{{Program: "ansible-playbook", Package: "ansible"}}

// Artifacts are the directories and images that the playbooks put on the machines, on this computer.
type Artifacts struct {
	Calico, CNI, Toolchain string
	Plugins                []string // the reference plugins in CNI
	Images                 artifact.Images
}

// Inventory is what a dynamic inventory prints
// (https://docs.ansible.com/ansible/latest/dev_guide/developing_inventory.html#inventory-scripts).
type Inventory struct {
	Meta   meta  `json:"_meta"`
	All    group `json:"all"`
	Etcd   group `json:"etcd"`
	Calico group `json:"calico"`
}

type meta struct {
	HostVars map[string]hostVars `json:"hostvars"`
}

type group struct {
	Hosts    []string `json:"hosts,omitempty"`
	Children []string `json:"children,omitempty"`
	Vars     any      `json:"vars,omitempty"`
}

// hostVars differ from machine to machine.
type hostVars struct {
	Address        string           `json:"lab_address"` // on the underlay
	User           string           `json:"lab_user"`    // who logs in
	ArtifactsThere bool             `json:"lab_artifacts_there"`
	Artifacts      directories      `json:"lab_artifacts"` // as the machine sees them where they are there, else as this computer does
	Images         map[string]image `json:"lab_images"`
}

type directories struct {
	Calico string `json:"calico"`
	CNI    string `json:"cni"`
	Go     string `json:"go"`
}

type image struct {
	Ref     string `json:"ref"`
	ID      string `json:"id"`
	Archive string `json:"archive"`
}

// vars are the same for all machines.
type vars struct {
	Python           string            `json:"ansible_python_interpreter"`
	SSHArgs          string            `json:"ansible_ssh_common_args"`
	EtcdURL          string            `json:"lab_etcd_url"`
	Network          string            `json:"lab_network"`
	NodeContainer    string            `json:"lab_node_container"`
	PluginDir        string            `json:"lab_plugin_dir"`
	ConfDir          string            `json:"lab_conf_dir"`
	ReferencePlugins []string          `json:"lab_reference_plugins"`
	WorkloadPort     int               `json:"lab_workload_port"`
	Pool             pool              `json:"lab_pool"`
	Versions         map[string]string `json:"lab_versions"`
}

// pool is the part of v3.IPPool that lab.yaml decides.
type pool struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"`
	Metadata   map[string]string `json:"metadata"`
	Spec       map[string]any    `json:"spec"`
}

// New gives the inventory of a lab whose machines are entered through endpoints by OpenSSH with the file sshConfig.
func New(l *lab.Lab, pins artifact.Pins, a Artifacts, endpoints []remote.Endpoint, sshConfig string) Inventory {
	inv := Inventory{
		Meta: meta{HostVars: map[string]hostVars{}},
		All: group{Children: []string{string(lab.RoleEtcd), string(lab.RoleCalico)}, Vars: vars{
			Python: "/usr/bin/python3", SSHArgs: "-F " + command.Quote(sshConfig),
			EtcdURL: calico.EtcdURL(l), Network: l.Network, NodeContainer: calico.NodeContainer(pins.Calico),
			PluginDir: calico.PluginDir, ConfDir: calico.ConfDir, ReferencePlugins: a.Plugins, WorkloadPort: calico.WorkloadPort,
			Pool: pool{
				APIVersion: v3.GroupVersionCurrent, Kind: v3.KindIPPool, Metadata: map[string]string{"name": l.Pool.Name},
				Spec: map[string]any{
					"cidr": l.Pool.CIDR, "blockSize": l.Pool.BlockSize, "ipipMode": l.Pool.IPIPMode,
					"natOutgoing": l.Pool.NATOutgoing, "disabled": l.Pool.Disabled,
				},
			},
			Versions: map[string]string{
				"calico": pins.Calico.String(), "etcd": pins.Etcd.String(), "cnitool": pins.Cnitool.String(),
				"plugins": pins.Plugins.String(), "go": l.Versions.Go.String(),
			},
		}},
	}
	for _, m := range l.Machines {
		i := slices.IndexFunc(endpoints, func(e remote.Endpoint) bool { return e.Machine == m.Name })
		inv.Meta.HostVars[m.Name] = newHostVars(m, a, endpoints[i])
		switch m.Role {
		case lab.RoleEtcd:
			inv.Etcd.Hosts = append(inv.Etcd.Hosts, m.Name)
		case lab.RoleCalico:
			inv.Calico.Hosts = append(inv.Calico.Hosts, m.Name)
		}
	}
	return inv
}

func newHostVars(m lab.Machine, a Artifacts, e remote.Endpoint) hostVars {
	_, shared := e.Shares.Path(a.Calico)
	path := func(here string) string {
		if there, ok := e.Shares.Path(here); ok {
			return there
		}
		return here
	}
	images := map[string]image{}
	for name, i := range map[string]artifact.Image{"etcd": a.Images.Etcd, "node": a.Images.Node, "workload": a.Images.Workload} {
		images[name] = image{Ref: i.Ref, ID: i.ID, Archive: path(i.Archive)}
	}
	return hostVars{
		Address: m.Address.String(), User: e.User, ArtifactsThere: shared,
		Artifacts: directories{Calico: path(a.Calico), CNI: path(a.CNI), Go: path(a.Toolchain)}, Images: images,
	}
}

// Playbooks are what makes the whole lab, in their order.
var Playbooks = []string{"site.yml", "ippool.yml", "calico_networking.yml"}

// Command is the command line that runs all playbooks, in the directory ansible/.
func Command() []string {
	return append([]string{"ansible-playbook", "--inventory", "inventory"}, Playbooks...)
}

// Missing is the error for a computer without Ansible.
func Missing() error {
	if len(computer.Missing(Needs)) == 0 {
		return nil
	}
	return errors.New("ansible-playbook is not installed; on Debian run: sudo apt-get install ansible")
}
