package learn

import (
	"regexp"
	"strings"

	"github.com/charmbracelet/glamour"
	"github.com/charmbracelet/glamour/ansi"
	"github.com/charmbracelet/glamour/styles"
)

// textWidth is how wide text is at most: longer lines are hard to read.
const textWidth = 78

// Text renders Markdown for a terminal.
type Text struct{ renderer *glamour.TermRenderer }

// NewText returns a renderer for a terminal of some width, in colour or without.
func NewText(width int, color bool) (*Text, error) {
	style := styles.ASCIIStyleConfig
	if color {
		style = styles.DarkStyleConfig
		// The reader's own colours, whatever his background is.
		style.Document.Color, style.Text.Color = nil, nil
		style.CodeBlock.Chroma, style.CodeBlock.Theme = nil, ""
		style.CodeBlock.Color = nil
		style.Code.BackgroundColor, style.Code.Prefix, style.Code.Suffix = nil, "", ""
		bold := true
		style.Code.Color, style.Code.Bold = nil, &bold
	}
	margin := uint(2)
	style.Document.Margin = &margin
	style.Document.BlockPrefix, style.Document.BlockSuffix = "", ""
	style.BlockQuote.Indent, style.BlockQuote.IndentToken = new(uint), nil
	style.Link = ansi.StylePrimitive{}
	r, err := glamour.NewTermRenderer(glamour.WithStyles(style), glamour.WithWordWrap(min(width-2, textWidth)))
	return &Text{r}, err
}

// Render returns Markdown as it is to be printed, with a line break at its end.
func (t *Text) Render(markdown string) (string, error) {
	out, err := t.renderer.Render(forTerminal(markdown))
	if err != nil {
		return "", err
	}
	var lines []string
	for line := range strings.Lines(out) { // glamour fills lines with space
		lines = append(lines, trimRight(strings.TrimRight(line, "\n")))
	}
	return strings.Trim(strings.Join(lines, "\n"), "\n") + "\n", nil
}

var (
	toChapter = regexp.MustCompile(`\[([^\]]*)\]\((?:\.\./(?:tutorial|experiments)/)?[0-9]{2}-([a-z0-9-]+)\.md\)`)
	toFile    = regexp.MustCompile(`\[([^\]]*)\]\([^):]*\)`)
	// block is how a line begins that doesn't go on with the paragraph before.
	block = regexp.MustCompile("^ *([-*>|#<]|[0-9]+\\. |```|$)")
)

// forTerminal puts what a terminal can't follow, a link to a file, in words, and a paragraph on one line: glamour keeps some of
// the line breaks of those that begin with code or are in a list.
func forTerminal(markdown string) string {
	markdown = toChapter.ReplaceAllString(markdown, "$1 (`learn $2`)")
	markdown = toFile.ReplaceAllString(markdown, "$1")
	var lines []string
	fenced, open := false, false // open: the last line may go on
	for line := range strings.SplitSeq(markdown, "\n") {
		switch fence := strings.HasPrefix(line, "```"); {
		case open && !fenced && !block.MatchString(line):
			lines[len(lines)-1] += " " + strings.TrimLeft(line, " ")
		default:
			lines = append(lines, line)
			fenced = fenced != fence
			open = !fence && line != "" && !strings.HasPrefix(line, "|") && !strings.HasPrefix(line, "#")
		}
	}
	return strings.Join(lines, "\n")
}

// trimRight takes the space from a line's end, also where colours are set between.
func trimRight(line string) string {
	text := line
	var codes []string
	for {
		text = strings.TrimRight(text, " ")
		i := strings.LastIndex(text, "\x1b[")
		if i < 0 || !strings.HasSuffix(text, "m") || strings.ContainsAny(text[i+2:len(text)-1], "m ") {
			break
		}
		codes = append(codes, text[i:])
		text = text[:i]
	}
	if text == "" || len(codes) == 0 {
		return text
	}
	return text + "\x1b[0m"
}
