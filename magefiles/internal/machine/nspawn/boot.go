package nspawn

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/computer"
	"github.com/calico-cni-lab/lab/scripts"
)

// powerOff is SIGRTMIN+4, systemd's signal for it (systemd(1)). SIGRTMIN is 34 with glibc.
const powerOff = 34 + 4

// startDetached installs the script at standard input as $1 and starts it with what follows $2, its console.
const startDetached = `set -e
trap '' HUP # sudo's terminal goes with sudo
launcher=$1 console=$2
shift 2
install -m 0755 /dev/stdin "$launcher"
# One of an older version is open to all.
dir=${console%/*}
if [ "$(stat -c %a "$dir")" != 750 ]; then
	chgrp --reference="$dir/run" "$dir"
	chmod 0750 "$dir"
fi
touch "$console"
chgrp --reference="$dir" "$console"
chmod 0640 "$console"
# What this process inherited, such as a lock of flock(1), would be held as long as the machine runs.
for fd in /proc/self/fd/*; do
	if ((${fd##*/} > 2)); then eval "exec ${fd##*/}>&-"; fi
done
setsid "$launcher" "$@" </dev/null >>"$console" 2>&1 &`

// Every machine has users of its own on this computer, in the range that systemd has for containers
// (https://systemd.io/UIDS-GIDS). Its files have none of them: what they are is free to change.
const (
	firstUser     = 524288
	usersAMachine = 65536
	ranges        = 20000
)

// users returns the number on this computer of a machine's root, the first of usersAMachine. The machine's name says which one it
// should be, so that it is the same for a machine that is made again, as long as nobody else has it.
func (p *Provider) users(ctx context.Context, name string) (string, error) {
	h := fnv.New32a()
	io.WriteString(h, p.group(name).path) //nolint:errcheck // hashes return none
	return p.Run.Root(ctx, "bash", "-c", scripts.Text("nspawn-users.sh"), "nspawn-users.sh", p.dir(name), "/etc",
		strconv.Itoa(firstUser), strconv.Itoa(usersAMachine), strconv.Itoa(ranges), fmt.Sprint(h.Sum32()%ranges))
}

// boot starts a machine and returns as soon as its SSH socket takes connections.
func (p *Provider) boot(ctx context.Context, name string) error {
	if !computer.Exists(filepath.Join(p.dir(name), "own")) {
		return errors.New("it was made by an earlier version of the lab; start over: go tool mage destroy, then go tool mage verify")
	}
	rootfs, err := p.rootfs(ctx)
	if err != nil {
		return err
	}
	layers, err := os.ReadFile(filepath.Join(p.dir(name), "layers"))
	if err != nil {
		return err
	}
	for layer := range strings.SplitSeq(strings.TrimSpace(string(layers)), ":") {
		if !computer.Exists(layer) {
			return fmt.Errorf("%s is gone, a layer below the machine's own files; start over: go tool mage destroy, then go tool mage verify", layer)
		}
	}
	users, err := p.users(ctx, name)
	if err != nil {
		return err
	}
	before := p.consoleText(name)
	launcher := filepath.Join(p.dir(name), "boot.sh")
	_, err = p.Run.Run(ctx, command.Cmd{
		Args: []string{"bash", "-c", startDetached, "start-detached", launcher, p.console(name), name, p.dir(name), strings.TrimSpace(string(layers)), p.netns(), bridge,
			p.group(name).path, p.Maker.Store.Dir, users, rootfs},
		Stdin: strings.NewReader(scripts.Text("nspawn-boot.sh")), Root: true,
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, bootTimeout, fmt.Errorf("gave up after %s", bootTimeout))
	defer cancel()
	appeared := false
	return poll(ctx, func(context.Context) (bool, error) {
		pids, err := p.group(name).pids()
		if err != nil {
			return false, err
		}
		if len(pids) == 0 && (appeared || len(p.consoleText(name)) > len(before)) {
			return false, errors.New("it ended at once" + p.consoleTail(name))
		}
		appeared = appeared || len(pids) > 0
		conn, err := net.Dial("unix", p.socket(name))
		if err != nil {
			return false, nil
		}
		conn.Close()
		return true, nil
	}, func() string { return p.consoleTail(name) })
}

func (p *Provider) consoleText(name string) string {
	data, _ := os.ReadFile(p.console(name))
	return strings.TrimSpace(string(data))
}

// consoleTail is the end of a machine's console, for an error.
func (p *Provider) consoleTail(name string) string {
	lines := strings.Split(p.consoleText(name), "\n")
	lines = lines[max(0, len(lines)-8):]
	return "; the end of its console (" + p.console(name) + "):\n  | " + strings.Join(lines, "\n  | ")
}

// halt powers a machine off and waits until it is; one that doesn't do so in time is killed.
func (p *Provider) halt(ctx context.Context, name string) error {
	pid, err := p.group(name).init()
	if err == nil {
		if _, err := p.Run.Root(ctx, "kill", "-"+strconv.Itoa(powerOff), strconv.Itoa(pid)); err != nil && !p.group(name).empty() {
			return err
		}
		patience, cancel := context.WithTimeout(ctx, haltTimeout)
		defer cancel()
		if poll(patience, func(context.Context) (bool, error) { return p.group(name).empty(), nil }, nil) == nil {
			return nil
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return p.kill(ctx, name, p.group(name))
}

// kill ends every process of a group; what is for the error.
func (p *Provider) kill(ctx context.Context, what string, g group) error {
	ctx, cancel := context.WithTimeoutCause(ctx, killTimeout, fmt.Errorf("%s still has processes after %s", what, killTimeout))
	defer cancel()
	var failed error
	start := time.Now()
	if file := g.killFile(); file != "" {
		_, failed = p.Run.Root(ctx, "sh", "-c", `echo 1 >"$0"`, file)
	}
	return poll(ctx, func(ctx context.Context) (bool, error) {
		pids, err := g.pids()
		if err != nil || len(pids) == 0 {
			return err == nil, err
		}
		if g.killFile() != "" && time.Since(start) < killTimeout/10 {
			return false, nil // they are going
		}
		args := []string{"kill", "-KILL"}
		for _, pid := range pids {
			args = append(args, strconv.Itoa(pid))
		}
		// Some are gone before it is their turn; what counts is that the group gets empty.
		_, failed = p.Run.Root(ctx, args...)
		return g.empty(), nil
	}, func() string {
		if failed == nil {
			return ""
		}
		return ": " + failed.Error()
	})
}

// pollInterval is how often a machine is looked at that boots or halts.
const pollInterval = 20 * time.Millisecond

// poll calls done until it returns true or an error, or ctx ends. The error is ctx's cause then, with what detail, where
// there is one, returns.
func poll(ctx context.Context, done wait.ConditionWithContextFunc, detail func() string) error {
	err := wait.PollUntilContextCancel(ctx, pollInterval, true, done)
	if ctx.Err() == nil || !wait.Interrupted(err) {
		return err
	}
	if detail == nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("%w%s", context.Cause(ctx), detail())
}
