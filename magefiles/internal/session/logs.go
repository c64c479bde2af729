package session

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/bundle"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
)

// Logs puts what is needed to understand this lab into one archive, and says where it is.
func (s *Session) Logs() error {
	if _, err := s.Lab(); err != nil {
		return err
	}
	file, err := s.collect(s.ctx)
	if err != nil {
		return err
	}
	s.Console.Notice("%s (no private key is in it)", file)
	return nil
}

// collectFailed takes the archive of a run that has just failed. That it can't be had is no second failure.
func (s *Session) collectFailed() {
	if _, err := s.provider.Endpoints(); err != nil {
		return // there are no machines yet
	}
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(s.ctx), collectTimeout, fmt.Errorf("not after %s", collectTimeout))
	defer cancel()
	if file, err := s.collect(ctx); err == nil {
		s.Console.Notice("everything about it is in %s", file)
	}
}

const (
	collectTimeout = 90 * time.Second
	keepArchives   = 5
)

func (s *Session) collect(ctx context.Context) (string, error) {
	if err := os.MkdirAll(s.stateDir, 0o755); err != nil {
		return "", err
	}
	files := []bundle.File{s.state(ctx)}
	for name, path := range map[string]string{"lab.yaml": s.labFile, "run.log": s.run.Log.Path(), "ssh_config": filepath.Join(s.stateDir, machine.SSHConfigFile)} {
		if data, err := os.ReadFile(path); err == nil {
			files = append(files, bundle.File{Name: name, Content: data})
		}
	}
	// The newest logs of earlier runs: often the run before is the one that failed.
	logs, err := filepath.Glob(filepath.Join(s.stateDir, "logs", "*.log"))
	if err != nil {
		return "", err
	}
	for _, path := range logs[max(len(logs)-5, 0):] {
		if data, err := os.ReadFile(path); err == nil {
			files = append(files, bundle.File{Name: "logs/" + filepath.Base(path), Content: data})
		}
	}
	endpoints, err := s.provider.Endpoints()
	if err != nil {
		files = append(files, bundle.File{Name: "machines.txt", Content: []byte(err.Error() + "\n")})
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, e := range endpoints {
		wg.Go(func() {
			m, _ := s.lab.Machine(e.Machine)
			got := s.collectMachine(ctx, m, e)
			mu.Lock()
			defer mu.Unlock()
			files = append(files, got...)
		})
	}
	wg.Wait()
	if err := prune(s.stateDir, "*.tar.gz", keepArchives-1); err != nil {
		return "", err
	}
	now := time.Now()
	file := filepath.Join(s.stateDir, s.lab.Name+"-logs-"+now.Format("2006-01-02T15-04-05")+".tar.gz")
	return file, bundle.Write(file, files, now)
}

// dialTimeout is how long a machine of a lab that misbehaves is waited for.
const dialTimeout = 10 * time.Second

func (s *Session) collectMachine(ctx context.Context, m lab.Machine, e remote.Endpoint) []bundle.File {
	dial, cancel := context.WithTimeoutCause(ctx, dialTimeout, fmt.Errorf("not after %s", dialTimeout))
	defer cancel()
	h, err := remote.Dial(dial, e, s.run.Log)
	if err != nil {
		return []bundle.File{{Name: m.Name + "/not-reached.txt", Content: []byte(err.Error() + "\n")}}
	}
	defer h.Close()
	return bundle.Machine(ctx, m, h)
}

// state is what `status` shows.
func (s *Session) state(ctx context.Context) bundle.File {
	var b bytes.Buffer
	fmt.Fprintf(&b, "lab %s on %s (%s)\npins: %+v\n\n", s.lab.Name, s.provider.Name(), s.why, s.maker.Pins)
	w := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
	all, err := s.provider.Status(ctx)
	for _, m := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", m.Machine, m.Role, m.Address, m.State)
	}
	w.Flush()
	if err != nil {
		fmt.Fprintln(&b, err)
	}
	return bundle.File{Name: "status.txt", Content: b.Bytes()}
}
