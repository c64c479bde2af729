package lab

import (
	"debug/elf"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/calico-cni-lab/lab/magefiles/internal/nearest"
)

// Plugins are CNI plugins of the user's own, which every Calico node gets, and a network that they make.
type Plugins struct {
	Binaries []string // files of this computer
	Conflist string   // a file of this computer that describes the network; "" where there is none
	Network  string   // its name
}

// bundled are the plugins that the lab itself puts on the nodes: Calico's, and those of components/cni/go.mod.
var bundled = []string{"bandwidth", "bridge", "calico", "calico-ipam", "host-local", "loopback", "portmap", "ptp", "tuning"}

// pluginName is the form of a plugin's file name, which is its type in a conflist, and of a network's name
// (https://www.cni.dev/docs/spec/#configuration-format).
var pluginName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// plugins are files of this computer, from the directory of the lab file that names them. The machines have its architecture.
func (v *validator) plugins(raw *rawPlugins, l *Lab) {
	own := map[string]int{} // lines, by type
	for _, s := range raw.Binaries {
		file := v.file(s)
		name := filepath.Base(file)
		switch first, twice := own[name]; {
		case s.bad:
			continue
		case twice:
			v.fault(s.Line, "plugins.binaries: %s: duplicate of line %d", name, v.line(first))
		case !pluginName.MatchString(name):
			v.fault(s.Line, "plugins.binaries: %q can't be a plugin's name: only letters, digits, dots, hyphens and underscores", name)
		case slices.Contains(bundled, name):
			v.fault(s.Line, "plugins.binaries: %s is a plugin that the lab has; give the file another name, and the conflist that type", name)
		default:
			if err := runnable(file); err != nil {
				v.fault(s.Line, "plugins.binaries: %v", err)
			}
		}
		own[name] = s.Line
		l.Plugins.Binaries = append(l.Plugins.Binaries, file)
	}
	if s := raw.Conflist; s.Value != "" && !s.bad {
		l.Plugins.Conflist = v.file(s)
		name, err := networkOf(l.Plugins.Conflist, slices.Concat(bundled, slices.Collect(maps.Keys(own))))
		if err == nil && name == l.Network {
			err = fmt.Errorf("%s describes a network %s, and so does the lab itself; give it another name", l.Plugins.Conflist, name)
		}
		if err != nil {
			v.fault(s.Line, "plugins.conflist: %v", err)
		}
		l.Plugins.Network = name
	}
}

// machines are what ELF calls the architectures of the lab's machines.
var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// runnable says why a file can't be run on a machine: it is to be a program of this computer's architecture, or a script.
func runnable(file string) error {
	info, err := regular(file)
	if err != nil {
		return err
	}
	if info.Mode()&0o111 == 0 {
		return fmt.Errorf("%s may not be executed; type: chmod +x %[1]s", file)
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	begin := make([]byte, 2)
	if _, err := f.ReadAt(begin, 0); err == nil && string(begin) == "#!" {
		return nil
	}
	program, err := elf.NewFile(f)
	switch want, known := machines[runtime.GOARCH]; {
	case err != nil:
		return fmt.Errorf("%s is neither a program for Linux nor a script", file)
	case known && program.Machine != want:
		return fmt.Errorf("%s is a program for %s, and the machines are %s; with Go: GOOS=linux GOARCH=%[3]s go build", file, program.Machine, runtime.GOARCH)
	}
	return nil
}

// networkOf reads a conflist, and returns the network's name. known are the plugins that there are.
func networkOf(file string, known []string) (name string, err error) {
	data, err := readFile(file)
	if err != nil {
		return "", err
	}
	var list types.NetConfList
	if err := json.Unmarshal(data, &list); err != nil {
		return "", fmt.Errorf("%s: %w", file, err)
	}
	switch {
	case !pluginName.MatchString(list.Name):
		return "", fmt.Errorf("%s: %q can't be a network's name: only letters, digits, dots, hyphens and underscores", file, list.Name)
	case len(list.Plugins) == 0:
		return "", fmt.Errorf("%s: \"plugins\" has none; see https://www.cni.dev/docs/spec/#configuration-format", file)
	}
	for i, p := range list.Plugins {
		if p.Type == "" {
			return "", fmt.Errorf("%s: plugin %d has no type", file, i+1)
		}
		for _, kind := range []string{p.Type, p.IPAM.Type} {
			if kind == "" || slices.Contains(known, kind) { // one without IPAM
				continue
			}
			slices.Sort(known)
			meant := "there are " + strings.Join(known, ", ")
			if near := nearest.Of(kind, known); len(near) > 0 {
				meant = fmt.Sprintf("did you mean %q?", near[0])
			}
			return "", fmt.Errorf("%s: no plugin %q is among plugins.binaries and the lab's own; %s", file, kind, meant)
		}
	}
	return list.Name, nil
}
