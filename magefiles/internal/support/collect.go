package support

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
	"github.com/calico-cni-lab/lab/magefiles/internal/run"
	"github.com/calico-cni-lab/lab/magefiles/internal/spec"
)

// Logs puts what is needed to understand this lab into one archive, and says where it is.
func Logs(ctx context.Context, r *run.Run) error {
	l, err := r.Lab(ctx)
	if err != nil {
		return err
	}
	file, err := collect(ctx, r, l)
	if err != nil {
		return err
	}
	r.Console.Notice("%s (what looks like a secret is masked; look through it before you publish it)", file)
	return nil
}

const (
	collectTime  = 90 * time.Second
	dialTime     = 10 * time.Second // that a machine of a lab that misbehaves is waited for
	factsTime    = 45 * time.Second // for the look at all of them, and packets
	keepArchives = 5
)

// CollectFailed takes the archive of a run that has just failed and has said why. That it can't be had is no second failure;
// an interruption ends it.
func CollectFailed(ctx context.Context, r *run.Run, l *run.Lab) {
	if _, err := l.Provider.Endpoints(); err != nil {
		return // there are no machines yet
	}
	ctx, cancel := context.WithTimeoutCause(ctx, collectTime, fmt.Errorf("not after %s", collectTime))
	defer cancel()
	if file, err := collect(ctx, r, l); err == nil && ctx.Err() == nil {
		r.Console.Notice("everything about it is in %s", file)
	}
}

func collect(ctx context.Context, r *run.Run, l *run.Lab) (string, error) {
	if err := os.MkdirAll(r.StateDir, 0o755); err != nil {
		return "", err
	}
	files := []File{status(ctx, l)}
	if data, err := lab.Whole(r.LabFile); err == nil {
		files = append(files, File{"lab.yaml", data})
	}
	for name, path := range map[string]string{"run.log": r.Exec.Log.Path(), "ssh_config": filepath.Join(r.StateDir, machine.SSHConfigFile)} {
		if data, err := os.ReadFile(path); err == nil {
			files = append(files, File{name, data})
		}
	}
	// The newest logs of earlier runs: often the run before is the one that failed.
	logs, err := filepath.Glob(filepath.Join(r.StateDir, "logs", "*.log"))
	if err != nil {
		return "", err
	}
	for _, path := range logs[max(len(logs)-5, 0):] {
		if data, err := os.ReadFile(path); err == nil {
			files = append(files, File{"logs/" + filepath.Base(path), data})
		}
	}
	files = append(files, machines(ctx, r, l)...)
	if err := run.Prune(r.StateDir, "*.tar.gz", keepArchives-1); err != nil {
		return "", err
	}
	now := time.Now()
	file := filepath.Join(r.StateDir, l.Name+"-logs-"+now.Format("2006-01-02T15-04-05")+".tar.gz")
	return file, Write(file, files, now)
}

// machines are the files of all machines, and the facts, as recorded ones that a test can read.
func machines(ctx context.Context, r *run.Run, l *run.Lab) []File {
	endpoints, err := l.Provider.Endpoints()
	if err != nil {
		return []File{{"machines.txt", []byte(err.Error() + "\n")}}
	}
	var files []File
	var mu sync.Mutex
	var wg sync.WaitGroup
	add := func(more ...File) {
		mu.Lock()
		defer mu.Unlock()
		files = append(files, more...)
	}
	for _, e := range endpoints {
		wg.Go(func() {
			m, _ := l.Machine(e.Machine)
			add(oneMachine(ctx, r, m, e)...)
		})
	}
	wg.Go(func() {
		ctx, cancel := context.WithTimeoutCause(ctx, factsTime, fmt.Errorf("not after %s", factsTime))
		defer cancel()
		o := l.Observer().Deep()
		f := o.Look(ctx, l.Machines, nil)
		f.Probes = o.Probe(ctx, &f)
		if data, err := withoutStrangers(f).Write(); err == nil {
			add(File{"facts.json", data})
		}
	})
	wg.Wait()
	return files
}

// withoutStrangers leaves out what isn't the lab's on machines that have other work, too. Rivals stay, and what
// listens on the lab's ports: without them nobody sees why the lab was refused.
func withoutStrangers(f fact.Lab) *fact.Lab {
	f = f.Clone()
	for name, m := range f.Machines {
		ours := func(p fact.Process) bool { ours, _ := m.Ours(p); return ours }
		m.Sandboxes.Value = without(m.Sandboxes.Value, func(s fact.Sandbox) bool { return !ours(fact.Process{Container: s.Container}) })
		d := &m.Docker.Value
		d.Containers = without(d.Containers, func(c fact.Container) bool { return c.Config.Labels[fact.LabelPart] == "" })
		d.Volumes = without(d.Volumes, func(v fact.Volume) bool { return v.Labels[fact.LabelPart] == "" })
		m.Deep.Value = forArchive(m.Deep.Value)
		m.Datastore = fact.Unknown[[]fact.KeyValue](leftOut) // f.Datastore and f.Resources are what the lab reads of it
		d.Images = maps.Clone(d.Images)
		maps.DeleteFunc(d.Images, func(_, label string) bool { return label == "" })
		f.Machines[name] = m
	}
	return &f
}

// leftOut is why something is unknown in an archive.
const leftOut = "left out of the archive"

// forArchive is what an archive has of a deep look: what is Calico's, and how the kernel forwards. Names that others gave, and texts beside
// the CNI's configuration, which may be credentials, stay on the machine.
func forArchive(d fact.Deep) fact.Deep {
	kept := fact.Deep{
		Learned: d.Learned, Rules: d.Rules, Lookups: d.Lookups, Sysctls: d.Sysctls, Services: d.Services, Rendered: d.Rendered,
		Namespaces: fact.Unknown[[]string](leftOut), Texts: fact.Seen[map[string]fact.Text]{Value: maps.Clone(d.Texts.Value), Unknown: d.Texts.Unknown},
	}
	for _, other := range []*fact.Seen[map[string]string]{&kept.Firewall, &kept.Inside, &kept.Qdiscs, &kept.Networks} {
		*other = fact.Unknown[map[string]string](leftOut)
	}
	conflists := d.Conflists(spec.ConfDir).Value
	maps.DeleteFunc(kept.Texts.Value, func(p string, _ fact.Text) bool { _, ok := conflists[p]; return !ok })
	return kept
}

func without[T any](all []T, del func(T) bool) []T { return slices.DeleteFunc(slices.Clone(all), del) }

func oneMachine(ctx context.Context, r *run.Run, m lab.Machine, e remote.Endpoint) []File {
	dial, cancel := context.WithTimeoutCause(ctx, dialTime, fmt.Errorf("not after %s", dialTime))
	defer cancel()
	h, err := remote.Dial(dial, e, r.Exec.Log)
	if err != nil {
		return []File{{m.Name + "/not-reached.txt", []byte(err.Error() + "\n")}}
	}
	defer h.Close()
	return fromMachine(ctx, m, h)
}

// status is what exists.
func status(ctx context.Context, l *run.Lab) File {
	var b bytes.Buffer
	fmt.Fprintf(&b, "lab %s on %s (%s)\npins: %+v\n\n", l.Name, l.Provider.Name(), l.Why, l.Maker.Pins)
	w := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
	all, err := l.Provider.Status(ctx)
	for _, m := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", m.Machine, m.Role, m.Address, m.State)
	}
	w.Flush()
	if err != nil {
		fmt.Fprintln(&b, err)
	}
	return File{"status.txt", b.Bytes()}
}
