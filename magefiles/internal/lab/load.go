package lab

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/calico-cni-lab/lab/magefiles/internal/nearest"
)

// Errors are all the faults of a lab file, in the order of its lines.
type Errors struct {
	File   string
	Faults []Fault
}

// Fault is one thing that is wrong with a lab file.
type Fault struct {
	File string
	Line int
	Text string
}

func (e *Errors) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s can't be used; nothing was changed", e.File)
	for _, f := range e.Faults {
		fmt.Fprintf(&b, "\n  %s:%d: %s", f.File, f.Line, f.Text)
	}
	return b.String()
}

// Load reads and validates a lab file. Everything that is wrong with its contents is in one *Errors.
func Load(file string) (*Lab, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s: not found; run this in the project's directory, or name the file in LAB_FILE", file)
	}
	if err != nil {
		return nil, err
	}
	return Parse(file, data)
}

// Parse is Load for contents that are read already; file is its name in errors, and where what it extends is looked for.
func Parse(file string, data []byte) (*Lab, error) {
	v := &validator{}
	root := v.read(file, data)
	if root != nil {
		root = v.extend(file, root)
	}
	if root == nil {
		return nil, &Errors{file, v.faults()}
	}
	var raw rawLab
	if err := root.Decode(&raw); err != nil {
		v.syntax(err, 0)
		return nil, &Errors{file, v.faults()}
	}
	l := v.lab(&raw)
	if len(v.found) > 0 {
		return nil, &Errors{file, v.faults()}
	}
	for _, s := range v.sources {
		l.Files = append(l.Files, s.name)
	}
	return l, nil
}

// read returns a file's keys and values, without those that no lab file has. nil: there are none at all. What is wrong is among the faults.
func (v *validator) read(file string, data []byte) *yaml.Node {
	s := source{name: file, lines: max(1, bytes.Count(bytes.TrimRight(data, "\n"), []byte("\n"))+1)}
	if n := len(v.sources); n > 0 {
		s.before = v.sources[n-1].before + v.sources[n-1].lines
	}
	v.sources = append(v.sources, s)
	var doc yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(data))
	if err := dec.Decode(&doc); err != nil && !errors.Is(err, io.EOF) {
		v.syntax(err, s.before)
		return nil
	}
	if doc.Kind == 0 {
		v.fault(s.before+1, "the file is empty; the project's lab.yaml shows what it needs")
		return nil
	}
	root := doc.Content[0]
	s.counted(root)
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		v.fault(root.Line, "there is more than one YAML document in the file")
	}
	if root.Kind != yaml.MappingNode {
		v.fault(root.Line, "expected keys and values; the project's lab.yaml shows which")
		return nil
	}
	v.keys(root, reflect.TypeFor[rawLab](), "")
	return root
}

// syntax takes the line out of one of yaml.v3's messages ("yaml: line 3: ..."), which counts from the line after before.
func (v *validator) syntax(err error, before int) {
	text, line := strings.TrimPrefix(err.Error(), "yaml: "), 1
	if n, _ := fmt.Sscanf(text, "line %d:", &line); n == 1 {
		_, text, _ = strings.Cut(text, ": ")
	}
	v.fault(before+max(line, 1), "%s", text)
}

// The file as it is written, every value with its line. The keys are the ones a user may write.
type (
	rawLab struct {
		Extends  scalar       `yaml:"extends"`
		Name     scalar       `yaml:"name"`
		Underlay rawUnderlay  `yaml:"underlay"`
		Machines []rawMachine `yaml:"machines"`
		Network  scalar       `yaml:"network"`
		BGP      rawBGP       `yaml:"bgp"`
		Pool     rawPool      `yaml:"pool"`
		Plugins  rawPlugins   `yaml:"plugins"`
		Versions rawVersions  `yaml:"versions"`
		Bundle   scalar       `yaml:"bundle"`
		Vagrant  rawVagrant   `yaml:"vagrant"`
		Allowed  rawAllowed   `yaml:"allowed"`
	}
	rawUnderlay struct {
		Subnet scalar `yaml:"subnet"`
	}
	rawMachine struct {
		Name    scalar `yaml:"name"`
		Role    scalar `yaml:"role"`
		Count   scalar `yaml:"count"`
		Address scalar `yaml:"address"`
		AS      scalar `yaml:"asNumber"`
		Behind  scalar `yaml:"behind"`
		Memory  scalar `yaml:"memory"`
		CPUs    scalar `yaml:"cpus"`
		SSH     rawSSH `yaml:"ssh"`

		Workloads rawWorkloads `yaml:"workloads"`
	}
	rawWorkloads struct {
		Count  scalar            `yaml:"count"`
		Labels map[string]scalar `yaml:"labels"`
	}
	rawSSH struct {
		Address scalar `yaml:"address"`
		Port    scalar `yaml:"port"`
		User    scalar `yaml:"user"`
		Key     scalar `yaml:"key"`
		HostKey scalar `yaml:"hostKey"`
	}
	rawBGP struct {
		AS         scalar   `yaml:"asNumber"`
		Mesh       scalar   `yaml:"mesh"`
		Reflectors []scalar `yaml:"reflectors"`
	}
	rawPool struct {
		Name        scalar `yaml:"name"`
		CIDR        scalar `yaml:"cidr"`
		BlockSize   scalar `yaml:"blockSize"`
		IPIPMode    scalar `yaml:"ipipMode"`
		VXLANMode   scalar `yaml:"vxlanMode"`
		NATOutgoing scalar `yaml:"natOutgoing"`
		Disabled    scalar `yaml:"disabled"`
	}
	rawPlugins struct {
		Binaries []scalar `yaml:"binaries"`
		Conflist scalar   `yaml:"conflist"`
	}
	rawVersions struct {
		Debian scalar `yaml:"debian"`
		Go     scalar `yaml:"go"`
		Source scalar `yaml:"source"`
	}
	rawAllowed struct {
		Calico  scalar `yaml:"calico"`
		Etcd    scalar `yaml:"etcd"`
		Cnitool scalar `yaml:"cnitool"`
		Plugins scalar `yaml:"plugins"`
		Go      scalar `yaml:"go"`
		Mage    scalar `yaml:"mage"`
	}
	rawVagrant struct {
		Box        scalar `yaml:"box"`
		BoxVersion scalar `yaml:"boxVersion"`
		Version    scalar `yaml:"version"`
		Libvirt    scalar `yaml:"libvirt"`
		VirtualBox scalar `yaml:"virtualbox"`
	}
)

