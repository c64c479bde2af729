package fault

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
)

// Lab is a lab of nspawn containers that is broken and mended, as a user would do it: by its targets, and by SSH.
type Lab struct {
	Name string
	Root string   // the project's directory
	Dir  string   // where lab.yaml is, and .lab
	Mage []string // what the targets are called with
	Run  *command.Runner
	// Seen is called with what doesn't hold of a lab that is broken; nil where nobody wants to see it.
	Seen func(Fault, []check.Result)
}

const (
	targetTime = 10 * time.Minute
	sshTime    = 2 * time.Minute
)

// StateDir is the lab's.
func (l *Lab) StateDir() string { return filepath.Join(l.Dir, ".lab") }

func (l *Lab) command(args ...string) command.Cmd {
	return command.Cmd{
		Args: append(slices.Clone(l.Mage), args...), Dir: l.Root, Timeout: targetTime,
		Env: []string{"LAB_FILE=" + filepath.Join(l.Dir, "lab.yaml"), "LAB_HARDWARE=nspawn"},
	}
}

// Target runs targets and returns what they wrote.
func (l *Lab) Target(ctx context.Context, args ...string) (string, error) {
	out, err := l.Run.Run(ctx, l.command(args...))
	var ce *command.Error
	if errors.As(err, &ce) {
		out += ce.Stderr
	}
	return out, err
}

// On runs a command line on a machine with OpenSSH, as the login user.
func (l *Lab) On(ctx context.Context, name, line string) (string, error) {
	out, err := l.Run.Run(ctx, command.Cmd{
		Args: []string{"ssh", "-F", filepath.Join(l.StateDir(), machine.SSHConfigFile), name, line}, Dir: l.Root, Timeout: sshTime,
	})
	return strings.TrimSpace(out), err
}

// Check is what check says.
func (l *Lab) Check(ctx context.Context) (check.Report, error) {
	var r check.Report
	out, err := l.Run.Run(ctx, l.command("check", "-json"))
	if jerr := json.Unmarshal([]byte(out), &r); jerr != nil {
		return r, errors.Join(fmt.Errorf("check -json: %w", jerr), err)
	}
	return r, nil
}

// Unmet are the conditions of a lab that should be healthy that don't hold. Where packets are all that is lost, it looks again, as verify does:
// one late answer is chance.
func (l *Lab) Unmet(ctx context.Context) ([]check.Result, error) {
	r, err := l.Check(ctx)
	if err == nil && OnlyPackets(r.Unmet()) {
		r, err = l.Check(ctx)
	}
	return r.Unmet(), err
}

// OnlyPackets says whether packets are all that is lost, of some conditions that don't hold.
func OnlyPackets(unmet []check.Result) bool {
	return len(unmet) > 0 && !slices.ContainsFunc(unmet, func(r check.Result) bool { return kind(r.ID) != "reach" })
}

// await looks until something is so, as long as it may take to be noticed.
func await(ctx context.Context, within time.Duration, so func() (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("not after %s", within))
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := so()
		if ok || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// groups are where a machine's processes are, by their control group: with cgroup v1 systemd's own hierarchy has them.
var groups = []string{"/sys/fs/cgroup/systemd", "/sys/fs/cgroup"}

// Processes are a machine's.
func (l *Lab) Processes(name string) (pids []int) {
	for _, root := range groups {
		_ = filepath.WalkDir(filepath.Join(root, "calico-cni-lab", l.Name, name), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || filepath.Base(path) != "cgroup.procs" {
				return nil
			}
			data, _ := os.ReadFile(path)
			for f := range strings.FieldsSeq(string(data)) {
				if pid, err := strconv.Atoi(f); err == nil && pid > 0 {
					pids = append(pids, pid)
				}
			}
			return nil
		})
		if len(pids) > 0 {
			return pids
		}
	}
	return nil
}

// signal sends a signal to all of a machine's processes.
func (l *Lab) signal(ctx context.Context, name, signal string) error {
	// Some are gone before it is their turn.
	args := []string{"bash", "-c", `for pid in "${@:2}"; do kill "-$1" "$pid" 2>/dev/null || true; done`, "bash", signal}
	for _, pid := range l.Processes(name) {
		args = append(args, strconv.Itoa(pid))
	}
	_, err := l.Run.Root(ctx, args...)
	return err
}

// Remains are what a lab that was destroyed has left on this computer: files, mounts, namespaces, control groups, processes.
func (l *Lab) Remains() (all []string) {
	for _, pattern := range []string{
		"/var/lib/calico-cni-lab/labs/" + l.Name, l.StateDir(), "/run/netns/" + l.Name,
		"/sys/fs/cgroup/calico-cni-lab/" + l.Name, "/sys/fs/cgroup/*/calico-cni-lab/" + l.Name,
	} {
		left, _ := filepath.Glob(pattern)
		all = append(all, left...)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		all = append(all, err.Error())
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 1 && (strings.Contains(f[1]+"/", "/"+l.Name+"/") || strings.HasPrefix(f[1]+"/", l.Dir+"/")) {
			all = append(all, "mounted: "+f[1])
		}
	}
	processes, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range processes {
		if line, _ := os.ReadFile(p); bytes.Contains(line, []byte("/labs/"+l.Name+"/")) {
			all = append(all, "running: "+strings.TrimSpace(string(bytes.ReplaceAll(line, []byte{0}, []byte{' '}))))
		}
	}
	return all
}
