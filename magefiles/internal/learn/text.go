package learn

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/mattn/go-runewidth"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	east "github.com/yuin/goldmark/extension/ast"
	source "github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"
)

const (
	// textWidth is how wide text is at most: longer lines are hard to read.
	textWidth = 78
	margin    = 2
	narrow    = 8 // no column of a table gets less
)

var parser = goldmark.New(goldmark.WithExtensions(extension.Table)).Parser()

// Text renders Markdown for a terminal.
type Text struct {
	width int
	color bool
}

// NewText returns a renderer for a terminal of some width, in colour or without. Without, what is code or stressed has the marks that it has
// in Markdown.
func NewText(width int, color bool) Text {
	return Text{max(min(width-margin, textWidth), 4*narrow), color}
}

// Render returns Markdown as it is to be printed, with a line break at its end. What is fenced isn't broken into lines: it is to be copied.
func (t Text) Render(markdown string) string {
	d := drawing{Text: t, source: []byte(markdown)}
	d.blocks(parser.Parse(source.NewReader(d.source)), strings.Repeat(" ", margin))
	return strings.Trim(strings.Join(d.lines, "\n"), "\n") + "\n"
}

// drawing is a text that is being rendered.
type drawing struct {
	Text
	source []byte
	lines  []string
}

// blocks writes the blocks in a node, each line behind indent.
func (d *drawing) blocks(in ast.Node, indent string) {
	for n := in.FirstChild(); n != nil; n = n.NextSibling() {
		if before := n.PreviousSibling(); before != nil && before.Kind() != ast.KindTextBlock { // that is text in a list without empty lines
			d.lines = append(d.lines, "")
		}
		d.block(n, indent)
	}
}

func (d *drawing) block(n ast.Node, indent string) {
	switch n := n.(type) {
	case *ast.Heading:
		title := append([]piece{{d.plain(strings.Repeat("#", n.Level) + " "), ""}}, d.inline(n, d.bold())...)
		d.paragraph(wordsOf(title), indent)
	case *ast.FencedCodeBlock, *ast.CodeBlock:
		for i := range n.Lines().Len() {
			line := n.Lines().At(i)
			d.lines = append(d.lines, strings.TrimRight(indent+"  "+string(line.Value(d.source)), " \n"))
		}
	case *ast.List:
		number := max(n.Start, 1)
		for item := n.FirstChild(); item != nil; item = item.NextSibling() {
			mark := "• "
			if n.IsOrdered() {
				mark = fmt.Sprintf("%d. ", number)
				number++
			}
			first := len(d.lines)
			inner := indent + strings.Repeat(" ", runewidth.StringWidth(mark))
			d.blocks(item, inner)
			if len(d.lines) > first {
				d.lines[first] = indent + mark + strings.TrimPrefix(d.lines[first], inner)
			}
		}
	case *ast.Blockquote:
		d.blocks(n, indent)
	case *east.Table:
		d.table(n, indent)
	case *ast.HTMLBlock: // answers are folded by HTML: of that the text is wanted
		for i := range n.Lines().Len() {
			line := n.Lines().At(i)
			if text := strings.TrimSpace(tag.ReplaceAllString(string(line.Value(d.source)), "")); text != "" {
				d.lines = append(d.lines, indent+text)
			}
		}
	case *ast.ThematicBreak:
		d.lines = append(d.lines, indent+"───")
	default:
		d.paragraph(wordsOf(d.inline(n, "")), indent)
	}
}

var tag = regexp.MustCompile(`<[^>]*>`)

// paragraph writes words in lines.
func (d *drawing) paragraph(w words, indent string) {
	for _, line := range w.wrap(d.width + margin - len(indent)) {
		d.lines = append(d.lines, indent+line)
	}
}

