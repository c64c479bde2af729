// Package lesson is the format of the tutorial's chapters and of the experiments: Markdown that reads well as it is, and that a program
// can play.
//
// A chapter is a file NN-name.md. Each heading of the second level begins a step; what stands before the first is the chapter's
// introduction. In a step these have a meaning of their own; all else is text:
//
//	```console       commands, each behind the prompt of where it runs, and below it exactly what it prints:
//	calico1$ ...     a machine of the lab
//	$ ...            this computer, in the project's directory
//	```check         what must hold once the commands above are done (package predicate), a line each; it doesn't hold before,
//	                 unless the line begins with "still"
//	```needs         what the machines need for it, "WHAT: COMMAND" with the prompt of where the command runs: where it fails, the step is
//	                 left out; in the introduction, the whole chapter
//	> **Predict:**   a question to the reader, before he sees
//	<details>        what is to be said once he has seen; a first `code` in it is the answer to the question
//
// A chapter that is about another lab than the project's own names its file in the introduction: "Lab: [labs/NAME.yaml](...)".
package lesson

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Chapter is one file: a chapter of the tutorial, or an experiment.
type Chapter struct {
	Dir   string // where it is, in the project: docs/tutorial
	File  string // its name: 03-ip-pools.md
	Name  string // what a reader types: ip-pools
	Title string
	Lab   string // the lab file that it is written for, "" for the project's own
	Steps []Step // the first is the introduction
}

// Step is what is shown, and done, in one go.
type Step struct {
	Title  string // "" for the introduction
	Blocks []Block
}

// Kind is what a block is.
type Kind int

// The kinds.
const (
	Text    Kind = iota // Markdown
	Console             // commands and what they print
	Check               // what must hold
	Needs               // what must be there, or the step is left out
	Predict             // a question
	Answer              // to the question before; only to be seen after the commands between the two
)

// Block is a part of a step.
type Block struct {
	Kind     Kind
	Line     int       // in the file, from 1
	Text     string    // Markdown; of a question without its mark
	Commands []Command // of a Console, and of Needs
	Checks   []Expect  // of a Check
	Key      string    // of an Answer: its first `code`, "" where it has none
}

// Command is one command and what it prints.
type Command struct {
	Line    int    // in the file, from 1
	Machine string // "" is this computer
	Command string
	Output  []string // patterns, see Match
	What    string   // of Needs: what is there where the command succeeds
}

// Expect is a line of a Check.
type Expect struct {
	Line      int
	Still     bool // it holds before the commands, too
	Predicate string
}

var (
	fileName = regexp.MustCompile(`^[0-9]{2}-([a-z0-9-]+)\.md$`)
	prompt   = regexp.MustCompile(`^([a-z0-9-]*)\$ (.*)$`)
	code     = regexp.MustCompile("`([^`]+)`")
	need     = regexp.MustCompile(`^([^$]+): ([a-z0-9-]*)\$ (.+)$`)
	labFile  = regexp.MustCompile(`(?m)^Lab: \[([a-z0-9/.-]+)\]\(`)
)

const (
	predictMark = "> **Predict:** "
	more        = "> " // what a shell shows before the rest of a command
)

// README can be played like a chapter; Read leaves it out.
const README = "README.md"

// Read reads all chapters of some directories, in their order. The error lists every mistake in all of them.
func Read(root fs.FS, dirs ...string) ([]Chapter, error) {
	var all []Chapter
	var errs []error
	for _, dir := range dirs {
		files, err := fs.Glob(root, path.Join(dir, "*.md"))
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			if !fileName.MatchString(path.Base(file)) {
				continue // README.md, a glossary
			}
			data, err := fs.ReadFile(root, file)
			if err != nil {
				return nil, err
			}
			c, err := Parse(file, string(data))
			errs = append(errs, err)
			all = append(all, c)
		}
	}
	for i, c := range all {
		if j := slices.IndexFunc(all[:i], func(o Chapter) bool { return o.Name == c.Name }); j >= 0 {
			errs = append(errs, fmt.Errorf("%s: the chapter's name is that of %s", c.Path(), all[j].Path()))
		}
	}
	return all, errors.Join(errs...)
}

// Path is where the chapter is, in the project.
func (c Chapter) Path() string { return path.Join(c.Dir, c.File) }

// Number is what its file begins with, as a number: "3" of 03-ip-pools.md.
func (c Chapter) Number() string {
	number, _, _ := strings.Cut(c.File, "-")
	return strings.TrimLeft(number, "0")
}

// Parse reads a chapter.
func Parse(file, text string) (Chapter, error) {
	m := fileName.FindStringSubmatch(path.Base(file))
	if path.Base(file) == README {
		m = []string{"", README}
	}
	if m == nil {
		return Chapter{}, fmt.Errorf("%s: a chapter's file is called NN-name.md", file)
	}
	p := parser{chapter: Chapter{Dir: path.Dir(file), File: path.Base(file), Name: m[1], Steps: []Step{{}}}, lines: strings.Split(strings.TrimRight(text, "\n"), "\n")}
	for p.at < len(p.lines) {
		p.next()
	}
	p.endText()
	if p.chapter.Title == "" {
		p.fault(0, "there is no title: # Title")
	}
	return p.chapter, errors.Join(p.faults...)
}

type parser struct {
	chapter Chapter
	lines   []string
	at      int // the next line
	text    []string
	begin   int // of text
	faults  []error
}

