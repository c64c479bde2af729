package stage

import (
	"context"
	"path/filepath"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
	"github.com/calico-cni-lab/lab/magefiles/internal/spec"
	"github.com/calico-cni-lab/lab/scripts"
)

// golang puts the Go toolchain on the Calico nodes.
func golang() Stage {
	return Stage{
		Name: Golang, Needs: []string{Up}, Role: lab.RoleCalico,
		Conditions: func(e *Env) []check.Condition {
			var all []check.Condition
			for _, m := range e.Nodes() {
				all = append(all,
					on("go", m, fact.GoTree,
						"Go "+e.Lab.Versions.Go.String()+" is whole in "+spec.GoRoot+" on "+m.Name, "unpacks Go",
						func(seen fact.Machine, _ *fact.Lab) check.Finding {
							return goFinding(e, seen)
						}),
					on("go-path", m, fact.Files,
						"Go is on the PATH of a login shell on "+m.Name, "writes the file",
						func(seen fact.Machine, _ *fact.Lab) check.Finding {
							return filesFinding(e, seen, e.GoFiles(), e.GoFiles()[0].Path)
						}))
			}
			return all
		},
		Done:  func(e *Env, _ *fact.Lab) string { return release(e) + " is in " + spec.GoRoot },
		Apply: applyGo,
	}
}

func release(e *Env) string { return "go" + e.Lab.Versions.Go.String() }

func goFinding(e *Env, seen fact.Machine) check.Finding {
	switch t := seen.Go; {
	case e.Artifacts.Missing != "":
		return check.CantSee("nothing to compare with: %s", e.Artifacts.Missing)
	case t.Unknown != "":
		return check.CantSee("%s", t.Unknown)
	case t.Value.Version == "":
		return check.Not("there is no Go in %s", spec.GoRoot)
	case t.Value.Version != release(e):
		return check.Not("%s is in %s", t.Value.Version, spec.GoRoot)
	case t.Value.Files < e.Artifacts.GoFiles:
		return check.Not("%s has %d files in %s, it should have %d", t.Value.Version, t.Value.Files, spec.GoRoot, e.Artifacts.GoFiles)
	default:
		return check.OK("%s, %d files", t.Value.Version, t.Value.Files)
	}
}

// unpack puts the tree of the tar at standard input in the place of the directory $1, in one step as far as a reader can see.
const unpack = `set -euo pipefail
part=$1.calico-cni-lab-part
journal_open
list "$1"
journal_close
rm -rf -- "$part"
mkdir -m 755 -- "$part"
tar --extract --no-same-owner --strip-components=1 --directory="$part"
journal_open
note "$1"
place "$part" "$1" "$(fingerprint "$part")"`

func applyGo(ctx context.Context, e *Env, j Job) error {
	return e.on(ctx, e.where(j), func(ctx context.Context, m lab.Machine, h *remote.Host) error {
		if j.Has(m.Name, "go") {
			tar := filepath.Join(e.Artifacts.Toolchain, artifact.ToolchainTar)
			kept, err := h.Stream(ctx, tar, scripts.Text("at-work.sh")+scripts.Text("note-original.sh")+unpack, spec.GoRoot)
			e.kept(h, kept)
			if err != nil {
				return err
			}
		}
		return e.put(ctx, h, e.GoFiles(), j.Facts.Machines[m.Name])
	})
}
