package spec

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
)

// LoginOwner as the owner of a file is the login user with his group.
const LoginOwner = "~"

// binary is a program from an artifact's directory.
func (s *Spec) binary(to, dir, name string) remote.File {
	return remote.File{Path: to, Mode: 0o755, Source: filepath.Join(dir, name), SHA256: s.Artifacts.Sums[dir][name]}
}

// CalicoctlFiles are calicoctl and its configuration.
func (s *Spec) CalicoctlFiles() []remote.File {
	return []remote.File{
		s.binary(Calicoctl, s.Artifacts.Calico, "calicoctl"),
		{Path: calicoctlCfg, Mode: 0o644, Content: s.rendered["calicoctl.cfg.tmpl"]},
	}
}

// GoFiles is what the toolchain needs beside its tree.
func (s *Spec) GoFiles() []remote.File {
	return []remote.File{{Path: goProfile, Mode: 0o644, Content: s.rendered["golang.sh.tmpl"]}}
}

// ReferencePlugins are the names of the reference plugins.
func (s *Spec) ReferencePlugins() []string {
	var names []string
	for name := range s.Artifacts.Sums[s.Artifacts.CNI] {
		if name != "cnitool" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// PluginFiles are Calico's two plugins, which are one program that looks at its name, and the reference plugins.
func (s *Spec) PluginFiles() []remote.File {
	files := []remote.File{
		s.binary(PluginDir+"/calico", s.Artifacts.Calico, "calico"),
		{Path: PluginDir + "/calico-ipam", Link: "calico"},
	}
	for _, name := range s.ReferencePlugins() {
		files = append(files, s.binary(path.Join(PluginDir, name), s.Artifacts.CNI, name))
	}
	return files
}

// ConflistPath is where the network is described.
func (s *Spec) ConflistPath() string { return ConfDir + "/10-" + s.Lab.Network + ".conflist" }

// Conflist describes the network to cnitool on a Calico node, with the labels that its workloads get.
func (s *Spec) Conflist(m lab.Machine) remote.File {
	return remote.File{Path: s.ConflistPath(), Mode: 0o644, Content: s.rendered["conflist "+m.Name]}
}

// ownConflist is where a network of the user's plugins is described; libcni reads the lab's own before it.
const ownConflist = ConfDir + "/20-%s.conflist"

// OwnNetwork is the network that a conflist describes which the lab put there for the user's plugins; ok is false for any other file.
func OwnNetwork(file string) (network string, ok bool) {
	before, after, _ := strings.Cut(ownConflist, "%s")
	network, ok = strings.CutPrefix(file, before)
	if ok {
		network, ok = strings.CutSuffix(network, after)
	}
	return network, ok
}

// OwnFiles are lab.yaml's plugins, the user's own, and the conflist of their network.
func (s *Spec) OwnFiles() []remote.File { return s.own }

func ownFiles(p lab.Plugins) (files []remote.File, err error) {
	for _, file := range p.Binaries {
		sum, err := artifact.Sum(file)
		if err != nil {
			return nil, err
		}
		files = append(files, remote.File{Path: path.Join(PluginDir, filepath.Base(file)), Mode: 0o755, Source: file, SHA256: sum})
	}
	if p.Conflist != "" {
		text, err := os.ReadFile(p.Conflist)
		if err != nil {
			return nil, err
		}
		files = append(files, remote.File{Path: fmt.Sprintf(ownConflist, p.Network), Mode: 0o644, Content: text})
	}
	return files, nil
}

// CnitoolFiles are cnitool where `go install` puts it, with links beside it to Calico's plugins: the tutorial's commands
// look for them there (CNI_PATH=/home/vagrant/go/bin).
func (s *Spec) CnitoolFiles() []remote.File {
	tool := s.binary(homeBin+"/cnitool", s.Artifacts.CNI, "cnitool")
	tool.Owner = LoginOwner
	return []remote.File{
		tool,
		{Path: homeBin + "/calico", Link: PluginDir + "/calico"},
		{Path: homeBin + "/calico-ipam", Link: PluginDir + "/calico-ipam"},
	}
}

// Common are the files that are the same on every machine of a role, whatever lab.yaml says.
func (s *Spec) Common(r lab.Role) []remote.File {
	if r == lab.RoleRouter {
		return nil
	}
	files := s.CalicoctlFiles()[:1]
	if r == lab.RoleCalico {
		files = slices.Concat(files, s.GoFiles(), s.PluginFiles(), s.CnitoolFiles())
	}
	return files
}

// ForLogin puts a login user's home and name into files.
func ForLogin(files []remote.File, l fact.Login) []remote.File {
	out := slices.Clone(files)
	for i, f := range out {
		if rest, ok := strings.CutPrefix(f.Path, "~/"); ok {
			out[i].Path = path.Join(l.Home, rest)
		}
		if f.Owner == LoginOwner {
			out[i].Owner = l.User + ":" + l.Group
		}
	}
	return out
}
