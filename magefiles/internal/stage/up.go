package stage

import (
	"context"
	"fmt"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
)

type up struct {
	*Env
	provider machine.Provider
}

// Up is the stage that has the machines made and booted, until each answers SSH and runs Docker Engine.
func Up(e *Env, p machine.Provider) Stage { return up{e, p} }

func (up) Name() string { return "up" }

func (s up) Check(ctx context.Context) (bool, string, error) {
	all, err := s.provider.Status(ctx)
	if err != nil {
		return false, "", err
	}
	for _, m := range all {
		if m.State != machine.Running {
			return false, m.Machine + " is " + string(m.State), nil
		}
	}
	ok := fmt.Sprintf("%d machines answer SSH and run Docker", len(all))
	return s.check(ctx, s.Lab.Machines, ok, func(ctx context.Context, _ lab.Machine, h *remote.Host) (string, error) {
		if _, err := h.Run(ctx, "systemctl", "is-active", "--quiet", "docker"); err != nil {
			return "Docker does not run", ctx.Err()
		}
		return "", nil
	})
}

func (s up) Apply(ctx context.Context) error {
	if err := s.Maker.Preflight(); err != nil {
		return err
	}
	if err := s.provider.Preflight(ctx); err != nil {
		return err
	}
	if _, err := s.provider.Up(ctx); err != nil {
		return err
	}
	return s.on(ctx, s.Lab.Machines, func(ctx context.Context, m lab.Machine, h *remote.Host) error {
		// On a machine that is booting this waits for the start that is under way.
		if _, err := h.Sudo(ctx, "systemctl", "start", "docker.service"); err != nil {
			return err
		}
		return until(ctx, "Docker runs on "+m.Name, 3*time.Minute, func(ctx context.Context) (string, error) {
			_, err := h.Sudo(ctx, "docker", "version", "--format", "{{.Server.Version}}")
			return "", err
		})
	})
}
