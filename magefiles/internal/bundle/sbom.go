package bundle

import (
	"archive/tar"
	"bufio"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/mod/module"
)

// parts are what software is in a bundle: Go's modules by path@version, and Debian's packages by name@version.
type parts struct {
	modules  map[string]module.Version
	packages map[string]debian
}

type debian struct{ name, version, arch string }

func newParts() parts { return parts{map[string]module.Version{}, map[string]debian{}} }

// of notes what is in an artifact's directory.
func (p parts) of(dir string) error {
	if status, err := os.Open(filepath.Join(dir, "root", dpkgStatus)); err == nil {
		defer status.Close()
		return p.dpkg(status)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		if filepath.Ext(name) == ".tar" {
			err = p.tar(name)
		} else if info, berr := buildinfo.ReadFile(name); berr == nil { // else it is no program
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
		if err != nil {
			return err
		}
	}
	return nil
}

const dpkgStatus = "var/lib/dpkg/status"

// tar notes the packages of a root file system.
func (p parts) tar(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	t := tar.NewReader(f)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if strings.TrimPrefix(h.Name, "./") == dpkgStatus {
			return p.dpkg(t)
		}
	}
}

// dpkg reads the state of Debian's package manager: paragraphs of fields.
func (p parts) dpkg(status io.Reader) error {
	lines := bufio.NewScanner(io.MultiReader(status, strings.NewReader("\n\n"))) // the last paragraph may have no end
	lines.Buffer(nil, 1<<20)
	var d debian
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), ": ")
		switch key {
		case "Package":
			d = debian{name: value}
		case "Architecture":
			d.arch = value
		case "Version":
			d.version = value
		case "":
			if d.version != "" {
				p.packages[d.name+"@"+d.version] = d
			}
			d = debian{}
		}
	}
	return lines.Err()
}

// spdx is a document of the SPDX specification 2.3 (https://spdx.github.io/spdx-spec/v2.3/), as far as is known of the parts.
func (p parts) spdx(m Manifest) ([]byte, error) {
	type ref struct {
		Category string `json:"referenceCategory"`
		Type     string `json:"referenceType"`
		Locator  string `json:"referenceLocator"`
	}
	type pkg struct {
		ID       string `json:"SPDXID"`
		Name     string `json:"name"`
		Version  string `json:"versionInfo"`
		Location string `json:"downloadLocation"`
		Analyzed bool   `json:"filesAnalyzed"`
		Refs     []ref  `json:"externalRefs,omitempty"`
	}
	const bundle = "SPDXRef-Bundle"
	name := strings.TrimSuffix(Name(m.Arch), ".tar.zst")
	all := []pkg{{ID: bundle, Name: name, Version: m.Made, Location: "NOASSERTION"}}
	relations := []map[string]string{{"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": bundle}}
	add := func(name, version, purl string) {
		id := fmt.Sprintf("SPDXRef-Package-%d", len(all))
		all = append(all, pkg{id, name, version, "NOASSERTION", false, []ref{{"PACKAGE-MANAGER", "purl", purl}}})
		relations = append(relations, map[string]string{"spdxElementId": bundle, "relationshipType": "CONTAINS", "relatedSpdxElement": id})
	}
	// https://github.com/package-url/purl-spec: in a version these are encoded.
	encoded := strings.NewReplacer("+", "%2B", ":", "%3A")
	for _, key := range slices.Sorted(maps.Keys(p.modules)) {
		v := p.modules[key]
		add(v.Path, v.Version, "pkg:golang/"+strings.ToLower(v.Path)+"@"+encoded.Replace(v.Version))
	}
	for _, key := range slices.Sorted(maps.Keys(p.packages)) {
		d := p.packages[key]
		add(d.name, d.version, fmt.Sprintf("pkg:deb/debian/%s@%s?arch=%s", encoded.Replace(d.name), encoded.Replace(d.version), d.arch))
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
func (p parts) licences(modCache, goroot string) (map[string][]byte, error) {
	found := map[string][]byte{}
	for _, key := range slices.Sorted(maps.Keys(p.modules)) {
		v := p.modules[key]
		dir := goroot
		if v.Path != "std" {
			var err error
			if dir, err = inCache(modCache, v); err != nil {
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
