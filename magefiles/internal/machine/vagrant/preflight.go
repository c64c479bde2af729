package vagrant

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/bitfield/script"
	"github.com/hashicorp/go-version"

	"github.com/calico-cni-lab/lab/magefiles/internal/computer"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine/box"
)

// plugin is what drives libvirt.
const plugin = "vagrant-libvirt"

// facts are what Preflight decides by.
type facts struct {
	os, arch   string           // as Go names them
	vagrant    *version.Version // nil: there is none
	plugin     *version.Version // nil: there is none
	libvirt    error            // why libvirt can't be reached
	virtualBox *version.Version // nil: there is none
	networks   string           // VirtualBox' networks.conf, "" where there is none
	memory     int64            // MB that can be used; 0: unknown
	emulated   bool             // no hardware virtualization
}

// Preflight implements machine.Provider.
func (p *Provider) Preflight(ctx context.Context) error {
	_, err := p.provider(ctx)
	return err
}

// provider returns the provider of Vagrant's that makes the machines.
func (p *Provider) provider(ctx context.Context) (string, error) {
	if p.Lab == nil {
		return "", machine.ErrNoLab
	}
	p.once.Do(func() {
		var f facts
		if f, p.errChoices = p.gather(ctx); p.errChoices == nil {
			p.chosen, p.errChoices = choose(f, p.Lab, p.given())
		}
	})
	return p.chosen, p.errChoices
}

// given is the provider that can't be chosen any more: the one that the machines are made with, else the one that the
// user names.
func (p *Provider) given() string {
	if ids := made(p.StateDir); len(ids) > 0 {
		return filepath.Base(filepath.Dir(ids[0]))
	}
	return os.Getenv("VAGRANT_DEFAULT_PROVIDER")
}

// choose returns the provider to use, or an error that lists everything that is in the way.
func choose(f facts, l *lab.Lab, given string) (string, error) {
	if f.vagrant == nil {
		return "", errors.New("vagrant is not installed; on Debian: apt-get install vagrant vagrant-libvirt; " +
			"elsewhere: https://developer.hashicorp.com/vagrant/install")
	}
	if c := l.Vagrant.Version; c != nil && !c.Check(f.vagrant) {
		return "", fmt.Errorf("this is Vagrant %s, and lab.yaml wants %s; install a newer one: https://developer.hashicorp.com/vagrant/install", f.vagrant, c)
	}
	providers := []string{box.Libvirt, box.VirtualBox}
	if given != "" {
		if !slices.Contains(providers, given) {
			return "", fmt.Errorf("Vagrant's provider %s is not one that the lab has machines for; these are: %s", given, strings.Join(providers, ", "))
		}
		providers = []string{given}
	}
	text := "no provider of Vagrant's can be used here"
	for _, provider := range providers {
		found := faults(f, l, provider)
		if len(found) == 0 {
			return provider, nil
		}
		for _, fault := range found {
			text += "\n  " + provider + ": " + fault
		}
	}
	return "", errors.New(text)
}

// faults are what keeps a provider from making the lab's machines.
func faults(f facts, l *lab.Lab, provider string) []string {
	var all []string
	add := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	if err := machine.OneSubnet(l.Underlay); err != nil {
		add("%v", err)
	}
	switch provider {
	case box.Libvirt:
		if f.plugin == nil {
			add("the plugin %s is missing; on Debian: apt-get install %[1]s; elsewhere: vagrant plugin install %[1]s", plugin)
			return all
		}
		if c := l.Vagrant.Libvirt; c != nil && !c.Check(f.plugin) {
			add("this is %s %s, and lab.yaml wants %s; run: vagrant plugin update %[1]s", plugin, f.plugin, c)
		}
		switch {
		case errors.Is(f.libvirt, fs.ErrNotExist):
			add("libvirt does not run; on Debian: apt-get install libvirt-daemon-system, then systemctl start libvirtd")
		case errors.Is(f.libvirt, fs.ErrPermission):
			add("this user may not use libvirt; run: sudo usermod --append --groups libvirt $USER, then log in again")
		case f.libvirt != nil:
			add("libvirt can't be reached (%v); see: systemctl status libvirtd", f.libvirt)
		}
	case box.VirtualBox:
		if f.virtualBox == nil {
			add("VirtualBox is not installed (no VBoxManage)")
			return all
		}
		if c := l.Vagrant.VirtualBox; c != nil && !c.Check(f.virtualBox) {
			add("this is VirtualBox %s, and lab.yaml wants %s", f.virtualBox, c)
		}
		if limit, next := driven(f.vagrant); f.virtualBox.GreaterThanOrEqual(limit) {
			add("VirtualBox %s is newer than Vagrant %s drives; %s", f.virtualBox, f.vagrant, next)
		}
		if !hostOnlyAllowed(f, l.Subnet) {
			add("VirtualBox doesn't allow host-only networks in %s; add this line to /etc/vbox/networks.conf (and create the file if there is none):\n    * %[1]s", l.Subnet)
		}
	}
	if l.Vagrant.Box == lab.OwnBox && f.arch != box.Arch {
		add("the lab's own box is made for %s only, this is %s; name a public box in lab.yaml (vagrant.box, vagrant.boxVersion)", box.Arch, f.arch)
	}
	if need := memory(l, f.emulated); f.memory > 0 && f.memory < need {
		add("the machines need %d MB of memory, %d MB are free here; end something large, or give them less in lab.yaml (memory)", need, f.memory)
	}
	return all
}

