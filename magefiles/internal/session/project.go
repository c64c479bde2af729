package session

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/calico-cni-lab/lab/magefiles/internal/ansible"
	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/computer"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine/box"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine/nspawn"
)

// Test runs all of the project's tests and shows what the test runner says: first those with embedded machines, then
// the one with virtual machines.
func (s *Session) Test() error {
	if err := s.install(ansible.Needs); err != nil {
		s.Console.Notice("the test of the playbooks is left out: %v", err)
	}
	if err := s.show(time.Hour, "go", "test", "-count=1", "-timeout=50m", "./..."); err != nil {
		return err
	}
	if why := noVirtualMachines(); why != "" {
		s.Console.Notice("the test on virtual machines was left out: %s", why)
		return nil
	}
	return s.TestVagrant()
}

// install installs what is missing of what work on the lab itself takes.
func (s *Session) install(needs []computer.Need) error {
	if len(computer.Missing(needs)) == 0 {
		return nil
	}
	if err := computer.Installable(needs); err != nil {
		return err
	}
	if err := computer.BecomeRoot(s.ctx, s.run, "Debian packages", s.Console.Notice); err != nil {
		return err
	}
	return computer.Install(s.ctx, s.run, needs, s.Console.Notice)
}

// noVirtualMachines says why Test leaves TestVagrant out, "" where it doesn't.
func noVirtualMachines() string {
	if os.Getenv("LAB_TEST_VAGRANT") == "never" {
		return "LAB_TEST_VAGRANT=never"
	}
	if runtime.GOOS != "linux" || runtime.GOARCH != box.Arch {
		return fmt.Sprintf("it needs Linux on %s; this is %s on %s", box.Arch, runtime.GOOS, runtime.GOARCH)
	}
	if err := computer.Installable(sandboxNeeds); err != nil {
		return err.Error()
	}
	return ""
}

// sandboxNeeds are what the virtual machines of TestVagrant need here, beside what their disk is made with.
var sandboxNeeds = append([]computer.Need{
	{Program: "vagrant", Package: "vagrant"},
	{Program: "/usr/share/doc/vagrant-libvirt", Package: "vagrant-libvirt"},
	{Program: "libvirtd", Package: "libvirt-daemon"},
	{Program: "/etc/libvirt/qemu.conf", Package: "libvirt-daemon-system"},
	{Program: "virsh", Package: "libvirt-clients"},
	{Program: "qemu-system-x86_64", Package: "qemu-system-x86"},
	{Program: "dnsmasq", Package: "dnsmasq-base"},
	{Program: "ip", Package: "iproute2"},
	{Program: "ssh", Package: "openssh-client"},
}, box.DiskNeeds...)

// TestVagrant tests the lab on real virtual machines, with a libvirt of their own that ends with the test.
func (s *Session) TestVagrant() error {
	if why := noVirtualMachines(); why != "" {
		return errors.New(why)
	}
	if _, err := s.Lab(); err != nil {
		return err
	}
	if err := computer.BecomeRoot(s.ctx, s.run, "a libvirt of the test's own", s.Console.Notice); err != nil {
		return err
	}
	if err := computer.Install(s.ctx, s.run, sandboxNeeds, s.Console.Notice); err != nil {
		return err
	}
	// All that comes from elsewhere is made before: where the test runs there is no network.
	g, ctx := errgroup.WithContext(s.ctx)
	g.Go(func() error { return s.maker.Compile(ctx) })
	g.Go(func() error { _, err := s.maker.Images(ctx); return err })
	g.Go(func() error { _, err := box.Make(ctx, s.options(machine.Plan{}, s.lab), box.Libvirt); return err })
	if err := g.Wait(); err != nil {
		return err
	}
	home, err := os.MkdirTemp("", "calico-cni-lab-vagrant.")
	if err != nil {
		return err
	}
	libvirt := filepath.Join(home, "libvirt")
	// Also after Ctrl-C; root's files are among them.
	defer s.run.Root(context.WithoutCancel(s.ctx), "rm", "-rf", "--one-file-system", "--", home)
	args := []string{
		"env", "PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "VAGRANT_HOME=" + filepath.Join(home, "home"), "LAB_TEST_VAGRANT=now",
		"bash", filepath.Join(s.root, "scripts", "vagrant-sandbox.sh"), libvirt,
		"go", "test", "-count=1", "-timeout=40m", "-v", "-run=^TestVagrant$", "./magefiles/internal/e2e",
	}
	if os.Geteuid() != 0 {
		args = append([]string{"sudo", "-n", "-E", "--"}, args...)
	}
	return s.show(45*time.Minute, args...)
}