// table writes a table whose columns are as wide as what is in them, or as there is room.
func (d *drawing) table(t *east.Table, indent string) {
	var rows [][]words
	var widths []int
	for row := t.FirstChild(); row != nil; row = row.NextSibling() {
		var cells []words
		for cell := row.FirstChild(); cell != nil; cell = cell.NextSibling() {
			style := ""
			if row.Kind() == east.KindTableHeader {
				style = d.bold()
			}
			cells = append(cells, wordsOf(d.inline(cell, style)))
		}
		rows = append(rows, cells)
		for i, cell := range cells {
			if i == len(widths) {
				widths = append(widths, 1)
			}
			widths[i] = max(widths[i], cell.width())
		}
	}
	room := d.width + margin - len(indent) - 2*(len(widths)-1)
	for total(widths) > room {
		i := slices.Index(widths, slices.Max(widths))
		if widths[i] <= narrow {
			break
		}
		widths[i]--
	}
	for i, cells := range rows {
		if i == 1 {
			var under []string
			for _, w := range widths {
				under = append(under, strings.Repeat("─", w))
			}
			d.lines = append(d.lines, indent+strings.Join(under, "  "))
		}
		d.row(cells, widths, indent)
	}
}

func (d *drawing) row(cells []words, widths []int, indent string) {
	var columns [][]string
	height := 0
	for i, cell := range cells {
		columns = append(columns, cell.wrap(widths[i]))
		height = max(height, len(columns[i]))
	}
	for y := range height {
		line := ""
		for i, column := range columns {
			text := ""
			if y < len(column) {
				text = column[y]
			}
			line += text + strings.Repeat(" ", max(0, widths[i]-visible(text))+2)
		}
		d.lines = append(d.lines, strings.TrimRight(indent+line, " "))
	}
}

func total(numbers []int) (sum int) {
	for _, n := range numbers {
		sum += n
	}
	return sum
}

var toChapter = regexp.MustCompile(`^(?:\.\./(?:tutorial|experiments)/)?[0-9]{2}-([a-z0-9-]+)\.md$`)

// inline returns what is in a block, or in what is stressed.
func (d *drawing) inline(in ast.Node, style string) (all []piece) {
	for n := in.FirstChild(); n != nil; n = n.NextSibling() {
		switch n := n.(type) {
		case *ast.Text:
			text := n.Segment.Value(d.source)
			if !n.IsRaw() {
				text = util.ResolveEntityNames(util.ResolveNumericReferences(util.UnescapePunctuations(text)))
			}
			all = append(all, piece{string(text), style})
			if n.SoftLineBreak() || n.HardLineBreak() {
				all = append(all, piece{" ", ""})
			}
		case *ast.CodeSpan:
			all = append(all, d.stressed(n, "`")...)
		case *ast.Emphasis:
			all = append(all, d.stressed(n, strings.Repeat("*", n.Level))...)
		case *ast.Link:
			all = append(all, d.inline(n, style)...)
			to := string(n.Destination)
			if chapter := toChapter.FindStringSubmatch(to); chapter != nil {
				all = append(all, piece{" (" + d.plain("`") + "learn " + chapter[1] + d.plain("`") + ")", style})
			} else if strings.Contains(to, "://") { // to a file of the project's a terminal can't follow
				all = append(all, piece{" (" + to + ")", style})
			}
		case *ast.AutoLink:
			all = append(all, piece{string(n.URL(d.source)), style})
		case *ast.RawHTML:
		default:
			all = append(all, d.inline(n, style)...)
		}
	}
	return all
}

// stressed is what is bold, or between marks where there is no colour.
func (d *drawing) stressed(n ast.Node, mark string) []piece {
	return slices.Concat([]piece{{d.plain(mark), ""}}, d.inline(n, d.bold()), []piece{{d.plain(mark), ""}})
}

// bold is the style of what is stressed, where there is colour.
func (d *drawing) bold() string {
	if d.color {
		return bold
	}
	return ""
}

// plain is a mark, where there is no colour.
func (d *drawing) plain(mark string) string {
	if d.color {
		return ""
	}
	return mark
}
