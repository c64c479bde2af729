package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"gopkg.in/yaml.v3"
)

// keyExtends names the file that has what a lab file leaves out. The Vagrantfile reads it too.
const keyExtends = "extends"

// source is one of the files that a lab is read from. Lines are counted on from one file to the next, so that one number says file and line.
type source struct {
	name          string
	before, lines int // lines of the files before it, and its own
}

// at is a line, counted on, in its file. What isn't there has no line, and to YAML what is missing at the end of a file is behind it.
func (v *validator) at(line int) (source, int) {
	for _, s := range v.sources {
		if line <= s.before+s.lines {
			return s, max(line-s.before, 1)
		}
	}
	last := v.sources[len(v.sources)-1]
	return last, last.lines
}

// line is a line, counted on, in its file: for what stands in the same one.
func (v *validator) line(line int) int {
	_, n := v.at(line)
	return n
}

// file is the path of a file that a lab file names: from its own directory, or whole.
func (v *validator) file(s scalar) string {
	if filepath.IsAbs(s.Value) {
		return s.Value
	}
	from, _ := v.at(s.Line)
	return filepath.Join(filepath.Dir(from.name), s.Value)
}

// place is file for what may be a URL, too.
func (v *validator) place(s scalar) string {
	if strings.HasPrefix(s.Value, "http://") || strings.HasPrefix(s.Value, "https://") {
		return s.Value
	}
	return v.file(s)
}

// counted makes lines of a file's YAML lines that are counted on.
func (s source) counted(n *yaml.Node) {
	n.Line = s.before + min(n.Line, s.lines)
	for _, c := range n.Content {
		s.counted(c)
	}
}

// extend returns root with what the file that it extends has besides: single values and lists are those of root, keys below a key may be
// of both. nil: there is no such file, or nothing in it.
func (v *validator) extend(file string, root *yaml.Node) *yaml.Node {
	var base scalar
	for i := 0; i+1 < len(root.Content); i += 2 {
		if root.Content[i].Value == keyExtends && root.Content[i+1].ShortTag() != "!!null" {
			_ = base.UnmarshalYAML(root.Content[i+1]) // which can't fail
		}
	}
	v.text(base, keyExtends)
	if base.Value == "" || base.bad {
		return root
	}
	path := v.file(base)
	data, err := readFile(path)
	if err != nil {
		v.fault(base.Line, "%s: %v", keyExtends, err)
		return nil
	}
	under := v.read(path, data)
	if under == nil {
		return nil
	}
	for i := 0; i+1 < len(under.Content); i += 2 {
		if k := under.Content[i]; k.Value == keyExtends {
			v.fault(k.Line, "%s: a file that another one extends, as %s does, can't extend a third", keyExtends, file)
		}
	}
	merge(under, root)
	return under
}

// readFile reads a file that is no device, which might never end.
func readFile(path string) ([]byte, error) {
	if _, err := regular(path); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}

// regular is what there is to know of a file that is no directory and no device.
func regular(path string) (fs.FileInfo, error) {
	switch info, err := os.Stat(path); {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no file %s; paths start at the file that names them", path)
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is no file", path)
	default:
		return info, nil
	}
}

// merge puts the values of a mapping over those of another. A key without a value is as if it weren't there.
func merge(under, over *yaml.Node) {
	at := map[string]int{}
	for i := 0; i+1 < len(under.Content); i += 2 {
		at[under.Content[i].Value] = i + 1
	}
	for i := 0; i+1 < len(over.Content); i += 2 {
		key, value := over.Content[i], over.Content[i+1]
		j, both := at[key.Value]
		switch {
		case !both:
			under.Content = append(under.Content, key, value)
		case value.Kind == yaml.MappingNode && under.Content[j].Kind == yaml.MappingNode:
			merge(under.Content[j], value)
		case value.ShortTag() != "!!null":
			under.Content[j] = value
		}
	}
}

// Whole is a lab file's text with that of the file that it extends in it, so that it can stand in another directory.
func Whole(file string) ([]byte, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	v := &validator{}
	root := v.read(file, data)
	if root != nil {
		root = v.extend(file, root)
	}
	if len(v.found) > 0 {
		return nil, &Errors{file, v.faults()}
	}
	if len(v.sources) == 1 {
		return data, nil
	}
	for i := 0; i+1 < len(root.Content); i += 2 {
		if root.Content[i].Value == keyExtends {
			root.Content = append(root.Content[:i], root.Content[i+2:]...)
		}
	}
	return yaml.Marshal(root)
}
