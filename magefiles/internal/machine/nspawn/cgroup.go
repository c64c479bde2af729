package nspawn

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/computer"
)

// group is a machine's control group. What runs in it is the machine, whoever started it and wherever it went.
type group struct{ path string } // relative to each hierarchy's root

// labGroup holds the groups of the lab's machines.
func (p *Provider) labGroup() group { return group{"calico-cni-lab/" + p.Plan.Name} }

func (p *Provider) group(machine string) group { return group{p.labGroup().path + "/" + machine} }

// hierarchy is where systemd keeps track of processes, in the order of man 7 systemd's cgroup modes: hybrid
// and legacy have it by name, unified is all there is.
func hierarchy() (string, error) {
	for _, dir := range []string{"/sys/fs/cgroup/systemd", "/sys/fs/cgroup"} {
		if computer.Exists(dir + "/cgroup.procs") {
			return dir, nil
		}
	}
	return "", errors.New("no control groups are mounted at /sys/fs/cgroup; systemd-nspawn needs them")
}

// pids returns the processes in the group and in all groups below it.
func (g group) pids() ([]int, error) {
	root, err := hierarchy()
	if err != nil {
		return nil, err
	}
	var pids []int
	err = filepath.WalkDir(filepath.Join(root, g.path), func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // not there, or just gone
		}
		if err != nil || d.Name() != "cgroup.procs" {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return nil // the group is just going
		}
		for field := range strings.FieldsSeq(string(data)) {
			if pid, err := strconv.Atoi(field); err == nil && pid > 0 {
				pids = append(pids, pid)
			}
		}
		return nil
	})
	slices.Sort(pids)
	return slices.Compact(pids), err
}

// init returns the machine's PID 1: the process that is number 1 in a PID namespace just below ours.
// (The containers on the machine are one level deeper.)
func (g group) init() (int, error) {
	pids, err := g.pids()
	if err != nil {
		return 0, err
	}
	for _, pid := range pids {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(data)) {
			ids, ok := strings.CutPrefix(line, "NSpid:")
			if f := strings.Fields(ids); ok && len(f) == namespaceDepth()+1 && f[len(f)-1] == "1" {
				return pid, nil
			}
		}
	}
	return 0, os.ErrNotExist
}

// killFile is what ends all of the group's processes at once when 1 is written to it, those too that are just being born
// (Linux 5.14); "" where there is no cgroup v2. In hybrid mode processes are in it as well: nspawn-boot.sh puts them there.
func (g group) killFile() string {
	for _, root := range []string{"/sys/fs/cgroup/unified", "/sys/fs/cgroup"} {
		if file := filepath.Join(root, g.path, "cgroup.kill"); computer.Exists(file) {
			return file
		}
	}
	return ""
}

// empty says whether no process is in the group.
func (g group) empty() bool {
	pids, err := g.pids()
	return err == nil && len(pids) == 0
}

// runs says whether a process is seen in the group.
func (g group) runs() bool {
	pids, _ := g.pids()
	return len(pids) > 0
}

// namespaceDepth is how many PID namespaces this process can be seen in, as /proc shows them.
func namespaceDepth() int {
	data, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(data)) {
		if ids, ok := strings.CutPrefix(line, "NSpid:"); ok {
			return len(strings.Fields(ids))
		}
	}
	return 1
}

// memory is what the group's processes use, in bytes, without the page cache. 0 where it is not counted.
func (g group) memory() int64 {
	for _, file := range []struct{ path, key string }{
		{"/sys/fs/cgroup/memory/" + g.path + "/memory.stat", "total_rss"},
		{"/sys/fs/cgroup/" + g.path + "/memory.stat", "anon"},
	} {
		data, err := os.ReadFile(file.path)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(data)) {
			if f := strings.Fields(line); len(f) == 2 && f[0] == file.key {
				n, _ := strconv.ParseInt(f[1], 10, 64)
				return n
			}
		}
	}
	return 0
}
