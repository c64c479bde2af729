package stage

import (
	"context"
	"fmt"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
	"github.com/calico-cni-lab/lab/scripts"
)

// Undo takes back what the stages did on a machine that stays and carries the lab's mark: containers, images, etcd's data, routes,
// interfaces, firewall chains, files. It returns what stays all the same, a line for each, also with an error. Packages that were
// installed stay.
func Undo(ctx context.Context, h *remote.Host, mark machine.Mark) (stays []string, err error) {
	out, err := h.Feed(ctx, strings.NewReader(""), "bash", "-c", UndoScript(), "machine-undo.sh", string(mark))
	for line := range strings.Lines(out) {
		stays = append(stays, strings.TrimSpace(line))
	}
	if err != nil {
		err = fmt.Errorf("undoing what the lab did on %s: %w", h.Name, err)
	}
	return stays, err
}

// UndoScript is what Undo runs on a machine; $1 is the mark.
func UndoScript() string {
	return scripts.Text("calico-traces.sh") + scripts.Text("note-original.sh") + scripts.Text("restore-originals.sh") + scripts.Text("machine-undo.sh")
}
