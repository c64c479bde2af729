package session

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/pins"
	"github.com/calico-cni-lab/lab/magefiles/internal/ui"
)

func (s *Session) book() (pins.Book, error) {
	l, err := lab.Load(s.labFile)
	return pins.Book{Root: s.root, LabFile: s.labFile, Lab: l, Run: s.run}, err
}

// Outdated shows every pin with what is newer. It fails where a release is out that lab.yaml allows.
func (s *Session) Outdated() error {
	book, err := s.book()
	if err != nil {
		return err
	}
	all, err := book.Pins()
	if err != nil {
		return err
	}
	header := []string{"pin", "pinned", "newest", "newest allowed", "to do"}
	var rows [][]string
	var behind []string
	for _, o := range pins.Look(s.ctx, all) {
		row := []string{o.Name, "-", "unknown", "unknown", ""}
		if o.Have != nil {
			row[1] = o.Have.String()
		}
		switch {
		case o.Err != nil:
			row[4] = o.Err.Error()
		case o.Newest == nil:
			row[2], row[3], row[4] = "-", "-", o.Note
		default:
			row[2], row[3] = o.Newest.String(), "none"
			if o.Best != nil {
				row[3] = o.Best.String()
			}
			if o.Allowed != nil {
				row[3] += " (" + o.Allowed.String() + ")"
			}
			if o.Behind() {
				row[4] = fmt.Sprintf("go tool mage bump %s %s", o.Name, o.Best)
				behind = append(behind, o.Name)
			}
		}
		rows = append(rows, row)
	}
	s.Console.Table(header, rows)
	if err := summarize(func(w io.Writer) { ui.Table(w, header, rows) }); err != nil {
		return err
	}
	if len(behind) > 0 {
		return fmt.Errorf("newer releases that lab.yaml allows: %s", strings.Join(behind, ", "))
	}
	return nil
}

// Bump changes a pin everywhere it stands.
func (s *Session) Bump(name, release string) error {
	book, err := s.book()
	if err != nil {
		return err
	}
	if err := book.Bump(s.ctx, name, release); err != nil {
		return err
	}
	s.Console.Notice("%s is pinned to %s; see git diff; then: go tool mage verify, go tool mage test", name, release)
	return nil
}

// summarize adds to the summary of a job of GitHub Actions, where there is one
// (https://docs.github.com/actions/reference/workflow-commands-for-github-actions#adding-a-job-summary).
func summarize(write func(io.Writer)) error {
	file := os.Getenv("GITHUB_STEP_SUMMARY")
	if file == "" {
		return nil
	}
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	write(f)
	return f.Close()
}
