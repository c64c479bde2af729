package target

import (
	"io"
	"os"
	"path/filepath"

	"github.com/calico-cni-lab/lab/magefiles/internal/completion"
	"github.com/calico-cni-lab/lab/magefiles/internal/explain"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/learn/lesson"
	"github.com/calico-cni-lab/lab/magefiles/internal/magefile"
)

// Completion writes a shell's completion of the targets, of the project's lab.yaml and chapters.
func Completion(w io.Writer, root, shell string) error {
	sections, err := magefile.Read(filepath.Join(root, "magefiles"))
	if err != nil {
		return err
	}
	l, err := lab.Load(filepath.Join(root, "lab.yaml"))
	if err != nil {
		return err
	}
	chapters, err := lesson.Read(os.DirFS(root), tutorial, experiments)
	if err != nil {
		return err
	}
	o := completion.Offer{Machines: l.Names(), Words: map[string][]string{"completion": completion.Shells}, After: map[string][]string{}}
	for _, c := range chapters {
		o.Words["learn"] = append(o.Words["learn"], c.Name)
	}
	for _, t := range explain.Topics(l) {
		o.Words["explain"] = append(o.Words["explain"], t.Name)
		if t.Args != "" && t.Name != "address" {
			o.After["explain"] = append(o.After["explain"], t.Name)
		}
	}
	return completion.Write(w, shell, sections, o)
}
