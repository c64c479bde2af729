package picture

import (
	_ "embed" // the style sheet
	"encoding/xml"
	"fmt"
	"strings"
)

// Style is the style sheet of the drawings, for dark and light.
//
//go:embed picture.css
var Style string

// SVG draws a picture as a file of its own (https://www.w3.org/TR/SVG2/).
func (p *Picture) SVG(w What) string {
	drawn := p.Draw(w)
	return strings.Replace(drawn, "<!--style-->", "<style>"+Style+"</style>", 1)
}

// Draw draws a picture for a page that has the style sheet Style. What a page can ask for has an id: machine-NAME, workload-NAME; its
// title says in words what is to be seen.
func (p *Picture) Draw(w What) string {
	switch w {
	case BGP:
		return p.drawBGP()
	case Blocks:
		return p.drawBlocks()
	case Packet:
		return p.drawPacket()
	}
	return p.drawTopology()
}

// canvas is an SVG that is being written.
type canvas struct{ strings.Builder }

func escape(s string) string {
	var b strings.Builder
	if xml.EscapeText(&b, []byte(s)) != nil { // a strings.Builder takes everything
		return ""
	}
	return b.String()
}

func (c *canvas) add(format string, args ...any) { fmt.Fprintf(c, format+"\n", args...) }

// open begins a group; id may be "".
func (c *canvas) open(id, class, title string) {
	c.WriteString("<g")
	if id != "" {
		fmt.Fprintf(c, ` id="%s"`, escape(id))
	}
	c.add(` class="%s">`, escape(class))
	if title != "" {
		c.add("<title>%s</title>", escape(title))
	}
}

func (c *canvas) shut() { c.add("</g>") }

func (c *canvas) text(x, y float64, class, s string) {
	c.add(`<text x="%.1f" y="%.1f" class="%s">%s</text>`, x, y, class, escape(s))
}

func (c *canvas) box(r rect, round float64, class string) {
	c.add(`<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" rx="%.1f" class="%s"/>`, r.x, r.y, r.w, r.h, round, class)
}

func (c *canvas) line(x1, y1, x2, y2 float64, class string) {
	c.add(`<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="%s"/>`, x1, y1, x2, y2, class)
}

func (c *canvas) path(d, class string) { c.add(`<path d="%s" class="%s"/>`, d, class) }

// glyph says a state by form as well as by colour.
func (c *canvas) glyph(x, y, r float64, s State) {
	c.open("", "glyph "+string(s), "")
	c.add(`<circle cx="%.1f" cy="%.1f" r="%.1f"/>`, x, y, r)
	k := r * 0.45
	switch s {
	case OK:
		c.path(fmt.Sprintf("M%.1f %.1fL%.1f %.1fL%.1f %.1f", x-k, y, x-k*0.2, y+k*0.8, x+k, y-k*0.7), "mark")
	case Bad:
		c.path(fmt.Sprintf("M%.1f %.1fL%.1f %.1fM%.1f %.1fL%.1f %.1f", x-k, y-k, x+k, y+k, x-k, y+k, x+k, y-k), "mark")
	case Unknown:
		c.path(fmt.Sprintf("M%.1f %.1fL%.1f %.1f", x-k, y, x+k, y), "mark")
	}
	c.shut()
}

// bar says how much of something is in use.
func (c *canvas) bar(r rect, used, all int) {
	c.box(r, r.h/2, "bar")
	if used > 0 && all > 0 {
		full := r
		full.w = max(r.h, r.w*float64(used)/float64(all))
		c.box(full, r.h/2, "used")
	}
}

// end closes the drawing and puts its head before it.
func (c *canvas) end(w, h float64, title, about string) string {
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" class="lab-picture" viewBox="0 0 %.0f %.0f" width="%.0f" height="%.0f" role="group" aria-label="%s">`+"\n<!--style-->\n<title>%s</title>\n<desc>%s</desc>\n%s</svg>\n",
		w, h, w, h, escape(title), escape(title), escape(about), c.String())
}

// rect is a place in a drawing.
type rect struct{ x, y, w, h float64 }

func (r rect) midX() float64 { return r.x + r.w/2 }
func (r rect) midY() float64 { return r.y + r.h/2 }

// short cuts a text to so many characters.
func short(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}
