package bundle

import (
	"archive/tar"
	"bufio"
	"cmp"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/mod/module"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
)

// parts are what software is in a bundle: Go's modules by path@version, and Debian's packages.
type parts struct {
	modules  map[string]module.Version
	packages map[debian]bool
}

// debian is a line of artifact.Packages. sha256 is "" where the archive's lists didn't have the package any more.
type debian struct{ name, version, arch, sha256 string }

func newParts() parts { return parts{map[string]module.Version{}, map[debian]bool{}} }

// of notes what is in an artifact's directory: a tree, tars, or programs.
func (p parts) of(dir string) error {
	listed, err := p.in(dir)
	if name := nameOf(filepath.Base(dir)); err == nil && !listed && (name == "box" || ofDebian(name)) {
		return fmt.Errorf("it doesn't say which Debian packages it has; have it made anew: go tool mage clean verify")
	}
	return err
}

// in says whether a list of Debian packages was there.
func (p parts) in(dir string) (listed bool, err error) {
	for _, list := range []string{filepath.Join(dir, "root", artifact.Packages), filepath.Join(dir, path.Base(artifact.Packages))} {
		f, err := os.Open(list)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return false, err
		}
		defer f.Close()
		return p.debian(f)
	}
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		if filepath.Ext(name) != ".tar" {
			p.program(name)
			continue
		}
		one, err := p.tar(name)
		if err != nil {
			return false, err
		}
		listed = listed || one
	}
	return listed, err
}

// program notes the modules that a program of Go's was made of; another file has none.
func (p parts) program(file string) {
	info, err := buildinfo.ReadFile(file)
	if err != nil {
		return
	}
	p.modules["std@"+info.GoVersion] = module.Version{Path: "std", Version: strings.TrimPrefix(info.GoVersion, "go")}
	for _, d := range append(info.Deps, &info.Main) {
		for d.Replace != nil {
			d = d.Replace
		}
		if d.Version != "" && d.Version != "(devel)" {
			p.modules[d.Path+"@"+d.Version] = module.Version{Path: d.Path, Version: d.Version}
		}
	}
}

// tar notes the packages of a root file system.
func (p parts) tar(file string) (listed bool, err error) {
	f, err := os.Open(file)
	if err != nil {
		return false, err
	}
	defer f.Close()
	t := tar.NewReader(f)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("%s: %w", file, err)
		}
		if strings.TrimPrefix(h.Name, "./") == artifact.Packages {
			return p.debian(t)
		}
	}
}

// debian reads artifact.Packages.
func (p parts) debian(list io.Reader) (listed bool, err error) {
	lines := bufio.NewScanner(list)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) != 4 {
			return false, fmt.Errorf("a line of %s has %q", artifact.Packages, lines.Text())
		}
		p.packages[debian{f[0], f[1], f[2], strings.TrimPrefix(f[3], "-")}] = true
		listed = true
	}
	return listed, lines.Err()
}

// spdx is a document of the SPDX specification 2.3 (https://spdx.github.io/spdx-spec/v2.3/), as far as is known of the parts.
func (p parts) spdx(m Manifest) ([]byte, error) {
	type ref struct {
		Category string `json:"referenceCategory"`
		Type     string `json:"referenceType"`
		Locator  string `json:"referenceLocator"`
	}
	type sum struct {
		Algorithm string `json:"algorithm"`
		Value     string `json:"checksumValue"`
	}
	type pkg struct {
		ID       string `json:"SPDXID"`
		Name     string `json:"name"`
		Version  string `json:"versionInfo"`
		Location string `json:"downloadLocation"`
		Analyzed bool   `json:"filesAnalyzed"`
		Sums     []sum  `json:"checksums,omitempty"`
		Refs     []ref  `json:"externalRefs,omitempty"`
	}
	const bundle = "SPDXRef-Bundle"
	name := strings.TrimSuffix(Name(m.Arch), ".tar.zst")
	all := []pkg{{ID: bundle, Name: name, Version: m.Made, Location: "NOASSERTION"}}
	relations := []map[string]string{{"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": bundle}}
	add := func(name, version, purl string, sums ...sum) {
		id := fmt.Sprintf("SPDXRef-Package-%d", len(all))
		all = append(all, pkg{id, name, version, "NOASSERTION", false, sums, []ref{{"PACKAGE-MANAGER", "purl", purl}}})
		relations = append(relations, map[string]string{"spdxElementId": bundle, "relationshipType": "CONTAINS", "relatedSpdxElement": id})
	}
	// https://github.com/package-url/purl-spec: in a version these are encoded.
	encoded := strings.NewReplacer("+", "%2B", ":", "%3A")
	for _, key := range slices.Sorted(maps.Keys(p.modules)) {
		v := p.modules[key]
		add(v.Path, v.Version, "pkg:golang/"+strings.ToLower(v.Path)+"@"+encoded.Replace(v.Version))
	}
	byName := func(a, b debian) int {
		return cmp.Or(strings.Compare(a.name, b.name), strings.Compare(a.version, b.version), strings.Compare(a.sha256, b.sha256))
	}
	for _, d := range slices.SortedFunc(maps.Keys(p.packages), byName) {
		purl := fmt.Sprintf("pkg:deb/debian/%s@%s?arch=%s", encoded.Replace(d.name), encoded.Replace(d.version), d.arch)
		var sums []sum
		if d.sha256 != "" {
			sums = append(sums, sum{"SHA256", d.sha256})
		}
		add(d.name, d.version, purl, sums...)
	}
	return json.MarshalIndent(map[string]any{
		"spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": name, "packages": all, "relationships": relations,
		"documentNamespace": "https://github.com/calico-cni-lab/lab/" + name + "/" + m.Made,
		"creationInfo":      map[string]any{"creators": []string{"Tool: calico-cni-lab"}, "created": m.Made},
	}, "", "  ")
}

var licence = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|copyright|patents)(\..*|-.*)?$`)

// licences returns the licences of Go's modules, by their file in the bundle. Those of Debian's packages are in the trees, below
// usr/share/doc.
func (p parts) licences(from Sources) (map[string][]byte, error) {
	found := map[string][]byte{}
	for _, key := range slices.Sorted(maps.Keys(p.modules)) {
		v := p.modules[key]
		dir := from.Go
		if v.Path != "std" {
			var err error
			if dir, err = inCache(from.Modules, v); err != nil {
				return nil, err
			}
		}
		entries, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("the source of %s isn't in Go's cache, so its licence isn't known; have everything compiled anew: go tool mage clean verify", key)
		}
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if e.Type().IsRegular() && licence.MatchString(e.Name()) {
				data, err := os.ReadFile(filepath.Join(dir, e.Name()))
				if err != nil {
					return nil, err
				}
				found["licences/"+key+"/"+e.Name()] = data
			}
		}
	}
	return found, nil
}

// inCache is where the go command has a module's source.
func inCache(modCache string, v module.Version) (string, error) {
	path, err := module.EscapePath(v.Path)
	if err != nil {
		return "", err
	}
	release, err := module.EscapeVersion(v.Version)
	return filepath.Join(modCache, path+"@"+release), err
}

// files writes files into a tar.
func files(t *tar.Writer, all map[string][]byte) error {
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if err := t.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(all[name]))}); err != nil {
			return err
		}
		if _, err := t.Write(all[name]); err != nil {
			return err
		}
	}
	return nil
}