// show runs a command of the project with its output to the terminal. It ends with the session, children included.
func (s *Session) show(limit time.Duration, args ...string) error {
	ctx, cancel := context.WithTimeoutCause(s.ctx, limit, fmt.Errorf("not done after %s", limit))
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 4 * time.Second
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return fmt.Errorf("%s: %w", command.Quote(args...), err)
	}
	return nil
}

// Clean empties the cache: artifacts, boxes and Docker stores of this user.
func (s *Session) Clean() error {
	users, err := nspawn.CacheUsers()
	if err != nil {
		return err
	}
	if len(users) > 0 {
		return fmt.Errorf("what is in the cache is in use by the lab in %s; run `go tool mage destroy` there first", strings.Join(users, " and the one in "))
	}
	cache, err := cacheDir()
	if err != nil {
		return err
	}
	if err := os.RemoveAll(cache); err != nil {
		return err
	}
	if _, err := os.Stat(machine.Home); err == nil {
		if _, err := s.run.Root(s.ctx, "rm", "-rf", "--one-file-system", "--", box.CacheDir()); err != nil {
			return err
		}
		// Empty now, unless another user has a cache too.
		_, _ = s.run.Root(s.ctx, "rmdir", "--ignore-fail-on-non-empty", filepath.Join(machine.Home, "labs"), filepath.Join(machine.Home, "cache"), machine.Home)
	}
	s.Console.Notice("the cache is empty; the next `go tool mage verify` makes everything anew")
	return nil
}

// Benchmark measures what the README promises and prints it as a table. It destroys the lab.
func (s *Session) Benchmark(rounds int, cold bool) error {
	l, err := s.Lab()
	if err != nil {
		return err
	}
	timed := func(env []string, target string) (time.Duration, error) {
		start := time.Now()
		err := s.target(env, target)
		return time.Since(start), err
	}
	type series struct {
		what  string
		times []time.Duration
	}
	full, again, look, gone := series{what: "destroyed to verified, warm cache"}, series{what: "`verify` again"}, series{what: "`check`"}, series{what: "`destroy`"}
	all := []*series{&full, &again, &look, &gone}
	if _, err := timed(nil, "destroy"); err != nil {
		return err
	}
	if cold {
		if _, err := timed(nil, "clean"); err != nil {
			return err
		}
		temp, err := os.MkdirTemp("", "calico-cni-lab-cold.")
		if err != nil {
			return err
		}
		// The module cache is read-only by default.
		defer s.run.Run(context.WithoutCancel(s.ctx), command.Cmd{Args: []string{"rm", "-rf", temp}})
		env := []string{"GOCACHE=" + temp + "/build", "GOMODCACHE=" + temp + "/mod", "GOFLAGS=-modcacherw", "MAGEFILE_CACHE=" + temp + "/mage"}
		s.Console.Notice("cold: everything downloaded and compiled anew")
		took, err := timed(env, "verify")
		if err != nil {
			return err
		}
		all = append([]*series{{"nothing cached to verified", []time.Duration{took}}}, all...)
		if _, err := timed(nil, "destroy"); err != nil {
			return err
		}
	}
	var memory []int64
	for i := range rounds {
		s.Console.Notice("round %d of %d", i+1, rounds)
		for _, step := range []struct {
			to     *series
			target string
		}{{&full, "verify"}, {&again, "verify"}, {&look, "check"}, {&gone, "destroy"}} {
			if step.target == "destroy" {
				machines, err := s.provider.Status(s.ctx)
				if err != nil {
					return err
				}
				var sum int64
				for _, m := range machines {
					sum += m.Memory
				}
				memory = append(memory, sum)
			}
			took, err := timed(nil, step.target)
			if err != nil {
				return err
			}
			step.to.times = append(step.to.times, took)
		}
	}
	var rows [][]string
	for _, sr := range all {
		if len(sr.times) > 0 {
			rows = append(rows, append([]string{sr.what, fmt.Sprint(len(sr.times))}, spread(sr.times, seconds)...))
		}
	}
	if len(memory) > 0 {
		rows = append(rows, append([]string{fmt.Sprintf("memory of %d machines", len(l.Machines)), fmt.Sprint(len(memory))},
			spread(memory, func(n int64) string { return fmt.Sprintf("%d MB", n>>20) })...))
	}
	s.Console.Table([]string{"what", "runs", "min", "median", "max"}, rows)
	return nil
}
