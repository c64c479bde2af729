// Package magefile reads the targets out of the magefile: what they are called, what they take, what is said of them, and the order of use,
// which is the order in which they stand there.
package magefile

import (
	"fmt"
	"go/ast"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/magefile/mage/parse"
)

// Section is what stands in the magefile under one comment that belongs to no declaration: its first sentence is the title.
type Section struct {
	Title   string
	Targets []Target
}

// Target is what follows `go tool mage`.
type Target struct {
	Name     string // ssh, dev:bump
	Usage    string // what follows the name and the flags: MACHINE [COMMAND]
	Synopsis string // one sentence, without the name at its beginning
	Text     string // all that is said of it, without the name, too
	Required int    // words that have to follow
	Flags    []Flag
}

// Flag is an optional argument of a target.
type Flag struct {
	Name  string
	Value string // what follows -NAME=, in capitals, or a pattern or an example; empty: a switch
	Text  string
}

// String is a flag as it is typed: -forget=MACHINE,...
func (f Flag) String() string {
	if f.Value == "" {
		return "-" + f.Name
	}
	return "-" + f.Name + "=" + f.Value
}

// generated is what Mage writes among the magefiles while it compiles them, and removes: perhaps just now, in another terminal.
const generated = "mage_output_file.go"

// Read reads the magefiles in a directory. A section without targets is left out.
func Read(dir string) ([]Section, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	for i, f := range files {
		files[i] = filepath.Base(f)
	}
	files = slices.DeleteFunc(files, func(name string) bool { return name == generated })
	info, err := parse.Package(dir, files, false)
	if err != nil {
		return nil, fmt.Errorf("the targets of %s: %w", dir, err)
	}
	byName := map[string]*parse.Function{}
	for _, f := range info.Funcs {
		byName[f.TargetName()] = f
	}
	var all []Section
	for _, name := range slices.Sorted(maps.Keys(info.AstPkg.Files)) {
		all = append(all, sections(info.AstPkg.Files[name], byName)...)
	}
	return slices.DeleteFunc(all, func(s Section) bool { return len(s.Targets) == 0 }), nil
}

// Targets are those of all sections.
func Targets(sections []Section) []Target {
	var all []Target
	for _, s := range sections {
		all = append(all, s.Targets...)
	}
	return all
}

func sections(file *ast.File, byName map[string]*parse.Function) []Section {
	titles := loose(file)
	var all []Section
	for _, decl := range file.Decls {
		for len(titles) > 0 && titles[0].Pos() < decl.Pos() {
			all, titles = append(all, Section{Title: firstSentence(titles[0].Text())}), titles[1:]
		}
		f, ok := decl.(*ast.FuncDecl)
		if !ok {
			continue
		}
		if target := byName[name(f)]; target != nil {
			if len(all) == 0 {
				all = append(all, Section{})
			}
			s := &all[len(all)-1]
			s.Targets = append(s.Targets, newTarget(target))
		}
	}
	return all
}

// loose are the comments on the top level that belong to no declaration.
func loose(file *ast.File) []*ast.CommentGroup {
	return slices.DeleteFunc(slices.Clone(file.Comments), func(c *ast.CommentGroup) bool {
		return c.Pos() < file.Name.Pos() || slices.ContainsFunc(file.Decls, func(d ast.Decl) bool {
			begin := d.Pos()
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Doc != nil {
					begin = d.Doc.Pos()
				}
			case *ast.GenDecl:
				if d.Doc != nil {
					begin = d.Doc.Pos()
				}
			}
			return begin <= c.Pos() && c.Pos() < d.End()
		})
	})
}

// name is the name that Mage's parser gives to a function: Lint of the namespace Dev is Dev:Lint.
func name(f *ast.FuncDecl) string {
	if f.Recv == nil || len(f.Recv.List) == 0 {
		return f.Name.Name
	}
	if t, ok := f.Recv.List[0].Type.(*ast.Ident); ok {
		return t.Name + ":" + f.Name.Name
	}
	return f.Name.Name
}

func firstSentence(text string) string {
	sentence, _, _ := strings.Cut(strings.Join(strings.Fields(text), " ")+" ", ". ")
	return strings.TrimSuffix(strings.TrimSpace(sentence), ".")
}

func newTarget(f *parse.Function) Target {
	words := strings.Split(f.TargetName(), ":")
	for i, w := range words {
		words[i] = lowerFirst(w)
	}
	text := f.Comment
	if first, rest, _ := strings.Cut(text, " "); strings.EqualFold(first, f.Name) {
		text = rest
	}
	t := Target{Name: strings.Join(words, ":"), Synopsis: f.Synopsis, Text: text, Required: f.NumRequiredArgs()}
	if m := regexp.MustCompile(`[:;] ` + regexp.QuoteMeta(t.Name) + ` (\[?[A-Z][^.;,]*?(?: \.\.\.\])?)[.;]`).FindStringSubmatch(text); m != nil {
		t.Usage = m[1]
	}
	for _, a := range f.OptionalArgs() {
		t.Flags = append(t.Flags, newFlag(a))
	}
	return t
}

var example = regexp.MustCompile(`^([A-Z0-9][A-Z0-9/,.|\[\]]*|[a-z]+(?:\|[a-z]+)+): (.*)$`)

// newFlag takes what its comment says before a colon, MACHINE,..., 10,20,50 or svg|json, for the shape of the value; else the type says it.
func newFlag(a parse.Arg) Flag {
	f := Flag{Name: a.Name, Text: strings.Join(strings.Fields(a.Comment), " ")}
	switch m := example.FindStringSubmatch(f.Text); {
	case m != nil:
		f.Value, f.Text = m[1], m[2]
	case a.Type == "bool":
	case a.Type == "int":
		f.Value = "N"
	case a.Type == "time.Duration":
		f.Value = "DURATION"
	default:
		f.Value = "TEXT"
	}
	return f
}

// lowerFirst lowers a name's first word, which may be an abbreviation: CNIPlugins is cniPlugins, SSH ssh. Mage does the same.
func lowerFirst(s string) string {
	r := []rune(s)
	for i := range r {
		if i > 0 && (!unicode.IsUpper(r[i]) || i+1 < len(r) && unicode.IsLower(r[i+1])) {
			break
		}
		r[i] = unicode.ToLower(r[i])
	}
	return string(r)
}
