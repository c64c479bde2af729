package stage

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
	"github.com/calico-cni-lab/lab/scripts"
)

// Undo takes back what the stages did on machines that stay and carry the lab's mark: containers, images, etcd's data, routes, interfaces,
// firewall chains, files. It returns what stays all the same, a line for each. Packages that were installed stay.
func Undo(ctx context.Context, hosts map[string]*remote.Host, mark machine.Mark) ([]string, error) {
	var mu sync.Mutex
	var stays []string
	g, ctx := errgroup.WithContext(ctx)
	for name, h := range hosts {
		g.Go(func() error {
			out, err := h.Script(ctx, scripts.Text("calico-traces.sh")+scripts.Text("machine-undo.sh"), string(mark))
			if err != nil {
				return fmt.Errorf("undoing what the lab did on %s: %w", name, err)
			}
			mu.Lock()
			defer mu.Unlock()
			for line := range strings.Lines(out) {
				stays = append(stays, name+": "+strings.TrimSpace(line))
			}
			return nil
		})
	}
	err := g.Wait()
	return stays, err
}
