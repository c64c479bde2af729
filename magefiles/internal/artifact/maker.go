package artifact

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/computer"
)

// Maker makes the artifacts of one lab.
type Maker struct {
	Store    *Store
	Run      *command.Runner
	Root     string // the project's directory
	Arch     string // GOARCH of the machines
	Debian   string // release that the images' base comes from
	Base     Base   // makes that base; nil: root does, on this computer
	GoOnNode string // Go release for the machines, such as 1.26.8
	Pins     Pins
	// Published says that what other projects publish is fetched, where its SHA-256 is known: see OrPublished and publishedNode.
	Published bool
	// ImageLabel is the label in which each image says its own ID. What Docker calls an image's ID is another thing in each kind of
	// its stores: the digest of its configuration, or of a manifest that is made when it is loaded (containerd's, usual from Docker 29).
	ImageLabel string
}

// LookOnly returns a maker of the same artifacts that makes none.
func (m *Maker) LookOnly() *Maker {
	only := *m
	only.Store = &Store{Dir: m.Store.Dir, Run: m.Store.Run, LookOnly: true}
	return &only
}

// Start makes what needs nothing but the go command, in the background: that is the longest part of the first run, so it is
// worth starting early. wait returns when all of it is there, or has failed, or ctx has ended and no compiler runs any more; it
// may be called more than once. Whoever started it waits before the process ends, cancelling ctx first if the result is not
// wanted: compilers are in process groups of their own and would run on.
func (m *Maker) Start(ctx context.Context) (wait func() error) {
	gets := []func(context.Context) (string, error){m.Calico, m.Etcd, m.CNI, m.Toolchain}
	errs := make([]error, len(gets))
	var wg sync.WaitGroup
	for i, get := range gets {
		// One that fails doesn't end the others: somebody else may be waiting for them, and they are kept.
		wg.Go(func() { _, errs[i] = get(ctx) })
	}
	return func() error { wg.Wait(); return errors.Join(errs...) }
}

// buildSpace is what compiling everything takes: Go's module and build cache 5.3 GB, the artifacts 1 GB, measured.
const buildSpace = 7 << 30

// stockSpace is what it takes to have everything from stock, measured, and some of it again as the machines' layers.
const stockSpace = 3 << 30

// Preflight returns what would stop a build that is still to be made.
func (m *Maker) Preflight() error {
	made, err := filepath.Glob(filepath.Join(m.Store.Dir, "images-*", nodeArchive))
	if err != nil || len(made) > 0 {
		return err
	}
	if m.Store.Stock != nil {
		return RoomFor(m.Store.Dir, stockSpace)
	}
	return RoomFor(m.Store.Dir, buildSpace)
}

// RoomFor is an error when the file system that dir is on, or will be on, has less than need bytes free.
func RoomFor(dir string, need int64) error {
	there := dir
	for !computer.Exists(there) && there != filepath.Dir(there) {
		there = filepath.Dir(there)
	}
	var fs syscall.Statfs_t
	if err := syscall.Statfs(there, &fs); err != nil {
		return fmt.Errorf("free space of %s: %w", there, err)
	}
	free := int64(fs.Bavail) * int64(fs.Bsize) //nolint:unconvert // Bsize is a uint32 on darwin
	if free < need {
		const gb = 1 << 30
		return fmt.Errorf("%s has %.1f GB of free space, the lab needs %.1f GB there; make room, or mount a larger disk on %s",
			there, float64(free)/gb, float64(need)/gb, dir)
	}
	return nil
}

// Calico is a directory with calicoctl, calico (the CNI plugin) and calico-node.
func (m *Maker) Calico(ctx context.Context) (string, error) {
	const info = "github.com/projectcalico/calico/pkg/buildinfo"
	return m.compile(ctx, "calico", "compiling Calico v"+m.Pins.Calico.String(),
		"-X "+info+".Version=v"+m.Pins.Calico.String(),
		// Felix' client of Amazon's EC2 is the largest package by far and not used here. Without inlining it takes half
		// a minute of CPU time less.
		"-gcflags=github.com/aws/aws-sdk-go-v2/service/ec2=-l -dwarf=false")
}

// etcdServer is the file in Etcd's directory that is etcd: the go command calls it after its package.
const etcdServer = "server"

// Etcd is a directory with etcdctl and etcdServer.
func (m *Maker) Etcd(ctx context.Context) (string, error) {
	return m.compile(ctx, "etcd", "compiling etcd "+m.Pins.Etcd.String(), "")
}

