package stage

import (
	"context"
	"path/filepath"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/calico"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
)

type cniPlugins struct{ *Env }

// CNIPlugins is the stage that puts the CNI plugins and the network's conflist on the Calico nodes.
func CNIPlugins(e *Env) Stage { return cniPlugins{e} }

func (cniPlugins) Name() string { return "cniPlugins" }

// files are Calico's two plugins, which are one program that looks at its name, the reference plugins, and
// the conflist.
func (s cniPlugins) files(ctx context.Context, _ *remote.Host) ([]remote.File, error) {
	calicoDir, err := s.Maker.Calico(ctx)
	if err != nil {
		return nil, err
	}
	calicoSums, err := artifact.Sums(calicoDir)
	if err != nil {
		return nil, err
	}
	cniDir, err := s.Maker.CNI(ctx)
	if err != nil {
		return nil, err
	}
	cniSums, err := artifact.Sums(cniDir)
	if err != nil {
		return nil, err
	}
	conflist, err := render("cni.conflist.tmpl", map[string]string{"Network": s.Lab.Network, "EtcdURL": calico.EtcdURL(s.Lab)})
	if err != nil {
		return nil, err
	}
	files := []remote.File{{Path: calico.ConfDir + "/10-" + s.Lab.Network + ".conflist", Mode: 0o644, Content: conflist}}
	files = append(files, remote.File{
		Path: calico.PluginDir + "/calico", Mode: 0o755,
		Source: filepath.Join(calicoDir, "calico"), SHA256: calicoSums["calico"],
	}, remote.File{Path: calico.PluginDir + "/calico-ipam", Link: "calico"})
	for name, sum := range cniSums {
		if name != "cnitool" {
			files = append(files, remote.File{
				Path: calico.PluginDir + "/" + name, Mode: 0o755, Source: filepath.Join(cniDir, name), SHA256: sum,
			})
		}
	}
	return files, nil
}

func (s cniPlugins) Check(ctx context.Context) (bool, string, error) {
	return s.checkFiles(ctx, s.files, "plugins are in "+calico.PluginDir+", network "+s.Lab.Network+" in "+calico.ConfDir)
}

func (s cniPlugins) Apply(ctx context.Context) error { return s.applyFiles(ctx, s.files) }

// checkFiles is the Check of a stage that is nothing but files on the Calico nodes.
func (e *Env) checkFiles(ctx context.Context, files func(context.Context, *remote.Host) ([]remote.File, error), ok string) (bool, string, error) {
	return e.check(ctx, e.nodes(), ok, func(ctx context.Context, _ lab.Machine, h *remote.Host) (string, error) {
		list, err := files(ctx, h)
		if err != nil {
			return "", err
		}
		return missing(ctx, h, list)
	})
}

// applyFiles is its Apply.
func (e *Env) applyFiles(ctx context.Context, files func(context.Context, *remote.Host) ([]remote.File, error)) error {
	return e.on(ctx, e.nodes(), func(ctx context.Context, _ lab.Machine, h *remote.Host) error {
		list, err := files(ctx, h)
		if err != nil {
			return err
		}
		return putMissing(ctx, h, list)
	})
}
