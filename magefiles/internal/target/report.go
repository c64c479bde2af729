package target

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/picture"
	"github.com/calico-cni-lab/lab/magefiles/internal/report"
	"github.com/calico-cni-lab/lab/magefiles/internal/run"
)

// Report writes the lab as one page: to a file, or into the state directory.
func Report(ctx context.Context, r *run.Run, file string) error {
	l, err := r.Lab(ctx)
	if err == nil {
		err = notDuringChallenge(r, "this would show what it broke")
	}
	if err != nil {
		return err
	}
	made, err := l.Made(ctx)
	if err != nil {
		return err
	}
	p := l.Maker.Pins
	page := report.Page{Picture: picture.Plan(l.Lab), Versions: [][2]string{
		{"Calico", p.Calico.String()}, {"etcd", p.Etcd.String()}, {"cnitool", p.Cnitool.String()}, {"CNI plugins", p.Plugins.String()},
		{"Go on the nodes", l.Versions.Go.String()}, {"Debian", l.Versions.Debian}, {"hardware layer", l.Provider.Name()},
	}}
	if made {
		facts, compared, err := Seen(ctx, l)
		if err != nil {
			return err
		}
		page.Picture, page.Report = picture.Of(l.Lab, &facts, &compared), &compared
		if release := facts.Datastore.Value.Cluster.Version; release != "" {
			page.Versions = append(page.Versions, [2]string{"Calico, by the datastore", release})
		}
		if docker := facts.Machines[l.Etcd().Name].Docker.Value.Version; docker != "" {
			page.Versions = append(page.Versions, [2]string{"Docker Engine on " + l.Etcd().Name, docker})
		}
		if page.Timeline, page.Traced, err = timeline(filepath.Join(r.StateDir, timelineFile)); err != nil {
			return err
		}
	}
	if file == "" {
		if err := os.MkdirAll(r.StateDir, 0o755); err != nil {
			return err
		}
	}
	return written(r, cmp.Or(file, filepath.Join(r.StateDir, "report.html")), func(f *os.File) error { return page.Write(f) })
}

// timeline reads what verify -timeline wrote; there is none where it never did.
func timeline(file string) (all []report.Span, ended string, err error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	info, err := os.Stat(file)
	if err != nil {
		return nil, "", err
	}
	return report.Timeline(string(data)), info.ModTime().UTC().Format(time.RFC1123), nil
}
