package stage

import (
	"context"
	"path"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
	"github.com/calico-cni-lab/lab/scripts"
)

// binDir makes the login user $1's directory $3.
const binDir = `
journal_open
note "$3/cnitool"
if [ ! -d "$3" ]; then install -d -o "$1" -g "$2" "${3%/*}" "$3"; fi`

// cnitool puts cnitool on the Calico nodes, where the tutorial has it.
func cnitool() Stage {
	return Stage{
		Name: Cnitool, Needs: []string{Golang}, Role: lab.RoleCalico,
		Conditions: func(e *Env) []check.Condition {
			var all []check.Condition
			for _, m := range e.Nodes() {
				all = append(all, on("cnitool", m, fact.Files,
					"cnitool "+e.Pins.Cnitool.String()+" is on "+m.Name, "writes the files",
					func(seen fact.Machine, _ *fact.Lab) check.Finding {
						return filesFinding(e, seen, e.CnitoolFiles(), seen.Login.Cnitool())
					}))
			}
			return all
		},
		Done: func(*Env, *fact.Lab) string { return "cnitool is in ~/go/bin" },
		Apply: func(ctx context.Context, e *Env, j Job) error {
			return e.on(ctx, e.where(j), func(ctx context.Context, m lab.Machine, h *remote.Host) error {
				seen := j.Facts.Machines[m.Name]
				// Noted as the lab's before they are there, and made the user's: he may want to put more there.
				_, err := h.Sudo(ctx, "bash", "-c", "set -euo pipefail\n"+scripts.Text("at-work.sh")+scripts.Text("note-original.sh")+binDir,
					"install", seen.Login.User, seen.Login.Group, path.Dir(seen.Login.Cnitool()))
				if err != nil {
					return err
				}
				return e.put(ctx, h, e.CnitoolFiles(), seen)
			})
		},
	}
}
