package artifact

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/hashicorp/go-version"
	"golang.org/x/mod/modfile"
)

// Pins are the releases that components/*/go.mod pin, and the one of Go that compiles them.
type Pins struct {
	Calico  *version.Version
	Etcd    *version.Version
	Cnitool *version.Version
	Plugins *version.Version
	// Compiler is the toolchain line of the project's go.mod, such as go1.26.11.
	Compiler string
}

const (
	calicoModule  = "github.com/projectcalico/calico"
	etcdModule    = "go.etcd.io/etcd/server/v3"
	cniModule     = "github.com/containernetworking/cni"
	pluginsModule = "github.com/containernetworking/plugins"
)

// ReadPins reads the pins below the project's root.
func ReadPins(root string) (Pins, error) {
	var p Pins
	for _, pin := range []struct {
		component, module string
		to                **version.Version
	}{
		{"calico", calicoModule, &p.Calico},
		{"etcd", etcdModule, &p.Etcd},
		{"cni", cniModule, &p.Cnitool},
		{"cni", pluginsModule, &p.Plugins},
	} {
		v, err := pinned(filepath.Join(root, "components", pin.component, "go.mod"), pin.module)
		if err != nil {
			return Pins{}, err
		}
		*pin.to = v
	}
	mod, err := readMod(filepath.Join(root, "go.mod"))
	if err != nil {
		return Pins{}, err
	}
	if mod.Toolchain == nil {
		return Pins{}, fmt.Errorf("%s has no line toolchain, which says what compiles; restore it with: git checkout -- go.mod", mod.Syntax.Name)
	}
	p.Compiler = mod.Toolchain.Name
	return p, nil
}

func readMod(file string) (*modfile.File, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return modfile.Parse(file, data, nil)
}

// pinned returns the release of a module that a go.mod requires. Where the requirement is a pseudo-version,
// because the module proxy doesn't serve the project's tags, the release follows it as a comment: // v3.31.0
func pinned(file, module string) (*version.Version, error) {
	mf, err := readMod(file)
	if err != nil {
		return nil, err
	}
	for _, req := range mf.Require {
		if req.Mod.Path != module {
			continue
		}
		release := req.Mod.Version
		for _, c := range req.Syntax.Suffix {
			for field := range strings.FieldsFuncSeq(c.Token, func(r rune) bool { return strings.ContainsRune("/; ", r) }) {
				if strings.HasPrefix(field, "v") {
					release = field
				}
			}
		}
		v, err := version.NewSemver(strings.TrimPrefix(release, "v"))
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %s: %w", file, req.Syntax.Start.Line, module, err)
		}
		return v, nil
	}
	return nil, fmt.Errorf("%s does not require %s; restore it with: git checkout -- %s", file, module, file)
}

// Releases are the pins, by name.
func (p Pins) Releases() map[string]string {
	return map[string]string{
		"Calico": p.Calico.String(), "etcd": p.Etcd.String(), "cnitool": p.Cnitool.String(), "CNI plugins": p.Plugins.String(), "compiler": p.Compiler,
	}
}

// DebianImageFile is where Debian's image is pinned, below the project's root.
const DebianImageFile = "components/debian/Dockerfile"

// DebianImage is the pin of the image that Debian publishes of one of its releases.
type DebianImage struct {
	Repository string           // debian, or REGISTRY/debian
	Release    string           // bookworm
	Date       *version.Version // 20261005
	Digest     string           // sha256:...
}

var debianImage = regexp.MustCompile(`(?m)^FROM (\S+):([a-z]+)-(\d{8})-slim@(sha256:[0-9a-f]{64})$`)

// ReadDebianImage reads the pin below the project's root.
func ReadDebianImage(root string) (DebianImage, error) {
	file := filepath.Join(root, DebianImageFile)
	data, err := os.ReadFile(file)
	if err != nil {
		return DebianImage{}, err
	}
	m := debianImage.FindStringSubmatch(string(data))
	if m == nil {
		return DebianImage{}, fmt.Errorf("%s has no line like: FROM debian:bookworm-20261005-slim@sha256:...; restore it with: git checkout -- %[1]s", file)
	}
	date, err := version.NewVersion(m[3])
	return DebianImage{Repository: m[1], Release: m[2], Date: date, Digest: m[4]}, err
}

// Tag is the image's of a day.
func (i DebianImage) Tag(date string) string { return i.Release + "-" + date + "-slim" }

// String is what `docker pull` takes, and a line FROM.
func (i DebianImage) String() string {
	return i.Repository + ":" + i.Tag(i.Date.Original()) + "@" + i.Digest
}
