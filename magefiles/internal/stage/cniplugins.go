package stage

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

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
						func(seen fact.Machine, _ *fact.Lab) check.Finding { return pluginsFinding(e, seen) }),
					on("conflist", m, fact.Files,
						"network "+e.Lab.Network+" is described on "+m.Name, "writes the conflist",
						func(seen fact.Machine, _ *fact.Lab) check.Finding {
							return filesFinding(e, seen, []remote.File{e.Conflist(m)}, e.ConflistPath())
						}))
				if own := e.OwnFiles(); len(own) > 0 {
					all = append(all, on("own-plugins", m, fact.Files,
						"lab.yaml's own plugins are on "+m.Name, "writes the files",
						func(seen fact.Machine, _ *fact.Lab) check.Finding {
							return filesFinding(e, seen, own, plural(len(own), "file"))
						}))
				}
			}
			return all
		},
		Done: func(e *Env, _ *fact.Lab) string {
			return "plugins are in " + spec.PluginDir + ", network " + e.Lab.Network + " in " + spec.ConfDir
		},
		Apply: func(ctx context.Context, e *Env, j Job) error {
			return e.on(ctx, e.where(j), func(ctx context.Context, m lab.Machine, h *remote.Host) error {
				seen := j.Facts.Machines[m.Name]
				var s script
				if e.Lab.Plugins.Network != "" {
					s.fills(spec.CNIResults(e.Lab.Plugins.Network))
				}
				if left := leftPlugins(e, seen); len(left) > 0 && e.Artifacts.Missing == "" {
					unplumbOwn(&s, seen, left)
					s.restore(left)
				}
				if err := s.run(ctx, h); err != nil {
					return err
				}
				return e.put(ctx, h, slices.Concat(e.PluginFiles(), []remote.File{e.Conflist(m)}, e.OwnFiles()), seen)
			})
		},
	}
}

func pluginsFinding(e *Env, seen fact.Machine) check.Finding {
	found := filesFinding(e, seen, e.PluginFiles(), fmt.Sprintf("%s in %s", plural(len(e.PluginFiles()), "plugin"), spec.PluginDir))
	if found.State != check.Holds {
		return found
	}
	if left := leftPlugins(e, seen); len(left) > 0 {
		return check.Not("%s is an older lab.yaml's", check.Names(left))
	}
	return found
}

// leftPlugins are plugins and conflists of the user's that lab.yaml had once, and has no more.
func leftPlugins(e *Env, seen fact.Machine) (left []string) {
	wanted := slices.Concat(e.PluginFiles(), e.OwnFiles())
	for _, p := range seen.Owned.Value {
		_, conflist := spec.OwnNetwork(p)
		_, there := seen.Files.Value[p]
		if there && (conflist || path.Dir(p) == spec.PluginDir) && !slices.ContainsFunc(wanted, func(f remote.File) bool { return f.Path == p }) {
			left = append(left, p)
		}
	}
	return left
}

// unplumbOwn adds `cnitool del` for what is attached to networks whose conflists go: without these nobody could.
func unplumbOwn(s *script, seen fact.Machine, left []string) {
	if _, there := seen.Files.Value["~/go/bin/cnitool"]; !there {
		return
	}
	for _, file := range left {
		network, ok := spec.OwnNetwork(file)
		for _, a := range seen.Attachments.Value {
			if ok && a.Network == network && strings.HasPrefix(a.ContainerID, "cnitool-") {
				s.del(seen, a, "")
			}
		}
	}
}
