package stage

import (
	"context"
	"fmt"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
	"github.com/calico-cni-lab/lab/magefiles/internal/spec"
)

// cniPlugins puts the CNI plugins and the network's conflist on the Calico nodes.
func cniPlugins() Stage {
	return Stage{
		Name: CNIPlugins, Needs: []string{Golang}, Role: lab.RoleCalico,
		Conditions: func(e *Env) []check.Condition {
			var all []check.Condition
			for _, m := range e.Nodes() {
				all = append(all,
					on("plugins", m, fact.Files,
						fmt.Sprintf("Calico's plugins v%s and the reference plugins v%s are on %s", e.Pins.Calico, e.Pins.Plugins, m.Name), "writes the files",
						func(seen fact.Machine, _ *fact.Lab) check.Finding {
							return filesFinding(e, seen, e.PluginFiles(), fmt.Sprintf("%s in %s", plural(len(e.PluginFiles()), "plugin"), spec.PluginDir))
						}),
					on("conflist", m, fact.Files,
						"network "+e.Lab.Network+" is described on "+m.Name, "writes the conflist",
						func(seen fact.Machine, _ *fact.Lab) check.Finding {
							return filesFinding(e, seen, []remote.File{e.Conflist(m)}, e.ConflistPath())
						}))
			}
			return all
		},
		Done: func(e *Env, _ *fact.Lab) string {
			return "plugins are in " + spec.PluginDir + ", network " + e.Lab.Network + " in " + spec.ConfDir
		},
		Apply: func(ctx context.Context, e *Env, j Job) error {
			return e.on(ctx, e.where(j), func(ctx context.Context, m lab.Machine, h *remote.Host) error {
				return e.put(ctx, h, append(e.PluginFiles(), e.Conflist(m)), j.Facts.Machines[m.Name])
			})
		},
	}
}
