package target

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/run"
)

// allMachines is what `ssh` takes instead of a machine's name.
const allMachines = "all"

// SSH becomes an OpenSSH client to a machine; what follows the machine on the command line is the command there. With "all"
// the command runs on all machines at once, and each line of output begins with the machine's name.
func SSH(ctx context.Context, r *run.Run, name string) error {
	l, err := r.Lab(ctx)
	if err != nil {
		return err
	}
	if _, ok := l.Machine(name); !ok && name != allMachines {
		return fmt.Errorf("there is no machine %q; there are %s, and %s for a command on each", name, strings.Join(l.Names(), ", "), allMachines)
	}
	asked := []string{name}
	if name == allMachines {
		asked = l.Names()
	}
	if err := l.Running(ctx, asked...); err != nil {
		return err
	}
	if err := l.WriteSSHConfig(); err != nil {
		return err
	}
	ssh, err := exec.LookPath("ssh")
	if err != nil {
		return fmt.Errorf("%w; install Debian's package openssh-client", err)
	}
	config := filepath.Join(r.StateDir, machine.SSHConfigFile)
	words := commandAfter(os.Args, name)
	if len(words) > 1 { // OpenSSH would join them with spaces, and the machine's shell would split them anew
		words = []string{command.Quote(words...)}
	}
	if name != allMachines {
		return syscall.Exec(ssh, append([]string{"ssh", "-F", config, name}, words...), os.Environ())
	}
	if len(words) == 0 {
		return errors.New("say what to run on all machines: go tool mage ssh all COMMAND")
	}
	return sshAll(ctx, ssh, config, l.Names(), words)
}

// sshAll runs a command on machines, all at once. The error names those on which it failed.
func sshAll(ctx context.Context, ssh, config string, names, words []string) error {
	width := 0
	for _, n := range names {
		width = max(width, len(n))
	}
	out := &lines{}
	errs := make([]error, len(names))
	var wg sync.WaitGroup
	for i, n := range names {
		wg.Go(func() {
			cmd := exec.CommandContext(ctx, ssh, append([]string{"-F", config, n}, words...)...)
			stdout := &marked{mark: fmt.Sprintf("%-*s | ", width, n), to: out, file: os.Stdout}
			stderr := &marked{mark: stdout.mark, to: out, file: os.Stderr}
			cmd.Stdout, cmd.Stderr = stdout, stderr
			if err := cmd.Run(); err != nil {
				errs[i] = fmt.Errorf("%s: %w", n, err)
			}
			stdout.end()
			stderr.end()
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// lines keeps lines of several writers whole.
type lines struct{ mu sync.Mutex }

// marked writes whole lines, each behind a mark.
type marked struct {
	mark string
	to   *lines
	file *os.File
	rest []byte
}

func (m *marked) Write(p []byte) (int, error) {
	m.rest = append(m.rest, p...)
	for {
		i := bytes.IndexByte(m.rest, '\n')
		if i < 0 {
			return len(p), nil
		}
		m.print(m.rest[:i])
		m.rest = m.rest[i+1:]
	}
}

func (m *marked) print(line []byte) {
	m.to.mu.Lock()
	defer m.to.mu.Unlock()
	fmt.Fprintf(m.file, "%s%s\n", m.mark, line)
}

func (m *marked) end() {
	if len(m.rest) > 0 {
		m.print(m.rest)
	}
}

// commandAfter returns what stands behind `ssh MACHINE` on the command line: a line for the machine's shell, or a command's words.
func commandAfter(args []string, name string) []string {
	for i := 1; i+1 < len(args); i++ {
		if strings.EqualFold(args[i], "ssh") && args[i+1] == name {
			return args[i+2:]
		}
	}
	return nil
}
