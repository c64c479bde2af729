//go:build linux

package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/computer"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine/box"
	"github.com/calico-cni-lab/lab/magefiles/internal/run"
)

// localDebian is the name of a Debian image that no registry has.
const localDebian = "local-debian:test"

// dockerd is a Docker daemon in namespaces of its own.
type dockerd struct {
	t                *testing.T
	dir, tree, group string
	env              []string // the script's, beside this process' own
	cmd              *exec.Cmd
	pid              int // the daemon's own
}

// newDockerd starts a daemon out of the box of nspawn containers, for a group of users, that has a plain Debian. It ends with the test.
func newDockerd(t *testing.T, group string) *dockerd {
	t.Helper()
	dir, err := os.MkdirTemp("", "lab-dockerd.") //nolint:usetesting // other users can't enter t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	d := &dockerd{t: t, dir: dir, group: group}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, runner := t.Context(), &command.Runner{}
	// The stores of root's own labs: what is made here is made once.
	trees := &artifact.Store{Dir: box.CacheDir(), Root: true, Run: runner}
	cacheDir, err := run.CacheDir()
	if err != nil {
		t.Fatal(err)
	}
	cache := &artifact.Store{Dir: cacheDir, Run: runner}
	release := artifact.Debian{Release: "bookworm", Run: runner}
	if d.tree, err = (box.Recipe{Debian: release.Release, Run: runner}).Tree(ctx, trees); err != nil {
		t.Fatal(err)
	}
	plain, err := cache.Get(ctx, artifact.Recipe{Name: "debian", What: "making a plain Debian", Inputs: []string{release.Release, runtime.GOARCH}, Make: func(ctx context.Context, out string) error {
		return release.Bootstrap(ctx, filepath.Join(out, "debian.tar"), nil, []string{"apt"}, "", "")
	}})
	if err != nil {
		t.Fatal(err)
	}
	must(t, "", "install", "-D", filepath.Join(d.tree, "usr/bin/docker"), filepath.Join(dir, "bin", "docker"))
	t.Cleanup(func() {
		d.stop()
		groups, _ := filepath.Glob("/sys/fs/cgroup/*/" + d.cgroup())
		for _, g := range append(groups, "/sys/fs/cgroup/"+d.cgroup()) {
			for deadline := time.Now().Add(10 * time.Second); computer.Exists(g); { // it can be busy for a moment after its last process is gone
				_ = exec.Command("find", g, "-depth", "-type", "d", "-exec", "rmdir", "{}", "+").Run()
				if time.Now().After(deadline) {
					t.Errorf("left: %s", g)
					break
				}
			}
		}
		must(t, "", "rm", "-rf", "--one-file-system", "--", dir)
		for _, s := range []*artifact.Store{trees, cache} {
			if err := s.Release(); err != nil {
				t.Error(err)
			}
		}
	})
	d.start()
	d.docker("import", filepath.Join(plain, "debian.tar"), localDebian)
	d.serveMirror()
	return d
}

func (d *dockerd) cgroup() string { return filepath.Base(d.dir) }
func (d *dockerd) host() string   { return "unix://" + d.dir + "/run/docker.sock" }

func (d *dockerd) start() {
	d.t.Helper()
	d.cmd = exec.Command("bash", "testdata/dockerd.sh", d.tree, d.dir, d.group, d.cgroup())
	d.cmd.Env = append(os.Environ(), d.env...)
	if err := d.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	deadline := time.Now().Add(2 * time.Minute)
	for d.run("version") != nil {
		if time.Now().After(deadline) {
			log, _ := os.ReadFile(filepath.Join(d.dir, "dockerd.log"))
			d.t.Fatalf("no daemon: %s", log[max(0, len(log)-2000):])
		}
		time.Sleep(100 * time.Millisecond)
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", d.cmd.Process.Pid))
	if err == nil {
		_, err = fmt.Sscan(string(children), &d.pid)
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

// stop kills the daemon with all that runs in its PID namespace.
func (d *dockerd) stop() {
	if d.cmd != nil {
		_ = d.cmd.Process.Kill()
		_ = d.cmd.Wait()
		// Its mounts and control groups go with the last process.
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
			if _, err := os.Stat(fmt.Sprintf("/proc/%d", d.pid)); err != nil {
				break
			}
			if time.Now().After(deadline) {
				d.t.Errorf("the daemon's process %d is still there", d.pid)
				break
			}
		}
	}
	d.cmd = nil
}

func (d *dockerd) run(args ...string) error {
	return exec.Command(filepath.Join(d.dir, "bin", "docker"), append([]string{"--host", d.host()}, args...)...).Run()
}

// docker runs the docker command as root.
func (d *dockerd) docker(args ...string) string {
	d.t.Helper()
	return strings.TrimSpace(must(d.t, "", append([]string{filepath.Join(d.dir, "bin", "docker"), "--host", d.host()}, args...)...))
}

func (d *dockerd) inNetns(args ...string) string {
	d.t.Helper()
	return strings.TrimSpace(must(d.t, "", append([]string{"nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", d.pid)}, args...)...))
}

// inMount runs a command that sees the files as the daemon does.
func (d *dockerd) inMount(args ...string) string {
	d.t.Helper()
	return strings.TrimSpace(must(d.t, "", append([]string{"nsenter", fmt.Sprintf("--mount=/proc/%d/ns/mnt", d.pid), fmt.Sprintf("--root=/proc/%d/root", d.pid)}, args...)...))
}

// inventory is what the daemon has.
func (d *dockerd) inventory() string {
	d.t.Helper()
	var all []string
	for _, list := range [][]string{
		{"ps", "--all", "--format", "{{.ID}} {{.Names}}"}, {"network", "ls", "--format", "{{.Name}} {{.Driver}}"}, {"volume", "ls", "--format", "{{.Name}}"},
		{"image", "ls", "--all", "--format", "{{.ID}} {{.Repository}}:{{.Tag}}"},
	} {
		all = append(all, d.docker(list...))
	}
	return strings.Join(all, "\n")
}

// mirrorAddress is where the daemon's containers find Debian's packages: its bridge's address (dockerd.sh).
const mirrorAddress = "192.0.2.1:3142"

func (d *dockerd) mirror() string { return "http://" + mirrorAddress + "/debian" }

// serveMirror hands Debian's packages into the daemon's network namespace, from where this computer has them.
func (d *dockerd) serveMirror() {
	d.t.Helper()
	from := "http://deb.debian.org/debian"
	if named := os.Getenv("LAB_DEBIAN_MIRROR"); named != "" {
		from, _, _ = strings.Cut(named, " ")
	}
	target, err := url.Parse(strings.TrimSuffix(strings.TrimSuffix(from, "/"), "/debian"))
	if err != nil {
		d.t.Fatal(err)
	}
	listened := make(chan error, 1)
	var l net.Listener
	go func() {
		runtime.LockOSThread() // and the thread ends with this function, as it is another's than the rest
		ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", d.pid))
		if err == nil {
			err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
			ns.Close()
		}
		if err == nil {
			l, err = net.Listen("tcp", mirrorAddress)
		}
		listened <- err
	}()
	if err := <-listened; err != nil {
		d.t.Fatal(err)
	}
	server := &http.Server{Handler: &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(l) }()
	d.t.Cleanup(func() { _ = server.Close() })
}
