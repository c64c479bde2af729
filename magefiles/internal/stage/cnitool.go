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
	bin := path.Dir(calico.Cnitool)
	return []remote.File{
		{Path: calico.Cnitool, Mode: 0o755, Owner: "vagrant:vagrant", Source: filepath.Join(dir, "cnitool"), SHA256: sums["cnitool"]},
		{Path: bin + "/calico", Link: calico.PluginDir + "/calico"},
		{Path: bin + "/calico-ipam", Link: calico.PluginDir + "/calico-ipam"},
	}, nil
}

func (s cnitool) Check(ctx context.Context) (bool, string, error) {
	return s.checkFiles(ctx, s.files, "cnitool is in "+path.Dir(calico.Cnitool))
}

func (s cnitool) Apply(ctx context.Context) error {
	bin := path.Dir(calico.Cnitool)
	err := s.on(ctx, s.nodes(), func(ctx context.Context, _ lab.Machine, h *remote.Host) error {
		_, err := h.Sudo(ctx, "install", "-d", "-o", "vagrant", "-g", "vagrant", path.Dir(bin), bin)
		return err
	})
	if err != nil {
		return err
	}
	return s.applyFiles(ctx, s.files)
}