// CNI is a directory with cnitool and the reference plugins.
func (m *Maker) CNI(ctx context.Context) (string, error) {
	version := "v" + m.Pins.Plugins.String()
	return m.compile(ctx, "cni", "compiling cnitool and the CNI plugins",
		"-X github.com/containernetworking/plugins/pkg/utils/buildversion.BuildVersion="+version)
}

// compile builds the tools of components/NAME/go.mod, statically.
func (m *Maker) compile(ctx context.Context, name, what, ldflags string, more ...string) (string, error) {
	dir := filepath.Join(m.Root, "components", name)
	var inputs []string
	for _, file := range []string{"go.mod", "go.sum"} {
		data, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			return "", err
		}
		inputs = append(inputs, string(data))
	}
	// Without debugging information, which the linker would drop, the compiler saves a sixth of its time.
	flags := append([]string{"-trimpath", "-buildvcs=false", "-mod=readonly", "-gcflags=all=-dwarf=false", "-ldflags=-s -w " + ldflags}, more...)
	return m.Store.Get(ctx, Recipe{
		Name:   name,
		What:   what,
		Inputs: append(append(inputs, m.goEnv()...), flags...),
		Make: func(ctx context.Context, out string) error {
			env, err := m.buildEnv(ctx)
			if err != nil {
				return err
			}
			build := command.Cmd{
				Dir: dir,
				// The compiler collects garbage less often: less CPU time, at most 2 GB more memory.
				Env:     append(env, "GOGC=400"),
				Timeout: buildTimeout,
				Hint:    "check that the Go module proxy can be reached (go env GOPROXY), then run this again: what is done is kept",
			}
			if err := m.build(ctx, build, flags, "-o", out+"/", "tool"); err != nil {
				return err
			}
			return writeSums(out)
		},
	})
}

// goEnv is what of the environment changes what is compiled: the pinned release of Go compiles, whichever one is installed.
func (m *Maker) goEnv() []string {
	return []string{
		"GOTOOLCHAIN=" + m.Pins.Compiler, "CGO_ENABLED=0", "GOOS=linux", "GOARCH=" + m.Arch, "GOAMD64=v1", "GOARM64=v8.0",
		"GOFLAGS=", "GOWORK=off", "GOEXPERIMENT=", "GODEBUG=", "GOFIPS140=off", "GOENV=off",
	}
}

// fetching are the go command's settings about where modules come from and are kept.
var fetching = []string{"GOPROXY", "GOSUMDB", "GOPRIVATE", "GONOPROXY", "GONOSUMDB", "GOINSECURE", "GOVCS", "GOAUTH", "GOMODCACHE", "GOCACHE"}

// buildEnv is goEnv with the user's settings of where modules come from: those that he made with `go env -w` don't count otherwise.
func (m *Maker) buildEnv(ctx context.Context) ([]string, error) {
	out, err := m.Run.Output(ctx, append([]string{"go", "env", "-json"}, fetching...)...)
	if err != nil {
		return nil, err
	}
	values := map[string]string{}
	if err := json.Unmarshal([]byte(out), &values); err != nil {
		return nil, fmt.Errorf("go env -json: %w", err)
	}
	env := m.goEnv()
	for _, name := range fetching {
		env = append(env, name+"="+values[name])
	}
	return env, nil
}

// moduleDir is where the go command keeps the unpacked source of a module that a component requires.
func (m *Maker) moduleDir(ctx context.Context, component, module string) (string, error) {
	in := func(timeout time.Duration, args ...string) (string, error) {
		out, err := m.Run.Run(ctx, command.Cmd{
			Args: append([]string{"go"}, args...), Dir: filepath.Join(m.Root, "components", component), Env: []string{"GOFLAGS=", "GOWORK=off"}, Timeout: timeout,
		})
		return strings.TrimSpace(out), err
	}
	list := []string{"list", "-mod=mod", "-m", "-f", "{{.Dir}}", module}
	dir, err := in(0, list...)
	if err == nil && dir == "" {
		if _, err = in(buildTimeout, "mod", "download", module); err == nil {
			dir, err = in(0, list...)
		}
	}
	if err == nil && dir == "" {
		err = errors.New("it was fetched, and the go command doesn't say where it is")
	}
	if err != nil {
		return "", fmt.Errorf("finding the source of %s: %w", module, err)
	}
	return dir, nil
}
