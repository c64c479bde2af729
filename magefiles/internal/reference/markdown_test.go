package reference

import (
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/text"

	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/magefile"
)

// page is what is to be checked of one Markdown file.
type page struct {
	anchors map[string]bool
	links   []string
	code    []string // spans, and lines of blocks
}

var parser = goldmark.New(goldmark.WithExtensions(extension.GFM)).Parser()

func read(t *testing.T, file string) page {
	t.Helper()
	source, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p := page{anchors: map[string]bool{}}
	seen := map[string]int{}
	err = ast.Walk(parser.Parse(text.NewReader(source)), func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.Heading:
			id := slug(plain(n, source))
			if seen[id]++; seen[id] > 1 {
				id += "-" + string(rune('0'+seen[id]-1))
			}
			p.anchors[id] = true
		case *ast.Link:
			p.links = append(p.links, string(n.Destination))
		case *ast.Image:
			p.links = append(p.links, string(n.Destination))
		case *ast.CodeSpan:
			p.code = append(p.code, strings.ReplaceAll(plain(n, source), "\n", " "))
		case *ast.FencedCodeBlock:
			for i := range n.Lines().Len() {
				line := n.Lines().At(i)
				p.code = append(p.code, strings.TrimSuffix(string(line.Value(source)), "\n"))
			}
		}
		return ast.WalkContinue, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// plain is the text of a node without its marks.
func plain(n ast.Node, source []byte) string {
	var b strings.Builder
	_ = ast.Walk(n, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if t, ok := n.(*ast.Text); ok && entering {
			b.Write(t.Segment.Value(source))
			if t.SoftLineBreak() {
				b.WriteByte(' ')
			}
		}
		return ast.WalkContinue, nil
	})
	return b.String()
}

// slug is the anchor that forges give to a heading.
func slug(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
			return unicode.ToLower(r)
		}
		return -1
	}, heading)
}

// pages are the project's Markdown files, by their paths.
func pages(t *testing.T) map[string]page {
	t.Helper()
	all := map[string]page{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() != ".." && (strings.HasPrefix(d.Name(), ".") && d.Name() != ".github" || d.Name() == "testdata"):
			return filepath.SkipDir
		case filepath.Ext(path) == ".md":
			all[filepath.Clean(path)] = read(t, path)
		}
		return nil
	})
	if err != nil || len(all) < 20 {
		t.Fatalf("%d pages, %v", len(all), err)
	}
	return all
}

// TestLinks: each link leads to a file that is there, and to a heading that it has.
func TestLinks(t *testing.T) {
	all := pages(t)
	for file, p := range all {
		for _, link := range p.links {
			u, err := url.Parse(link)
			if err != nil {
				t.Errorf("%s: %s: %v", file, link, err)
				continue
			}
			if u.Scheme != "" {
				if u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
					t.Errorf("%s: %s leads nowhere", file, link)
				}
				continue
			}
			target := file
			if u.Path != "" {
				target = filepath.Join(filepath.Dir(file), u.Path)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: %s: %v", file, link, err)
				continue
			}
			if to, isPage := all[target]; u.Fragment != "" && isPage && !to.anchors[u.Fragment] {
				t.Errorf("%s: %s: %s has no such heading", file, link, target)
			}
		}
	}
}

var (
	command     = regexp.MustCompile(`\bgo tool mage\b((?: +[^ #|;&><]+)*)`)
	placeholder = regexp.MustCompile(`^[A-Z][A-Z/_]*$`)
	prompt      = regexp.MustCompile(`^([a-z][a-z0-9-]*)\$ `)
	viaConfig   = regexp.MustCompile(`ssh -F \.lab/ssh_config ([a-z][a-z0-9-]*)`)
)

// TestCommands: each target that is named is there, with its flags, and so is each chapter and each machine.
func TestCommands(t *testing.T) {
	machines := []string{"all"}
	labs, err := filepath.Glob(filepath.Join(root, "labs", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(labs, filepath.Join(root, "lab.yaml")) {
		l, err := lab.Load(file)
		if err != nil {
			t.Fatal(err)
		}
		machines = append(machines, l.Names()...)
	}
	chapters := map[string]bool{}
	names := regexp.MustCompile(`^[0-9]+-(.*)\.md$`)
	files, err := filepath.Glob(filepath.Join(root, "docs/*/*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if m := names.FindStringSubmatch(filepath.Base(file)); m != nil {
			chapters[m[1]] = true
		}
	}
	sections, err := magefile.Read(filepath.Join(root, "magefiles"))
	if err != nil {
		t.Fatal(err)
	}
	targets, commands := magefile.Targets(sections), 0
	for file, p := range pages(t) {
		if filepath.Base(file) == "CHANGELOG.md" {
			continue // what was
		}
		for _, code := range p.code {
			code, _, _ = strings.Cut(code, " # ")
			for _, m := range command.FindAllStringSubmatch(code, -1) {
				words := slices.DeleteFunc(strings.Fields(m[1]), func(w string) bool { return w == "..." || strings.HasPrefix(w, "[") })
				if len(words) > 0 && placeholder.MatchString(words[0]) || slices.Contains(words, "-h") {
					continue
				}
				commands++
				if err := magefile.Check(targets, words); err != nil {
					t.Errorf("%s: %s: %v", file, code, err)
				}
				if len(words) < 2 || placeholder.MatchString(words[len(words)-1]) {
					continue
				}
				if last := words[len(words)-1]; words[0] == "learn" && !chapters[last] && !regexp.MustCompile(`^(-.*|e[0-9]+|experiments|README\.md)$`).MatchString(last) {
					t.Errorf("%s: %s: there is no chapter %s", file, code, last)
				}
				if words[0] == "ssh" && !slices.Contains(machines, words[1]) && !placeholder.MatchString(words[1]) {
					t.Errorf("%s: %s: there is no machine %s", file, code, words[1])
				}
			}
			for _, m := range append(prompt.FindAllStringSubmatch(code, -1), viaConfig.FindAllStringSubmatch(code, -1)...) {
				if !slices.Contains(machines, m[1]) {
					t.Errorf("%s: %s: there is no machine %s", file, code, m[1])
				}
			}
		}
	}
	if commands < 50 {
		t.Errorf("only %d commands were found", commands)
	}
}

// TestListed: each chapter and each experiment is in the list of its directory.
func TestListed(t *testing.T) {
	for _, dir := range []string{"docs/tutorial", "docs/experiments"} {
		list, err := os.ReadFile(filepath.Join(root, dir, "README.md"))
		if err != nil {
			t.Fatal(err)
		}
		files, err := filepath.Glob(filepath.Join(root, dir, "[0-9]*.md"))
		if err != nil || len(files) == 0 {
			t.Fatal(files, err)
		}
		for _, f := range files {
			if !strings.Contains(string(list), "]("+filepath.Base(f)+")") {
				t.Errorf("%s isn't in %s/README.md", filepath.Base(f), dir)
			}
		}
	}
}