func (p *parser) fault(line int, format string, args ...any) {
	p.faults = append(p.faults, fmt.Errorf("%s:%d: %s", p.chapter.File, line+1, fmt.Sprintf(format, args...)))
}

// next reads one block, or a line of text.
func (p *parser) next() {
	line := p.lines[p.at]
	switch {
	case strings.HasPrefix(line, "# "):
		p.endText()
		p.chapter.Title = strings.TrimPrefix(line, "# ")
		p.at++
	case strings.HasPrefix(line, "## "):
		p.endText()
		p.chapter.Steps = append(p.chapter.Steps, Step{Title: strings.TrimPrefix(line, "## ")})
		p.at++
	case strings.HasPrefix(line, "```"):
		p.fence(strings.TrimPrefix(line, "```"))
	case strings.HasPrefix(line, predictMark):
		p.endText()
		begin := p.at
		lines := p.while(func(l string) bool { return strings.HasPrefix(l, ">") })
		for i := range lines {
			lines[i] = strings.TrimPrefix(strings.TrimPrefix(lines[i], ">"), " ")
		}
		p.add(Block{Kind: Predict, Line: begin + 1, Text: strings.TrimPrefix(strings.Join(lines, "\n"), strings.TrimPrefix(predictMark, "> "))})
	case strings.HasPrefix(line, "<details>"):
		p.details()
	default:
		p.at++
		if len(p.text) == 0 && line == "" {
			return
		}
		if len(p.text) == 0 {
			p.begin = p.at - 1
		}
		p.text = append(p.text, line)
	}
}

// while takes lines as long as they are of a kind.
func (p *parser) while(of func(string) bool) []string {
	begin := p.at
	for p.at < len(p.lines) && of(p.lines[p.at]) {
		p.at++
	}
	return slices.Clone(p.lines[begin:p.at])
}

func (p *parser) add(b Block) {
	s := &p.chapter.Steps[len(p.chapter.Steps)-1]
	s.Blocks = append(s.Blocks, b)
}

func (p *parser) endText() {
	text := strings.Trim(strings.Join(p.text, "\n"), "\n")
	p.text = nil
	if m := labFile.FindStringSubmatch(text); m != nil && len(p.chapter.Steps) == 1 {
		p.chapter.Lab = m[1]
	}
	if text != "" {
		p.add(Block{Kind: Text, Line: p.begin + 1, Text: text})
	}
}

// fence reads a fenced block. One without a meaning here is text.
func (p *parser) fence(info string) {
	begin := p.at
	p.at++
	body := p.while(func(l string) bool { return l != "```" })
	if p.at == len(p.lines) {
		p.fault(begin, "the block is never closed")
	}
	p.at++
	switch info {
	case "console":
		p.endText()
		p.add(Block{Kind: Console, Line: begin + 1, Commands: p.commands(begin+1, body)})
	case "check":
		p.endText()
		p.add(Block{Kind: Check, Line: begin + 1, Checks: checks(begin+1, body)})
	case "needs":
		p.endText()
		p.add(Block{Kind: Needs, Line: begin + 1, Commands: p.needs(begin+1, body)})
	default:
		if len(p.text) == 0 {
			p.begin = begin
		}
		p.text = append(p.text, p.lines[begin:min(p.at, len(p.lines))]...)
	}
}

func (p *parser) commands(first int, body []string) []Command {
	var all []Command
	for i, line := range body {
		m := prompt.FindStringSubmatch(line)
		switch {
		case m != nil:
			all = append(all, Command{Line: first + i + 1, Machine: m[1], Command: m[2]})
		case len(all) == 0:
			p.fault(first+i, "a console block begins with a prompt: calico1$ or $")
		default:
			last := &all[len(all)-1]
			if rest, ok := goesOn(line); ok && len(last.Output) == 0 {
				last.Command += "\n" + rest
				continue
			}
			last.Output = append(last.Output, line)
		}
	}
	for _, c := range all {
		for i, line := range c.Output {
			if _, err := compile(line); err != nil {
				p.fault(c.Line+i, "%v", err)
			}
		}
	}
	return all
}

// goesOn returns what of a command stands on a line behind its first; an empty line of it may end behind the mark's first character.
func goesOn(line string) (rest string, ok bool) {
	if line == strings.TrimRight(more, " ") {
		return "", true
	}
	return strings.CutPrefix(line, more)
}

func (p *parser) needs(first int, body []string) []Command {
	var all []Command
	for i, line := range body {
		m := need.FindStringSubmatch(line)
		if m == nil {
			p.fault(first+i, "a need is written so: nftables: calico1$ nft list tables")
			continue
		}
		all = append(all, Command{Line: first + i + 1, What: m[1], Machine: m[2], Command: m[3]})
	}
	return all
}

func checks(first int, body []string) []Expect {
	var all []Expect
	for i, line := range body {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		rest, still := strings.CutPrefix(line, "still ")
		all = append(all, Expect{Line: first + i + 1, Still: still, Predicate: rest})
	}
	return all
}

// details reads what hides on a forge until the reader opens it.
func (p *parser) details() {
	p.endText()
	begin := p.at
	p.at++
	body := p.while(func(l string) bool { return l != "</details>" })
	if p.at == len(p.lines) {
		p.fault(begin, "<details> is never closed")
	}
	p.at++
	text := strings.Trim(strings.Join(body, "\n"), "\n")
	b := Block{Kind: Answer, Line: begin + 1, Text: text}
	if m := code.FindStringSubmatch(text); m != nil && strings.HasPrefix(text, m[0]) {
		b.Key = m[1]
	}
	p.add(b)
}
