package stage

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/calico"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
)

type node struct{ *Env }

// Calico is the stage that puts calicoctl on every machine and runs calico-node on the Calico nodes, until the
// nodes are registered and every BGP session of the node-to-node mesh is Established.
func Calico(e *Env) Stage { return node{e} }

func (node) Name() string { return "calico" }

func (s node) container(m lab.Machine, image artifact.Image) container {
	return container{
		part: "calico-node", name: calico.NodeContainer(s.Maker.Pins.Calico), image: image,
		network: "host",
		// What Felix, BIRD and confd need, instead of --privileged: that asks for CAP_SYS_RESOURCE, which
		// a computer that is itself a container may lack.
		caps:     []string{"NET_ADMIN", "NET_RAW", "NET_BIND_SERVICE", "SYS_MODULE", "SYS_PTRACE", "IPC_LOCK"},
		sysWrite: true, // Felix writes to /proc/sys/net
		env: []string{
			"NODENAME=" + m.Name,
			"IP=" + m.Address.String(), // found by itself, it would be Vagrant's NAT interface on every machine
			"IP6=none",
			"CALICO_NETWORKING_BACKEND=bird",
			"NO_DEFAULT_POOLS=true",
			"CALICO_MANAGE_CNI=false",
			"DATASTORE_TYPE=etcdv3",
			"ETCD_ENDPOINTS=" + calico.EtcdURL(s.Lab),
			"FELIX_HEALTHENABLED=true",
		},
		volumes: []string{
			"/var/log/calico:/var/log/calico",
			"/var/run/calico:/var/run/calico",
			"/var/lib/calico:/var/lib/calico",
			"/lib/modules:/lib/modules:ro",
			"/run/docker/plugins:/run/docker/plugins",
		},
		cmd: []string{"start_runit"},
	}
}

// files are calicoctl and its configuration.
func (s node) files(ctx context.Context) ([]remote.File, error) {
	dir, err := s.Maker.Calico(ctx)
	if err != nil {
		return nil, err
	}
	sums, err := artifact.Sums(dir)
	if err != nil {
		return nil, err
	}
	cfg, err := render("calicoctl.cfg.tmpl", map[string]string{"EtcdURL": calico.EtcdURL(s.Lab)})
	if err != nil {
		return nil, err
	}
	return []remote.File{
		{Path: "/usr/local/bin/calicoctl", Mode: 0o755, Source: filepath.Join(dir, "calicoctl"), SHA256: sums["calicoctl"]},
		{Path: "/etc/calico/calicoctl.cfg", Mode: 0o644, Content: cfg},
	}, nil
}

func (s node) Check(ctx context.Context) (bool, string, error) {
	files, err := s.files(ctx)
	if err != nil {
		return false, "", err
	}
	images, err := s.Maker.Images(ctx)
	if err != nil {
		return false, "", err
	}
	ok := fmt.Sprintf("calico-node v%s runs on %d nodes, BGP Established between all", s.Maker.Pins.Calico, len(s.nodes()))
	return s.check(ctx, s.Lab.Machines, ok, func(ctx context.Context, m lab.Machine, h *remote.Host) (string, error) {
		if lack, err := missing(ctx, h, files); lack != "" || err != nil {
			return lack, err
		}
		if m.Role != lab.RoleCalico {
			return s.unregistered(ctx, h)
		}
		return first(
			func() (string, error) { return s.container(m, images.Node).lack(ctx, h) },
			func() (string, error) { return s.unpeered(ctx, m, h) },
		)
	})
}

// unregistered says which nodes the datastore doesn't know.
func (s node) unregistered(ctx context.Context, h *remote.Host) (string, error) {
	registered, err := calico.Nodes(ctx, h)
	if err != nil {
		return "", err
	}
	for _, m := range s.nodes() {
		if _, ok := registered[m.Name]; !ok {
			return m.Name + " is not registered", nil
		}
	}
	return "", nil
}

// unpeered says which of the other nodes a node has no Established session with.
func (s node) unpeered(ctx context.Context, m lab.Machine, h *remote.Host) (string, error) {
	peers, err := calico.Peers(ctx, h, calico.NodeContainer(s.Maker.Pins.Calico))
	if err != nil {
		return "BIRD does not answer yet", nil
	}
	for _, other := range s.nodes() {
		if other.Name == m.Name {
			continue
		}
		if p := peers[other.Address]; !p.Established() {
			return fmt.Sprintf("BGP to %s is %s", other.Name, p), nil
		}
	}
	return "", nil
}

func (s node) Apply(ctx context.Context) error {
	files, err := s.files(ctx)
	if err != nil {
		return err
	}
	images, err := s.Maker.Images(ctx)
	if err != nil {
		return err
	}
	return s.on(ctx, s.Lab.Machines, func(ctx context.Context, m lab.Machine, h *remote.Host) error {
		if m.Role != lab.RoleCalico {
			return putMissing(ctx, h, files)
		}
		if err := h.NoteNew(ctx, "/var/log/calico", "/var/lib/calico", "/var/run/calico", "/run/docker/plugins", "/lib/modules/"); err != nil {
			return err
		}
		if err := s.container(m, images.Node).ensure(ctx, h); err != nil {
			return err
		}
		// calicoctl arrives while BIRD starts.
		if err := putMissing(ctx, h, files); err != nil {
			return err
		}
		return until(ctx, "BGP is Established on "+m.Name, 3*time.Minute, func(ctx context.Context) (string, error) {
			return s.unpeered(ctx, m, h)
		})
	})
}
