package picture

import (
	"fmt"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/explain"
)

// Travel puts a packet's measured way into the picture.
func (p *Picture) Travel(s explain.Story) {
	j := &Journey{From: s.From, To: s.To, Answer: s.Answer, Lost: s.Lost, Hops: []Hop{}}
	layout := p.layout()
	ends := []string{s.From, s.To}
	for _, h := range s.Way {
		j.Hops = append(j.Hops, Hop{Machine: h.Machine, Workload: h.Workload, Link: h.Link, Out: h.Out, Back: h.Back, TTL: h.TTL, Says: h.Says, Seen: h.Seen})
	}
	for i := range j.Hops {
		h := &j.Hops[i]
		if _, ok := layout.cards[h.Machine]; !ok {
			continue
		}
		if i == 0 || j.Hops[i-1].Back != h.Back {
			h.Points = [][2]float64{layout.at(*h, ends)}
			continue
		}
		h.Points = layout.way(j.Hops[i-1], *h, ends)
	}
	p.Packet = j
}

// Does says what happens at a hop, in a few words.
func (h Hop) Does() string {
	where := h.Machine
	if h.Workload != "" {
		where = h.Workload
	}
	verb := "comes in by"
	if h.Out {
		verb = "leaves by"
	}
	return fmt.Sprintf("%s %s %s, TTL %d: %s", where, verb, h.Link, h.TTL, h.Says)
}

// drawPacket draws the topology with the way on it, its steps numbered and told below.
func (p *Picture) drawPacket() string {
	s := p.layout()
	c := &canvas{}
	p.underlay(c, s)
	p.etcd(c, s)
	p.nodes(c, s)
	c.trail(p.Packet)
	y := s.below + margin
	columns := max(1, int(s.w/600)) // of the steps
	lines := (len(p.Packet.Hops) + columns - 1) / columns
	for i, h := range p.Packet.Hops {
		column, row := float64(i/lines), float64(i%lines)
		x, width := margin+18+column*(s.w-2*margin)/float64(columns), (s.w-2*margin)/float64(columns)
		c.step(x+8, y+6+row*22, i+1)
		c.text(x+24, y+10+row*22, "small", short(h.Does(), int(width/6.6)-5))
	}
	y += 22*float64(lines) + 18
	for _, line := range wrapped(p.Packet.Answer, int((s.w-2*margin)/8)) {
		c.text(margin+18, y+6, "text strong", line)
		y += 20
	}
	return c.end(s.w, y+margin, fmt.Sprintf("A packet from %s to %s", p.Packet.From, p.Packet.To), p.Packet.Answer)
}

// trail draws the way, and a number at each place.
func (c *canvas) trail(j *Journey) {
	for _, h := range j.Hops {
		if len(h.Points) < 2 {
			continue
		}
		d := ""
		for i, at := range h.Points {
			d += fmt.Sprintf("%s%.1f %.1f", map[bool]string{true: "M", false: "L"}[i == 0], at[0], at[1])
		}
		c.path(d, map[bool]string{false: "trail", true: "trail back"}[h.Back])
	}
	for i, h := range j.Hops {
		if n := len(h.Points); n > 0 {
			c.step(h.Points[n-1][0], h.Points[n-1][1], i+1)
		}
	}
	if n := len(j.Hops); j.Lost != "" && n > 0 && len(j.Hops[n-1].Points) > 0 {
		at := j.Hops[n-1].Points[len(j.Hops[n-1].Points)-1]
		const k = 9.0
		x, y := at[0], at[1]+24
		c.path(fmt.Sprintf("M%.1f %.1fL%.1f %.1fM%.1f %.1fL%.1f %.1f", x-k, y-k, x+k, y+k, x-k, y+k, x+k, y-k), "lost")
	}
}

func (c *canvas) step(x, y float64, n int) {
	c.open("", "step", "")
	c.add(`<circle cx="%.1f" cy="%.1f" r="8"/>`, x, y)
	c.add(`<text x="%.1f" y="%.1f">%d</text>`, x, y+3.5, n)
	c.shut()
}

// wrapped breaks a text into lines of so many characters.
func wrapped(s string, most int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(s) {
		if line != "" && len(line)+1+len(word) > most {
			lines, line = append(lines, line), ""
		}
		line = strings.TrimSpace(line + " " + word)
	}
	return append(lines, line)
}
