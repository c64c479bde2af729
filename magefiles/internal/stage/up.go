package stage

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
	"github.com/calico-cni-lab/lab/scripts"
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
		return h.Script(ctx, scripts.Text("machine-lacks.sh"))
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
		if err := install(ctx, h); err != nil {
			return err
		}
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

// missingPackages is how machine-lacks.sh begins when there are any.
const missingPackages = "packages are missing: "

// install installs the packages that a machine lacks, which isn't one made from the lab's own box then.
func install(ctx context.Context, h *remote.Host) error {
	lacks, err := h.Script(ctx, scripts.Text("machine-lacks.sh"))
	if err != nil {
		return err
	}
	packages, ok := strings.CutPrefix(lacks, missingPackages)
	if !ok {
		return nil
	}
	args := append([]string{"bash", "-s", "--"}, strings.Fields(packages)...)
	if _, err := h.Feed(ctx, strings.NewReader(scripts.Text("machine-packages.sh")), args...); err != nil {
		return fmt.Errorf("installing %s on %s: %w", packages, h.Name, err)
	}
	return nil
}
