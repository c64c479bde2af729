package stage

import (
	"context"
	"path"
	"path/filepath"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/calico"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
)

type cnitool struct{ *Env }

// Cnitool is the stage that puts cnitool on the Calico nodes, where the tutorial has it, with links beside it to
// Calico's plugins: the tutorial's commands look for them there (CNI_PATH=/home/vagrant/go/bin).
func Cnitool(e *Env) Stage { return cnitool{e} }

func (cnitool) Name() string { return "cnitool" }

func (s cnitool) files(ctx context.Context) ([]remote.File, error) {
	dir, err := s.Maker.CNI(ctx)
	if err != nil {
		return nil, err
	}
	sums, err := artifact.Sums(dir)
	if err != nil {
		return nil, err
	}
	return []remote.File{{
		Path: calico.Cnitool, Mode: 0o755, Owner: "vagrant:vagrant",
		Source: filepath.Join(dir, "cnitool"), SHA256: sums["cnitool"],
	}}, nil
}

func (s cnitool) Check(ctx context.Context) (bool, string, error) {
	files, err := s.files(ctx)
	if err != nil {
		return false, "", err
	}
	return s.check(ctx, s.nodes(), "cnitool is in "+path.Dir(calico.Cnitool), func(ctx context.Context, _ lab.Machine, h *remote.Host) (string, error) {
		return first(
			func() (string, error) { return missing(ctx, h, files) },
			func() (string, error) {
				if _, err := h.Run(ctx, "test", "-L", path.Dir(calico.Cnitool)+"/calico-ipam"); err != nil {
					return "no links to Calico's plugins beside cnitool", ctx.Err()
				}
				return "", nil
			},
		)
	})
}

func (s cnitool) Apply(ctx context.Context) error {
	files, err := s.files(ctx)
	if err != nil {
		return err
	}
	return s.on(ctx, s.nodes(), func(ctx context.Context, _ lab.Machine, h *remote.Host) error {
		dir := path.Dir(calico.Cnitool)
		if _, err := h.Sudo(ctx, "install", "-d", "-o", "vagrant", "-g", "vagrant", path.Dir(dir), dir); err != nil {
			return err
		}
		if err := putMissing(ctx, h, files); err != nil {
			return err
		}
		_, err := h.Sudo(ctx, "ln", "-sfn", "-t", dir, calico.PluginDir+"/calico", calico.PluginDir+"/calico-ipam")
		return err
	})
}
