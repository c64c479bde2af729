// Package session puts the parts together for one run of a target: the lab's definition, its state directory with
// lock and log, its hardware layer, and what a person sees.
package session

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"sync"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
	"github.com/calico-cni-lab/lab/magefiles/internal/stage"
	"github.com/calico-cni-lab/lab/magefiles/internal/ui"
)

// Session is one run of one or more targets.
type Session struct {
	Console *ui.Console

	root     string // of the project
	labFile  string
	stateDir string // .lab beside the lab's file
	start    time.Time
	run      *command.Runner
	ctx      context.Context // of the run: ends with the first stage that fails
	cancel   context.CancelCauseFunc

	lab      *lab.Lab // nil until Lab
	why      string   // the hardware layer was chosen
	provider machine.Provider
	maker    *artifact.Maker
	env      *stage.Env
	trace    *stage.Trace // nil where no timeline is wanted

	mu    sync.Mutex
	hosts map[string]*remote.Host
	lock  *os.File
}

// New starts a session in the project's directory. Nothing is read or made yet. ctx is Mage's.
func New(ctx context.Context) (*Session, error) {
	root, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	s := &Session{Console: ui.New(os.Stdout), root: root, start: time.Now(), run: &command.Runner{}}
	s.labFile = "lab.yaml"
	if file := os.Getenv("LAB_FILE"); file != "" {
		s.labFile = file
	}
	abs, err := filepath.Abs(s.labFile)
	if err != nil {
		return nil, err
	}
	s.stateDir = filepath.Join(filepath.Dir(abs), ".lab")
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	s.endWithParents()
	return s, nil
}

// Lab gives the lab's definition, and refuses one that doesn't fit the machines that exist.
func (s *Session) Lab() (*lab.Lab, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lab != nil {
		return s.lab, nil
	}
	l, err := lab.Load(s.labFile)
	if err != nil {
		return nil, err
	}
	pins, err := artifact.ReadPins(s.root)
	if err != nil {
		return nil, err
	}
	old, exists, err := machine.ReadPlan(s.stateDir)
	if err != nil {
		return nil, err
	}
	hardware, why, err := s.hardware(old, l)
	if err != nil {
		return nil, err
	}
	s.why = why
	plan := machine.NewPlan(hardware.Name, l)
	if exists && !reflect.DeepEqual(old, plan) {
		return nil, fmt.Errorf("%s describes other machines than the ones that exist (name, subnet, machines or hardware layer differ); "+
			"destroy those first: go tool mage destroy", s.labFile)
	}
	cache, err := cacheDir()
	if err != nil {
		return nil, err
	}
	s.maker = &artifact.Maker{
		Store: &artifact.Store{Dir: cache, Run: s.run, Making: s.Console.Making},
		Run:   s.run, Root: s.root, Arch: runtime.GOARCH, Debian: l.Versions.Debian, GoOnNode: l.Versions.Go.String(), Pins: pins,
	}
	s.lab = l
	if s.provider, err = s.newProvider(plan); err != nil {
		return nil, err
	}
	s.env = &stage.Env{Lab: l, Maker: s.maker, Hosts: s.Hosts}
	return l, nil
}

// cacheDir is where artifacts are kept: LAB_CACHE, else below the user's cache directory.
func cacheDir() (string, error) {
	if dir := os.Getenv("LAB_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no directory for the cache (%w); name one in LAB_CACHE", err)
	}
	return filepath.Join(dir, "calico-cni-lab"), nil
}

// Hosts gives the machines' connections and makes them when first asked.
func (s *Session) Hosts(ctx context.Context) (map[string]*remote.Host, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hosts != nil {
		return s.hosts, nil
	}
	endpoints, err := s.provider.Endpoints()
	if err != nil {
		return nil, err
	}
	if err := machine.WriteSSHConfig(s.stateDir, endpoints); err != nil {
		return nil, err
	}
	hosts, err := connect(ctx, endpoints, s.run.Log)
	if err != nil {
		return nil, fmt.Errorf("%w\n  what to do: see what runs with go tool mage status; a machine that hangs: go tool mage stop, then start", err)
	}
	s.hosts = hosts
	return hosts, nil
}

// answerTimeout is how long a machine that has booted may take to let a user in.
const answerTimeout = time.Minute

func connect(ctx context.Context, endpoints []remote.Endpoint, log *command.Log) (map[string]*remote.Host, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, answerTimeout, fmt.Errorf("not after %s", answerTimeout))
	defer cancel()
	all := make([]*remote.Host, len(endpoints))
	errs := make([]error, len(endpoints))
	var wg sync.WaitGroup
	for i, e := range endpoints {
		wg.Go(func() { all[i], errs[i] = remote.Dial(ctx, e, log) })
	}
	wg.Wait()
	hosts := map[string]*remote.Host{}
	for i, e := range endpoints {
		hosts[e.Machine] = all[i]
	}
	return hosts, errors.Join(errs...)
}
