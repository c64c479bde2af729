package artifact

import (
	"cmp"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/computer"
	"github.com/calico-cni-lab/lab/scripts"
)

// Debian makes file system trees from Debian's packages.
type Debian struct {
	Release string
	Run     *command.Runner

	variant string // mmdebstrap's; "" is minbase
}

// atMnt shows a directory at /mnt, in a mount namespace of its own: apt downloads as a user who can't go where the directory is.
const atMnt = `mkdir -p "$1" && mount --bind "$1" /mnt && shift && exec "$@"`

// Sources returns the lines of sources.list that a tree is to have, and those by which its packages are to be fetched.
func (d Debian) Sources(ctx context.Context) (sources, served []string, err error) {
	if sources, err = d.sources(); err != nil {
		return nil, nil, err
	}
	m, err := d.findMirror(ctx, os.Getenv)
	return sources, m.serve(sources), err
}

// Bootstrap makes target, a directory or NAME.tar, from packages; with target "-" out gets it as a tar. script is run on the tree as the
// last step, with the tree as its argument. It needs root.
func (d Debian) Bootstrap(ctx context.Context, target string, out io.Writer, packages []string, overlay, script string) error {
	sources, err := d.sources()
	if err != nil {
		return err
	}
	m, err := d.findMirror(ctx, os.Getenv)
	if err != nil {
		return err
	}
	args := []string{
		"mmdebstrap", "--verbose", "--mode=root", "--variant=" + cmp.Or(d.variant, "minbase"),
		"--include=" + strings.Join(packages, ","),
		"--dpkgopt=path-exclude=/usr/share/doc/*",
		"--dpkgopt=path-include=/usr/share/doc/*/copyright",
		"--dpkgopt=path-exclude=/usr/share/man/*",
		"--dpkgopt=path-exclude=/usr/share/locale/*",
		`--aptopt=Acquire::Languages "none"`,
		`--aptopt=Acquire::Retries "3"`,
		"--customize-hook=" + scripts.Text("note-packages.sh"), // while the lists of those sources are there
		"--customize-hook=" + ownSources(sources),
	}
	if overlay != "" {
		args = append(args, "--customize-hook=tar-in "+command.Quote(overlay)+" /")
	}
	if script != "" {
		args = append(args, "--customize-hook="+script)
	}
	switch {
	case target == "-":
		args = append(args, "--format=tar", d.Release, "-", "-")
	case filepath.Ext(target) == ".tar":
		args = append(args, d.Release, target, "-")
	default:
		args = append([]string{"unshare", "--mount", "--propagation", "private", "--", "bash", "-c", atMnt, "bash", target}, append(args, d.Release, "/mnt", "-")...)
	}
	_, err = d.Run.Run(ctx, command.Cmd{
		Args: args,
		// Not an argument: everybody can read those, and a mirror's URL may have a password.
		Stdin: strings.NewReader(strings.Join(m.serve(sources), "\n")), Stdout: out,
		Root: true, Timeout: buildTimeout, Env: append(d.aptProxies(ctx), "SOURCE_DATE_EPOCH=0"), Said: (&aptProgress{ctx: ctx}).said,
	})
	return d.explain(err, m)
}

// ownSources is a shell line that puts sources into the tree $1: the same packages make the same tree, whichever mirror they
// come from.
func ownSources(sources []string) string {
	return `printf '%s\n' ` + command.Quote(sources...) + ` >"$1/etc/apt/sources.list"`
}

// Packages is the file in a tree that says which Debian packages it was made from: see note-packages.sh.
const Packages = "var/lib/dpkg/lab-packages"

// DebianKeyring has the keys that Debian's packages are signed with.
const DebianKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// Inputs are what a tree made by Bootstrap depends on, besides its arguments.
func (d Debian) Inputs() ([]string, error) {
	sources, err := d.sources()
	return append(sources, "bootstrap 1", scripts.Text("note-packages.sh")), err
}

const baseTar = "base.tar"

// basePackages are in every image but etcd's: what calico-node calls, and what one looks around in a workload with.
var basePackages = []string{
	"bird", "conntrack", "iproute2", "ipset", "iptables", "iputils-ping", "kmod", "nftables", "procps", "runit", "socat",
}

// baseScript is run on the images' tree, $1. A link goes that would hide Calico's own /etc/service. nft is put where Felix doesn't look: where
// he finds it he lists nftables at each change of his rules, to clean up what he may have had there. And a third of the files go, each of
// which would be one more hard link on each machine: Perl's modules, with which usrmerge has done its work, and time zones.
const baseScript = `rm -rf "$1/etc/service" "$1/usr/share/perl" "$1/usr/share/perl5" "$1/usr/share/zoneinfo" &&
	if [ -e "$1/usr/sbin/nft" ]; then mv "$1/usr/sbin/nft" "$1/usr/lib/nft"; fi`

// Base makes what the images start from.
type Base interface {
	// Inputs are what it depends on, besides what Tar is given.
	Inputs(ctx context.Context) ([]string, error)
	// Tar writes a file system with Debian packages to out. script is a shell line that is run at the end, with the tree as $1.
	Tar(ctx context.Context, out io.Writer, packages []string, script string) error
	// Named says that the user wants this one, and no other.
	Named() bool
}

// bootstrapped is a base that root makes on this computer.
type bootstrapped struct{ Debian }

// Inputs implements Base.
func (d bootstrapped) Inputs(context.Context) ([]string, error) { return d.Debian.Inputs() }

// Tar implements Base. Through a pipe: root writes to no directory of the user's.
func (d bootstrapped) Tar(ctx context.Context, out io.Writer, packages []string, script string) error {
	return d.Bootstrap(ctx, "-", out, packages, "", script)
}

// Named implements Base.
func (d bootstrapped) Named() bool { return false }

// base is a directory with the file system that the images share, as a tar. What root makes serves everybody, so m.Base makes another only
// where none is there, or in stock.
func (m *Maker) base(ctx context.Context) (string, error) {
	shared, err := m.baseRecipe(ctx, bootstrapped{Debian{Release: m.Debian, Run: m.Run}})
	if err != nil {
		return "", err
	}
	if m.Base == nil {
		return m.Store.Get(ctx, shared)
	}
	// Somebody may have named what m.Base is made from. And a lab's images stay what they were.
	own, err := m.baseRecipe(ctx, m.Base)
	if err != nil {
		return "", err
	}
	if !m.Base.Named() && !computer.Exists(filepath.Join(m.Store.Dir, own.Key())) {
		there, err := m.Store.Has(ctx, shared)
		if err != nil {
			return "", err
		}
		if there {
			own = shared
		}
	}
	return m.Store.Get(ctx, own)
}

func (m *Maker) baseRecipe(ctx context.Context, from Base) (Recipe, error) {
	inputs, err := from.Inputs(ctx)
	return Recipe{
		Name:   "base",
		What:   "making the images' base from Debian " + m.Debian,
		Inputs: append(append(inputs, m.Arch, baseScript), basePackages...),
		Make: func(ctx context.Context, out string) (err error) {
			f, err := os.Create(filepath.Join(out, baseTar))
			if err != nil {
				return err
			}
			defer func() { err = closing(f, err) }()
			return from.Tar(ctx, f, basePackages, baseScript)
		},
	}, err
}
