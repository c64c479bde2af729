package stage

import (
	"context"
	"path"
	"path/filepath"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/calico"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
	"github.com/calico-cni-lab/lab/scripts"
)

type cnitool struct{ *Env }

// Cnitool is the stage that puts cnitool on the Calico nodes, where the tutorial has it, with links beside it to
// Calico's plugins: the tutorial's commands look for them there (CNI_PATH=/home/vagrant/go/bin).
func Cnitool(e *Env) Stage { return cnitool{e} }

func (cnitool) Name() string { return "cnitool" }

func (s cnitool) files(ctx context.Context, h *remote.Host) ([]remote.File, error) {
	dir, err := s.Maker.CNI(ctx)
	if err != nil {
		return nil, err
	}
	sums, err := artifact.Sums(dir)
	if err != nil {
		return nil, err
	}
	login, err := h.Login(ctx)
	if err != nil {
		return nil, err
	}
	program, err := calico.Cnitool(ctx, h)
	if err != nil {
		return nil, err
	}
	bin := path.Dir(program)
	return []remote.File{
		{Path: program, Mode: 0o755, Owner: login.User + ":" + login.Group, Source: filepath.Join(dir, "cnitool"), SHA256: sums["cnitool"]},
		{Path: bin + "/calico", Link: calico.PluginDir + "/calico"},
		{Path: bin + "/calico-ipam", Link: calico.PluginDir + "/calico-ipam"},
	}, nil
}

func (s cnitool) Check(ctx context.Context) (bool, string, error) {
	return s.checkFiles(ctx, s.files, "cnitool is in ~/go/bin")
}

func (s cnitool) Apply(ctx context.Context) error {
	err := s.on(ctx, s.nodes(), func(ctx context.Context, _ lab.Machine, h *remote.Host) error {
		login, err := h.Login(ctx)
		if err != nil {
			return err
		}
		program, err := calico.Cnitool(ctx, h)
		if err != nil {
			return err
		}
		// Noted as the lab's before they are there, and made the user's: he may want to put more there.
		bin := path.Dir(program)
		_, err = h.Sudo(ctx, "bash", "-c", scripts.Text("note-original.sh")+`note "$3/cnitool" && [ -d "$3" ] || install -d -o "$1" -g "$2" "${3%/*}" "$3"`,
			"install", login.User, login.Group, bin)
		return err
	})
	if err != nil {
		return err
	}
	return s.applyFiles(ctx, s.files)
}
