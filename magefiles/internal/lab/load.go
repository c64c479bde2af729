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
	Line int
	Text string
}

func (e *Errors) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s can't be used; nothing was changed", e.File)
	for _, f := range e.Faults {
		fmt.Fprintf(&b, "\n  %s:%d: %s", e.File, f.Line, f.Text)
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

// Parse is Load for contents that are read already; file is its name in errors.
func Parse(file string, data []byte) (*Lab, error) {
	v := &validator{last: max(1, bytes.Count(bytes.TrimRight(data, "\n"), []byte("\n"))+1)}
	var doc yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(data))
	if err := dec.Decode(&doc); err != nil && !errors.Is(err, io.EOF) {
		return nil, &Errors{file, []Fault{v.syntax(err)}}
	}
	if doc.Kind == 0 {
		return nil, &Errors{file, []Fault{{1, "the file is empty; the project's lab.yaml shows what it needs"}}}
	}
	root := doc.Content[0]
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		v.fault(root.Line, "there is more than one YAML document in the file")
	}
	if root.Kind != yaml.MappingNode {
		v.fault(root.Line, "expected keys and values; the project's lab.yaml shows which")
		return nil, &Errors{file, v.sorted()}
	}
	v.keys(root, reflect.TypeFor[rawLab](), "")
	var raw rawLab
	if err := root.Decode(&raw); err != nil {
		return nil, &Errors{file, []Fault{v.syntax(err)}}
	}
	l := v.lab(&raw)
	if len(v.faults) > 0 {
		return nil, &Errors{file, v.sorted()}
	}
	return l, nil
}

// syntax takes the line out of one of yaml.v3's messages ("yaml: line 3: ...").
func (v *validator) syntax(err error) Fault {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	f := Fault{Line: 1, Text: text}
	if n, _ := fmt.Sscanf(text, "line %d:", &f.Line); n == 1 {
		_, f.Text, _ = strings.Cut(text, ": ")
	}
	f.Line = min(max(f.Line, 1), v.last)
	return f
}

// The file as it is written, every value with its line. The keys are the ones a user may write.
type (
	rawLab struct {
		Name     scalar       `yaml:"name"`
		Underlay rawUnderlay  `yaml:"underlay"`
		Machines []rawMachine `yaml:"machines"`
		Network  scalar       `yaml:"network"`
		BGP      rawBGP       `yaml:"bgp"`
		Pool     rawPool      `yaml:"pool"`
		Versions rawVersions  `yaml:"versions"`
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
	rawVersions struct {
		Debian scalar `yaml:"debian"`
		Go     scalar `yaml:"go"`
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
			v.fault(key.Line, "key %q: duplicate of line %d", path+key.Value, first)
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
