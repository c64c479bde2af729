// Package report writes a lab as one page that needs nothing else: for a colleague, and for the artifacts of a CI job.
package report

import (
	_ "embed" // the page
	"html/template"
	"io"
	"strings"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/picture"
)

// Page is what a report tells.
type Page struct {
	Picture  picture.Picture
	Report   *check.Report // nil: nothing was compared
	Versions [][2]string   // what, and which
	Timeline []Span        // of the last run that was traced; nil where none was
	Traced   string        // when that was
}

// Span is a piece of work in a timeline.
type Span struct {
	Name        string
	Start, Took time.Duration
}

//go:embed report.html
var page string

//go:embed report.css
var style string

// Write writes the page. Texts that machines said can't be markup in it: html/template escapes them.
func (p *Page) Write(w io.Writer) error {
	t, err := template.New("report").Funcs(template.FuncMap{"printable": command.Printable, "seconds": seconds, "percent": p.percent}).Parse(page)
	if err != nil {
		return err
	}
	return t.Execute(w, struct {
		*Page
		Style    template.CSS
		Drawings []drawing
		Stages   []stagePart
	}{p, template.CSS(picture.Style + style), p.drawings(), p.stages()}) //nolint:gosec // the project's own style sheets
}

type drawing struct {
	Title string
	SVG   template.HTML
}

func (p *Page) drawings() []drawing {
	title := map[picture.What]string{picture.Topology: "What is where", picture.BGP: "Who speaks BGP with whom", picture.Blocks: "Who holds which addresses"}
	var all []drawing
	for _, w := range []picture.What{picture.Topology, picture.BGP, picture.Blocks} {
		svg := strings.ReplaceAll(p.Picture.Draw(w), ` id="`, ` id="`+string(w)+"-") // a page has every id once
		all = append(all, drawing{title[w], template.HTML(svg)})                     //nolint:gosec // package picture escapes
	}
	return all
}

type stagePart struct {
	Name    string
	OK      bool
	Count   int
	Results []check.Result
}

func (p *Page) stages() []stagePart {
	if p.Report == nil {
		return nil
	}
	var all []stagePart
	for _, r := range p.Report.Results {
		if n := len(all); n == 0 || all[n-1].Name != r.Stage {
			part := p.Report.Of(r.Stage)
			all = append(all, stagePart{r.Stage, part.OK, len(part.Results), part.Results})
		}
	}
	return all
}

func seconds(d time.Duration) string { return d.Round(100 * time.Millisecond).String() }

// percent is how far along the timeline a time is.
func (p *Page) percent(d time.Duration) float64 {
	end := time.Millisecond
	for _, s := range p.Timeline {
		end = max(end, s.Start+s.Took)
	}
	return 600 * float64(d) / float64(end)
}
