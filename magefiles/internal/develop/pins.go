package develop

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/pins"
	"github.com/calico-cni-lab/lab/magefiles/internal/run"
	"github.com/calico-cni-lab/lab/magefiles/internal/ui"
)

// book is where the pins stand. The machines' plan is no matter here, so it isn't run.Run's lab.
func book(r *run.Run) (pins.Book, error) {
	l, err := lab.Load(r.LabFile)
	return pins.Book{Root: r.Root, Lab: l, Run: r.Exec}, err
}

// Outdated shows every pin with what is newer. It fails where a release is out that lab.yaml allows.
func Outdated(ctx context.Context, r *run.Run) error {
	b, err := book(r)
	if err != nil {
		return err
	}
	all, err := b.Pins()
	if err != nil {
		return err
	}
	header := []string{"pin", "pinned", "newest", "newest allowed", "to do"}
	var rows [][]string
	var behind []string
	for _, o := range pins.Look(ctx, all) {
		rows = append(rows, pinRow(o))
		if o.Behind() {
			behind = append(behind, o.Name)
		}
	}
	r.Console.Table(header, rows)
	if err := ui.Summarize(func(w io.Writer) { ui.Table(w, header, rows) }); err != nil {
		return err
	}
	if len(behind) > 0 {
		return fmt.Errorf("newer releases that lab.yaml allows: %s; take one with: go tool mage dev:bump NAME VERSION", strings.Join(behind, ", "))
	}
	return nil
}

func pinRow(o pins.Outlook) []string {
	row := []string{o.Name, "-", "unknown", "unknown", ""}
	if o.Have != nil {
		row[1] = pins.Text(o.Have)
	}
	switch {
	case o.Err != nil:
		row[4] = o.Err.Error()
	case o.Newest == nil:
		row[2], row[3], row[4] = "-", "-", o.Note
	default:
		row[2], row[3] = pins.Text(o.Newest), "none"
		if o.Best != nil {
			row[3] = pins.Text(o.Best)
		}
		if o.Allowed != nil {
			row[3] += " (" + o.Allowed.String() + ")"
		}
		if o.Behind() {
			row[4] = fmt.Sprintf("go tool mage dev:bump %s %s", o.Name, pins.Text(o.Best))
		}
	}
	return row
}

// Bump changes a pin everywhere it stands.
func Bump(ctx context.Context, r *run.Run, name, version string) error {
	b, err := book(r)
	if err != nil {
		return err
	}
	if err := b.Bump(ctx, name, version); err != nil {
		return err
	}
	r.Console.Notice("%s is pinned to %s; see git diff; then: go tool mage dev:lock, go tool mage test", name, version)
	return nil
}