// scalar is one value and its line. Line 0: it is not in the file.
type scalar struct {
	Value string
	Line  int
	bad   bool // something else than a single value is there, which is reported already
	plain bool // without quotes
}

// UnmarshalYAML implements yaml.Unmarshaler.
func (s *scalar) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	*s = scalar{Value: n.Value, Line: n.Line, bad: n.Kind != yaml.ScalarNode, plain: n.Style == 0}
	return nil
}

// keys reports where n differs from t: unknown keys, with the nearest one that t has, duplicate keys, and values of
// another shape. It removes them, so that the rest can be validated.
func (v *validator) keys(n *yaml.Node, t reflect.Type, path string) {
	wrong := func(expected string) {
		v.fault(n.Line, "%s: %s", strings.TrimSuffix(path, "."), expected)
		*n = yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Line: n.Line}
	}
	switch {
	case n.Kind == yaml.AliasNode:
		wrong("aliases are not supported; write it out")
	case n.Style&yaml.TaggedStyle != 0:
		wrong("tags are not supported; leave out " + n.Tag)
	case t == reflect.TypeFor[scalar]():
		if n.Kind != yaml.ScalarNode {
			v.fault(n.Line, "%s: expected a single value", strings.TrimSuffix(path, "."))
		}
	case t.Kind() == reflect.Map && n.Kind != yaml.MappingNode:
		wrong("expected names and values")
	case t.Kind() == reflect.Slice && n.Kind != yaml.SequenceNode:
		wrong("expected a list")
	case t.Kind() == reflect.Slice:
		for _, c := range n.Content {
			v.keys(c, t.Elem(), path)
		}
	case t.Kind() == reflect.Struct && n.Kind != yaml.MappingNode:
		wrong("expected keys and values")
	default:
		v.mapping(n, t, path)
	}
}

// mapping is keys for one with keys and values, t being a struct, or a map.
func (v *validator) mapping(n *yaml.Node, t reflect.Type, path string) {
	fields := map[string]reflect.Type{}
	var known []string
	for i := range structFields(t) {
		if key := t.Field(i).Tag.Get("yaml"); key != "-" {
			fields[key] = t.Field(i).Type
			known = append(known, key)
		}
	}
	seen := map[string]int{}
	var kept []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		ft, ok := fields[key.Value]
		if t.Kind() == reflect.Map { // the keys are the user's
			ft, ok = t.Elem(), key.Kind == yaml.ScalarNode
		}
		first, twice := seen[key.Value]
		switch {
		case !ok:
			v.fault(key.Line, "unknown key %q%s", path+key.Value, suggestion(key.Value, known))
		case twice:
			v.fault(key.Line, "key %q: duplicate of line %d", path+key.Value, v.line(first))
		default:
			seen[key.Value] = key.Line
			v.keys(n.Content[i+1], ft, path+key.Value+".")
			kept = append(kept, key, n.Content[i+1])
		}
	}
	n.Content = kept
}

func structFields(t reflect.Type) int {
	if t.Kind() == reflect.Map {
		return 0
	}
	return t.NumField()
}

func suggestion(got string, known []string) string {
	if near := nearest.Of(got, known); len(near) > 0 {
		return fmt.Sprintf("; did you mean %q?", near[0])
	}
	return "; expected one of: " + strings.Join(known, ", ")
}
