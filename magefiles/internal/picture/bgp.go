package picture

import (
	"fmt"
	"math"
	"slices"
)

// drawBGP draws who speaks BGP with whom: the nodes on a circle, reflectors inside it where others are around them.
func (p *Picture) drawBGP() string {
	c := &canvas{}
	ring, inside := p.speakers()
	many := len(ring) > 10
	radius := max(150, float64(len(ring))*30/(2*math.Pi))
	if !many {
		radius = max(130, float64(len(ring))*190/(2*math.Pi))
	}
	side, cardW, cardH := 110.0, 168.0, 58.0
	if many {
		side = 130
	}
	w := 2*radius + 2*side
	h, top := 2*radius+2*side*0.75, 74.0
	if !many && len(ring) == 2 {
		radius, h = 190, 110
		w = 2*radius + 2*side
	}
	cx, cy := w/2, top+h/2
	at := map[string][2]float64{}
	circle(at, ring, cx, cy, radius, many)
	circle(at, inside, cx, cy, radius*0.42, true)
	title := fmt.Sprintf("%s of BGP", plural(len(p.Sessions), "session"))
	up := p.established()
	switch {
	case p.Planned:
		title += ", as lab.yaml has them"
	case !p.judged():
	case up == len(p.Sessions) && up > 0:
		title += ", all Established"
	default:
		title = fmt.Sprintf("%d of %s Established", up, title)
	}
	c.text(cx, 30, "name mid", title)
	c.text(cx, 50, "label mid", p.meaning(len(inside)))
	for _, bad := range []bool{false, true} { // what is wrong stands before the rest
		for _, s := range p.Sessions {
			if (s.State == Bad) == bad {
				p.chord(c, at, s, cx, cy, len(p.Sessions) > 20)
			}
		}
	}
	for _, name := range append(slices.Clone(ring), inside...) {
		m, ours := p.Machine(name)
		if !ours {
			m = &Machine{Name: name, State: Unknown, Why: "not a machine of the lab"}
		}
		xy := at[name]
		if !many {
			p.speaker(c, *m, rect{xy[0] - cardW/2, xy[1] - cardH/2, cardW, cardH})
			continue
		}
		p.spot(c, *m, xy, cx, cy)
	}
	return c.end(w, top+h+margin/2, "BGP of "+p.Lab, title)
}

// speakers are the nodes and their peers from outside, and reflectors apart from them where they have clients.
func (p *Picture) speakers() (ring, inside []string) {
	for _, m := range p.Nodes() {
		if m.Reflector {
			inside = append(inside, m.Name)
		} else {
			ring = append(ring, m.Name)
		}
	}
	if len(ring) < 3 {
		ring, inside = append(ring, inside...), nil
	}
	for _, s := range p.Sessions {
		if _, ours := p.Machine(s.B); !ours && !slices.Contains(ring, s.B) {
			ring = append(ring, s.B)
		}
	}
	return ring, inside
}

func (p *Picture) meaning(reflectors int) string {
	switch {
	case reflectors > 0:
		return fmt.Sprintf("each node speaks with the %s in the middle, and these pass on what they learn", plural(reflectors, "reflector"))
	case len(p.Sessions) == 0:
		return "nobody speaks BGP"
	}
	return "who speaks with whom: each tells the others which blocks of addresses are behind it"
}

func circle(at map[string][2]float64, names []string, cx, cy, r float64, many bool) {
	for i, name := range names {
		angle := 2*math.Pi*float64(i)/float64(len(names)) - math.Pi/2
		if !many && len(names) == 2 || len(names) == 1 {
			angle = math.Pi * float64(i+1)
		}
		at[name] = [2]float64{cx + r*math.Cos(angle), cy + r*math.Sin(angle)}
	}
}

func (p *Picture) chord(c *canvas, at map[string][2]float64, s Session, cx, cy float64, many bool) {
	a, ok := at[s.A]
	b, both := at[s.B]
	if !ok || !both {
		return
	}
	class := "session " + string(s.State)
	if many {
		class += " many"
	}
	c.open("session-"+s.A+"-"+s.B, class, fmt.Sprintf("BGP between %s and %s: %s", s.A, s.B, s.Says))
	const pull = 0.35 // towards the middle, so that chords of neighbours can be told from the circle
	mx, my := (a[0]+b[0])/2, (a[1]+b[1])/2
	qx, qy := mx+(cx-mx)*pull, my+(cy-my)*pull
	c.path(fmt.Sprintf("M%.1f %.1fQ%.1f %.1f %.1f %.1f", a[0], a[1], qx, qy, b[0], b[1]), "wire")
	if !many {
		text := map[State]string{OK: "Established", Planned: "BGP", Unknown: "unknown", Bad: short(s.Says, 34)}[s.State]
		x, y := (a[0]+2*qx+b[0])/4, (a[1]+2*qy+b[1])/4
		w := 18 + 7*float64(len(text))
		c.box(rect{x - w/2, y - 11, w, 22}, 11, "tag")
		c.text(x, y+4, "small mid", text)
	}
	c.shut()
}

func (p *Picture) speaker(c *canvas, m Machine, r rect) {
	c.open("machine-"+m.Name, "machine "+string(m.State), p.says(m))
	c.box(r, 10, "card")
	c.glyph(r.x+19, r.y+21, 7, m.State)
	name := m.Name
	if m.Reflector {
		name += " (reflector)"
	}
	c.text(r.x+33, r.y+26, "text strong", short(name, 21))
	text := m.Why
	if m.Address.IsValid() {
		text = m.Address.String()
		if m.AS != "" {
			text += "  AS " + m.AS
		}
	}
	c.text(r.x+14, r.y+45, "tiny mono", short(text, 26))
	c.shut()
}

// spot is a node on a circle of many, its name turned to where there is room.
func (p *Picture) spot(c *canvas, m Machine, at [2]float64, cx, cy float64) {
	c.open("machine-"+m.Name, "machine "+string(m.State), p.says(m))
	c.glyph(at[0], at[1], 7, m.State)
	angle := math.Atan2(at[1]-cy, at[0]-cx) * 180 / math.Pi
	x, class := 14.0, "small"
	if angle > 90 || angle < -90 {
		angle, x, class = angle+180, -14, "small end"
	}
	c.add(`<text transform="translate(%.1f,%.1f) rotate(%.1f)" x="%.0f" y="4" class="%s">%s</text>`, at[0], at[1], angle, x, class, escape(short(m.Name, 15)))
	c.shut()
}
