package stage

import (
	"context"
	"fmt"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/calico"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
)

// EtcdContainer is the datastore's container.
const EtcdContainer = "etcd"

type etcd struct{ *Env }

// Etcd is the stage that runs etcd in a container on the etcd machine. Its data is on a volume, which
// outlives the container.
func Etcd(e *Env) Stage { return etcd{e} }

func (etcd) Name() string { return "etcd" }

func (s etcd) container(ctx context.Context) (container, error) {
	images, err := s.Maker.Images(ctx)
	if err != nil {
		return container{}, err
	}
	url := calico.EtcdURL(s.Lab)
	return container{
		part: "etcd", name: EtcdContainer, image: images.Etcd,
		network: "host", seccomp: true, volumes: []string{"calico-cni-lab-etcd:/var/lib/etcd:rw"}, // ":rw" is how Ansible writes it
		cmd: []string{
			"etcd", "--name", s.Lab.Etcd().Name, "--data-dir", "/var/lib/etcd",
			"--listen-client-urls", "http://0.0.0.0:2379", "--advertise-client-urls", url,
		},
	}, nil
}

func (s etcd) Check(ctx context.Context) (bool, string, error) {
	c, err := s.container(ctx)
	if err != nil {
		return false, "", err
	}
	ok := fmt.Sprintf("etcd %s is healthy on %s", s.Maker.Pins.Etcd, s.Lab.Etcd().Name)
	return s.check(ctx, s.Lab.ByRole(lab.RoleEtcd), ok, func(ctx context.Context, _ lab.Machine, h *remote.Host) (string, error) {
		return first(
			func() (string, error) { return c.lack(ctx, h) },
			func() (string, error) { return s.unhealthy(ctx, h), nil },
		)
	})
}

func (s etcd) unhealthy(ctx context.Context, h *remote.Host) string {
	if err := calico.EtcdHealth(ctx, h, s.Lab); err != nil {
		return err.Error()
	}
	return ""
}

func (s etcd) Apply(ctx context.Context) error {
	c, err := s.container(ctx)
	if err != nil {
		return err
	}
	return s.on(ctx, s.Lab.ByRole(lab.RoleEtcd), func(ctx context.Context, _ lab.Machine, h *remote.Host) error {
		if err := c.ensure(ctx, h); err != nil {
			return err
		}
		return until(ctx, "etcd is healthy", 2*time.Minute, func(ctx context.Context) (string, error) {
			return s.unhealthy(ctx, h), nil
		})
	})
}
