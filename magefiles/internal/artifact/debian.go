package artifact

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
)

// Mirror serves Debian's packages.
const mirror = "http://deb.debian.org/"

// Debian makes file system trees from Debian's packages.
type Debian struct {
	Release string
	Run     *command.Runner
}

// Bootstrap makes target, a directory or a .tar, from packages; script is run on the tree as the last step,
// with the tree as its argument. It needs root.
func (d Debian) Bootstrap(ctx context.Context, target string, packages []string, overlay, script string) error {
	args := []string{
		"mmdebstrap", "--mode=root", "--variant=minbase", "--quiet",
		"--include=" + strings.Join(packages, ","),
		"--dpkgopt=path-exclude=/usr/share/doc/*",
		"--dpkgopt=path-include=/usr/share/doc/*/copyright",
		"--dpkgopt=path-exclude=/usr/share/man/*",
		"--dpkgopt=path-exclude=/usr/share/locale/*",
		`--aptopt=Acquire::Languages "none"`,
		`--aptopt=Acquire::Retries "3"`,
	}
	if overlay != "" {
		args = append(args, "--customize-hook=tar-in "+command.Quote(overlay)+" /")
	}
	if script != "" {
		args = append(args, "--customize-hook="+script)
	}
	args = append(append(args, d.Release, target), d.sources()...)
	_, err := d.Run.Run(ctx, command.Cmd{
		Args: args, Root: true, Timeout: buildTimeout, Env: []string{"SOURCE_DATE_EPOCH=0"},
		Hint: "check that " + mirror + " can be reached, then run this again",
	})
	return err
}

// DebianKeyring has the keys that Debian's packages are signed with.
const DebianKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

func (d Debian) sources() []string {
	const deb = "deb [signed-by=" + DebianKeyring + "] " + mirror
	return []string{
		fmt.Sprintf("%sdebian %s main", deb, d.Release),
		fmt.Sprintf("%sdebian %s-updates main", deb, d.Release),
		fmt.Sprintf("%sdebian-security %s-security main", deb, d.Release),
	}
}

// Inputs are what a tree made by Bootstrap depends on, besides its arguments.
func (d Debian) Inputs() []string { return append(d.sources(), "bootstrap 1") }

const baseTar = "base.tar"

// basePackages are in every image but etcd's: what calico-node calls, and what one looks around in a workload with.
var basePackages = []string{
	"bird", "conntrack", "iproute2", "ipset", "iptables", "iputils-ping", "kmod", "procps", "runit", "socat",
}

// base is a directory with the file system that the images share, as a tar.
func (m *Maker) base(ctx context.Context) (string, error) {
	d := Debian{m.Debian, m.Run}
	// runit's link would hide Calico's own /etc/service.
	const hook = `rm -f "$1/etc/service"`
	return m.Store.Get(ctx, Recipe{
		Name:   "base",
		What:   "making the images' base from Debian " + m.Debian,
		Inputs: append(append(d.Inputs(), m.Arch, hook), basePackages...),
		Make: func(ctx context.Context, out string) error {
			// What root makes is made in a directory that only root writes to, and handed over.
			temp, err := m.Run.Root(ctx, "mktemp", "-d", "-t", "calico-cni-lab.XXXXXXXX")
			if err != nil {
				return err
			}
			defer m.Run.Root(context.WithoutCancel(ctx), "rm", "-rf", "--", temp)
			tar := filepath.Join(temp, baseTar)
			if err := d.Bootstrap(ctx, tar, basePackages, "", hook); err != nil {
				return err
			}
			_, err = m.Run.Root(ctx, "install", "-m", "0644", "-o", fmt.Sprint(os.Getuid()), "-g", fmt.Sprint(os.Getgid()), tar, filepath.Join(out, baseTar))
			return err
		},
	})
}