// memory is what the machines take of this computer, in MB. A virtual machine costs a little beside its own memory;
// without hardware virtualization QEMU keeps the translated code too, 1 GB for each machine (measured).
func memory(l *lab.Lab, emulated bool) int64 {
	beside := 80
	if emulated {
		beside = 1024
	}
	var sum int64
	for _, m := range l.Machines {
		sum += int64(m.Memory + beside)
	}
	return sum
}

// driven returns the first release of VirtualBox that a Vagrant can't drive, and what to do about it.
// hashicorp/vagrant#13709 (7.2), #13513 (7.1), CHANGELOG 2.3.2 (7.0).
func driven(v *version.Version) (limit *version.Version, remedy string) {
	for _, step := range []struct{ vagrant, limit, remedy string }{
		{"2.4.9", "7.3", "look for a newer Vagrant than this, or use VirtualBox 7.2"},
		{"2.4.2", "7.2", "update Vagrant to 2.4.9, or use VirtualBox 7.1"},
		{"2.3.2", "7.1", "update Vagrant to 2.4.9, or use VirtualBox 7.0"},
		{"0", "7.0", "update Vagrant to 2.4.9, or use VirtualBox 6.1"},
	} {
		if v.GreaterThanOrEqual(version.Must(version.NewVersion(step.vagrant))) {
			return version.Must(version.NewVersion(step.limit)), step.remedy
		}
	}
	return version.Must(version.NewVersion("0")), ""
}

// defaultHostOnly is what VirtualBox allows where no networks.conf says otherwise (user manual, section 6.7).
const defaultHostOnly = "* 192.168.56.0/21"

// hostOnlyAllowed says whether VirtualBox lets a host-only network be there. From 6.1.28 it restricts them, but not on
// Windows, nor on macOS from 7.0.
func hostOnlyAllowed(f facts, subnet netip.Prefix) bool {
	since := version.Must(version.NewVersion("6.1.28"))
	seven := version.Must(version.NewVersion("7.0"))
	if f.virtualBox.LessThan(since) || f.os == "windows" || f.os == "darwin" && f.virtualBox.GreaterThanOrEqual(seven) {
		return true
	}
	networks := f.networks
	if strings.TrimSpace(networks) == "" {
		networks = defaultHostOnly
	}
	for line := range strings.Lines(networks) {
		ranges, ok := strings.CutPrefix(strings.TrimSpace(line), "*")
		if !ok {
			continue
		}
		for r := range strings.FieldsSeq(ranges) {
			allowed, err := netip.ParsePrefix(r)
			if err == nil && allowed.Bits() <= subnet.Bits() && allowed.Masked().Contains(subnet.Addr()) {
				return true
			}
		}
	}
	return false
}

// gather looks for the facts.
func (p *Provider) gather(ctx context.Context) (facts, error) {
	f := facts{os: runtime.GOOS, arch: runtime.GOARCH, memory: computer.FreeMemory(), emulated: emulated()}
	if _, err := exec.LookPath("vagrant"); err == nil {
		out, err := p.Run.Output(ctx, "vagrant", "--version")
		if err != nil {
			return f, err
		}
		if f.vagrant, err = number(out); err != nil {
			return f, err
		}
		out, err = p.ask(ctx, "plugin", "list", machineReadable)
		if err != nil {
			return f, err
		}
		if v := parsePlugin(out, plugin); v != "" {
			if f.plugin, err = version.NewVersion(v); err != nil {
				return f, err
			}
		}
	}
	conn, err := net.DialTimeout("unix", libvirtSocket, 5*time.Second)
	if f.libvirt = err; err == nil {
		conn.Close()
	}
	if _, err := exec.LookPath("VBoxManage"); err == nil {
		out, err := p.Run.Output(ctx, "VBoxManage", "--version")
		if err != nil {
			return f, err
		}
		if f.virtualBox, err = number(out); err != nil {
			return f, err
		}
	}
	data, _ := os.ReadFile("/etc/vbox/networks.conf")
	f.networks = string(data)
	return f, nil
}

var kvmFlag = regexp.MustCompile(`^flags\s*:.*\b(vmx|svm)\b`)

// emulated says whether QEMU has to do without hardware virtualization. The Vagrantfile decides by the same signs.
func emulated() bool {
	if runtime.GOOS != "linux" {
		return false
	}
	kvm, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return true
	}
	kvm.Close()
	virtualization, err := script.File("/proc/cpuinfo").MatchRegexp(kvmFlag).CountLines()
	return err == nil && runtime.GOARCH == "amd64" && virtualization == 0
}
