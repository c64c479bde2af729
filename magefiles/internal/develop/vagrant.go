package develop

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/calico-cni-lab/lab/magefiles/internal/computer"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine/box"
	"github.com/calico-cni-lab/lab/magefiles/internal/run"
)

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
func TestVagrant(ctx context.Context, r *run.Run) error {
	if runtime.GOOS != "linux" || runtime.GOARCH != box.Arch {
		return fmt.Errorf("the test on virtual machines needs Linux on %s; this is %s on %s", box.Arch, runtime.GOOS, runtime.GOARCH)
	}
	if err := computer.Installable(sandboxNeeds); err != nil {
		return err
	}
	l, err := r.Lab(ctx)
	if err != nil {
		return err
	}
	if err := computer.BecomeRoot(ctx, r.Exec, "virtual machines", r.Console.Notice); err != nil {
		return err
	}
	if err := computer.Install(ctx, r.Exec, sandboxNeeds, r.Console.Notice); err != nil {
		return err
	}
	// All that comes from elsewhere is made before: where the test runs there is no network.
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { _, err := l.Spec(gctx); return err })
	g.Go(func() error { _, _, err := l.Maker.Look(gctx); return err })
	g.Go(func() error { _, err := box.Make(gctx, options(r, l), box.Libvirt); return err })
	if err := g.Wait(); err != nil {
		return err
	}
	home, err := os.MkdirTemp("", "calico-cni-lab-vagrant.")
	if err != nil {
		return err
	}
	// Also after Ctrl-C; root's files are among them.
	defer r.Exec.Root(context.WithoutCancel(ctx), "rm", "-rf", "--one-file-system", "--", home)
	args := []string{
		"env", "PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "VAGRANT_HOME=" + filepath.Join(home, "home"), "LAB_TEST_LIBVIRT=now",
		"bash", filepath.Join(r.Root, "scripts", "vagrant-sandbox.sh"), filepath.Join(home, "libvirt"),
		"go", "test", "-count=1", "-timeout=50m", "-v", "-run=^TestVagrant$", e2e,
	}
	if os.Geteuid() != 0 {
		args = append([]string{"sudo", "-n", "-E", "--"}, args...)
	}
	return show(ctx, r, shown{args: args, limit: 55 * time.Minute})
}

// Box makes the lab's own boxes.
func Box(ctx context.Context, r *run.Run) error {
	l, err := r.Lab(ctx)
	if err != nil {
		return err
	}
	if err := r.Begin(ctx); err != nil {
		return err
	}
	for _, provider := range []string{box.Libvirt, box.VirtualBox} {
		file, err := box.Make(ctx, options(r, l), provider)
		if err != nil {
			return err
		}
		r.Console.Notice("%s: %s", provider, file.Path)
	}
	r.Console.Notice("LAB_HARDWARE=vagrant go tool mage verify adds the one it needs to Vagrant by itself")
	return nil
}
