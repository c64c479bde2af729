package picture

import (
	"fmt"
	"math"
	"strings"
)

func (p *Picture) drawTopology() string {
	s := p.layout()
	c := &canvas{}
	p.topology(c, s)
	return c.end(s.w, s.h, "Topology of "+p.Lab, p.summary())
}

// summary says in words what the topology shows.
func (p *Picture) summary() string {
	workloads := 0
	for _, m := range p.Machines {
		workloads += len(m.Workloads)
	}
	what := fmt.Sprintf("%s on the underlay %s, %s, %s of BGP", plural(len(p.Machines), "machine"), p.Underlay, plural(workloads, "workload"), plural(len(p.Sessions), "session"))
	switch {
	case p.Planned:
		return "as lab.yaml has it: " + what
	case p.judged():
		return fmt.Sprintf("%s, of which %d Established", what, p.established())
	}
	return what
}

// topology draws all that the topology has; where there are few nodes, below them their sessions.
func (p *Picture) topology(c *canvas, s *scene) {
	p.underlay(c, s)
	p.etcd(c, s)
	p.nodes(c, s)
	if n := len(p.Nodes()); n <= oneRow {
		p.arcs(c, s)
	} else {
		p.fallen(c, s)
	}
}

func (p *Picture) nodes(c *canvas, s *scene) {
	for _, m := range p.Nodes() {
		if s.small {
			p.smallCard(c, s, m)
		} else {
			p.card(c, s, m)
		}
	}
}

func (p *Picture) underlay(c *canvas, s *scene) {
	c.open("underlay", "underlay", fmt.Sprintf("underlay %s; its gateway %s leads nowhere", p.Underlay, p.Underlay.Gateway))
	for i, r := range s.rails {
		c.line(r.x1, r.y, r.x2, r.y, "rail")
		if i > 0 {
			c.line(margin, s.rails[i-1].y, margin, r.y, "rail")
		}
	}
	for _, m := range p.Machines {
		card := s.cards[m.Name]
		x := s.laneX(m.Name, false) - 9
		if m.Role == etcdRole {
			c.line(x, card.y+card.h, x, s.rails[0].y, "drop")
			continue
		}
		c.line(x, s.rails[s.rowOf[m.Name]].y, x, card.y, "drop")
	}
	c.text(s.rails[0].x1+4, s.rails[0].y-9, "label", fmt.Sprintf("underlay %s", p.Underlay))
	c.shut()
}

// says is a machine in words.
func (p *Picture) says(m Machine) string {
	parts := []string{m.Name + ", " + m.Address.String()}
	switch {
	case m.State == OK:
		parts = append(parts, "is well")
	case m.Off:
		parts = append(parts, "is off")
	case m.State == Planned:
	default:
		parts = append(parts, m.Why)
	}
	for _, x := range m.Parts {
		if x.State != Planned {
			parts = append(parts, x.Name+" "+map[State]string{OK: "runs", Bad: "doesn't run as it should", Unknown: "wasn't seen"}[x.State])
		}
	}
	if text, _ := p.speaks(m.Name); text != "" {
		parts = append(parts, text+" BGP sessions Established")
	}
	return strings.Join(parts, "; ")
}

// etcd draws etcd's members, and what Calico keeps there: one card where there is one member.
func (p *Picture) etcd(c *canvas, s *scene) {
	for _, m := range p.members() {
		p.member(c, s.cards[m.Name], m)
		if s.members == 1 {
			x := s.etcd.x + memberWidth - 6
			c.line(x, s.etcd.y+16, x, s.etcd.y+s.etcd.h-16, "rule")
			p.kept(c, s)
		}
		c.shut()
	}
	if s.members > 1 {
		c.open("", "machine", "what Calico keeps in etcd")
		c.box(rect{s.etcd.x + float64(s.members)*memberWidth, s.etcd.y, s.etcd.w - float64(s.members)*memberWidth, s.etcd.h}, 10, "card")
		p.kept(c, s)
		c.shut()
	}
}

// member draws a machine of etcd's, and leaves its group open.
func (p *Picture) member(c *canvas, r rect, m Machine) {
	c.open("machine-"+m.Name, "machine "+string(m.State), p.says(m))
	c.box(r, 10, "card")
	c.glyph(r.x+22, r.y+25, 8, m.State)
	c.text(r.x+38, r.y+30, "name", m.Name)
	c.text(r.x+38, r.y+48, "mono", m.Address.String())
	x := r.x + 14
	for _, part := range m.Parts {
		x += p.part(c, x, r.y+62, part)
	}
}

// kept draws what Calico keeps in etcd.
func (p *Picture) kept(c *canvas, s *scene) {
	r := s.etcd
	left := r.x + float64(s.members)*memberWidth + 14
	c.text(left, r.y+26, "label", "what Calico keeps there")
	y := r.y + 50
	if p.Hidden != "" {
		c.text(left, y, "text", short(p.Hidden, 48))
		return
	}
	for _, pool := range p.Pools[:min(len(p.Pools), 3)] {
		held := fmt.Sprintf("%s held", plural(len(pool.Blocks), "block"))
		if p.Planned {
			held = ""
		}
		c.add(`<text x="%.1f" y="%.1f" class="text">pool <tspan class="strong">%s</tspan> <tspan class="mono">%s</tspan>  %s</text>`, left, y, escape(short(pool.Name, 18)), pool.CIDR, held)
		y += 24
	}
	if len(p.Pools) == 0 {
		c.text(left, y, "quiet", "no IP pool")
		y += 24
	}
	policies := "no policies"
	if n := len(p.Policies); n > 0 {
		policies = fmt.Sprintf("%d %s: %s", n, map[bool]string{true: "policy", false: "policies"}[n == 1], strings.Join(p.Policies, ", "))
	}
	if !p.Planned {
		c.text(left, y, map[bool]string{true: "text", false: "quiet"}[len(p.Policies) > 0], short(policies, 46))
	}
}

// part draws a program as a chip, and returns how wide it is with what is left free beside it.
func (p *Picture) part(c *canvas, x, y float64, part Part) float64 {
	w := 30 + 7.2*float64(len(part.Name))
	c.open("", "part "+string(part.State), strings.TrimSuffix(part.Name+": "+part.Says, ": "))
	c.box(rect{x, y, w, 24}, 12, "chip")
	c.glyph(x+13, y+12, 6, part.State)
	c.text(x+23, y+16, "text", part.Name)
	c.shut()
	return w + 7
}

func (p *Picture) card(c *canvas, s *scene, m Machine) {
	r := s.cards[m.Name]
	c.open("machine-"+m.Name, "machine "+string(m.State), p.says(m))
	c.box(r, 10, "card")
	c.glyph(r.x+22, r.y+25, 8, m.State)
	c.text(r.x+38, r.y+30, "name", short(m.Name, 22))
	address := m.Address.String()
	if m.AS != "" {
		address += "  AS " + m.AS
	}
	c.text(r.x+38, r.y+48, "mono", address)
	if m.Reflector {
		c.text(r.x+r.w-44, r.y+30, "label end", "reflector")
	}
	y := r.y + headHeight
	c.box(rect{r.x + 14, y, r.w - 58, nodeHeight - 4}, 8, "inner")
	c.text(r.x+24, y+17, "label", map[bool]string{true: "router", false: "calico-node"}[m.Role == routerRole])
	if text, class := p.speaks(m.Name); text != "" {
		c.text(r.x+r.w-54, y+17, "label end"+class, "BGP "+text)
	}
	x := r.x + 22
	for _, part := range m.Parts {
		x += p.part(c, x, y+25, part)
	}
	y += nodeHeight + 8
	blocks := p.blocksOf(m.Name)
	for i, b := range blocks[:min(len(blocks), mostBlocks)] {
		text := fmt.Sprintf("%d of %d", len(b.Used), b.size())
		if i == mostBlocks-1 && len(blocks) > mostBlocks {
			text = fmt.Sprintf("and %s more", plural(len(blocks)-i-1, "block"))
		}
		c.open("", "block", fmt.Sprintf("block %s: %d of %d addresses in use", b.CIDR, len(b.Used), b.size()))
		c.text(r.x+16, y+13, "mono", b.CIDR.String())
		c.text(r.x+r.w-46, y+13, "label end", text)
		c.bar(rect{r.x + 16, y + 19, r.w - 62, 5}, len(b.Used), b.size())
		c.shut()
		y += blockHeight
	}
	if len(blocks) == 0 && m.Role != routerRole {
		c.text(r.x+16, y+13, "quiet", "no block of addresses yet")
	}
	c.shut()
	for _, w := range m.Workloads[:min(len(m.Workloads), mostChips)] {
		p.chip(c, s, w)
	}
	if n := len(m.Workloads); n > mostChips {
		c.text(r.x+r.w-46, r.y+r.h-4, "label end", fmt.Sprintf("and %d more", n-mostChips))
	}
}

// speaks says how many of a node's sessions are Established, and how that is written.
func (p *Picture) speaks(node string) (text, class string) {
	up, all, known := 0, 0, false
	for _, s := range p.Sessions {
		if s.A != node && s.B != node {
			continue
		}
		all++
		known = known || s.State == OK || s.State == Bad
		if s.State == OK {
			up++
		}
	}
	if !known {
		return "", ""
	}
	if up < all {
		class = " bad-text"
	}
	return fmt.Sprintf("%d/%d", up, all), class
}

// inWords is a workload in words.
func (w Workload) inWords() string {
	text := w.Name
	if w.Address.IsValid() {
		text += ", " + w.Address.String()
	}
	if w.Why != "" {
		text += ": " + w.Why
	}
	return text
}

func (p *Picture) chip(c *canvas, s *scene, w Workload) {
	r := s.workloads[w.Name]
	c.open("workload-"+w.Name, "workload "+string(w.State), w.inWords())
	c.box(r, 8, "chip")
	c.glyph(r.x+16, r.midY(), 7, w.State)
	c.text(r.x+30, r.midY()+4.5, "text strong", short(w.Short(), 15))
	address := "no address"
	switch {
	case w.Address.IsValid():
		address = w.Address.String()
	case w.State == Planned:
		address = ""
	}
	c.text(r.x+r.w-38, r.midY()+4.5, "mono end", address)
	c.shut()
}

// smallCard is a node's where there are many.
func (p *Picture) smallCard(c *canvas, s *scene, m Machine) {
	r := s.cards[m.Name]
	c.open("machine-"+m.Name, "machine "+string(m.State), p.says(m))
	c.box(r, 7, "card")
	c.glyph(r.x+14, r.y+15, 6, m.State)
	c.text(r.x+25, r.y+19, "small strong", short(m.Name, 13))
	if m.Reflector {
		c.text(r.x+r.w-8, r.y+19, "tiny end", "RR")
	}
	c.text(r.x+10, r.y+35, "tiny mono", m.Address.String())
	if text, class := p.speaks(m.Name); text != "" {
		c.text(r.x+r.w-8, r.y+35, "tiny end"+class, text)
	}
	if blocks := p.blocksOf(m.Name); len(blocks) > 0 {
		used, all := 0, 0
		for _, b := range blocks {
			used, all = used+len(b.Used), all+b.size()
		}
		text := blocks[0].CIDR.String()
		if n := len(blocks); n > 1 {
			text += fmt.Sprintf(" +%d", n-1)
		}
		c.text(r.x+10, r.y+52, "tiny mono", text)
		c.bar(rect{r.x + 10, r.y + 57, r.w - 34, 4}, used, all)
	}
	c.shut()
	for _, w := range m.Workloads {
		if at, ok := s.workloads[w.Name]; ok {
			c.open("workload-"+w.Name, "workload "+string(w.State), w.inWords())
			c.box(at, 3, "chip")
			c.glyph(at.midX(), at.midY(), 4.5, w.State)
			c.shut()
		}
	}
	if n := len(m.Workloads); n > 0 {
		text := plural(n, "workload")
		if n == 1 && m.Workloads[0].Address.IsValid() {
			text = m.Workloads[0].Address.String()
		}
		c.text(r.x+r.w-26, r.y+r.h-10, "tiny end", text)
	}
}

// arcs draws the sessions below a single row of nodes.
func (p *Picture) arcs(c *canvas, s *scene) {
	deepest := 0.0
	order := map[string]int{}
	for i, m := range p.Nodes() {
		order[m.Name] = i
	}
	for _, x := range p.Sessions {
		a, ok := order[x.A]
		b, both := order[x.B]
		if !ok || !both {
			continue
		}
		if a > b {
			a, b = b, a
		}
		nodes := p.Nodes()
		// Sessions to the right begin to the right of those to the left, and wider ones hang lower.
		from, to := s.cards[nodes[a].Name], s.cards[nodes[b].Name]
		x1, x2 := from.midX()+float64(12*(oneRow-(b-a))), to.midX()-float64(12*(oneRow-(b-a)))
		depth := 44 + 34*float64(b-a-1)
		deepest = max(deepest, depth)
		y := s.below
		c.open("session-"+x.A+"-"+x.B, "session "+string(x.State), fmt.Sprintf("BGP between %s and %s: %s", x.A, x.B, x.Says))
		c.path(fmt.Sprintf("M%.1f %.1fv%.1fq0 14 14 14H%.1fq14 0 14 -14V%.1f", x1, y, depth-26, x2-14, y), "wire")
		text := map[State]string{OK: "BGP Established", Planned: "BGP", Unknown: "BGP unknown", Bad: "BGP down"}[x.State]
		w := 32 + 7.2*float64(len(text))
		mid := rect{(x1+x2)/2 - w/2, y + depth - 12 - 11, w, 22}
		c.box(mid, 11, "tag")
		c.glyph(mid.x+11, mid.midY(), 5.5, x.State)
		c.text(mid.x+20, mid.midY()+4, "small", text)
		c.shut()
	}
	if deepest > 0 {
		s.h = s.below + deepest + margin/2 + 6
	}
}

// fallen draws only the sessions that aren't Established, where there are too many to draw each.
func (p *Picture) fallen(c *canvas, s *scene) {
	for _, x := range p.Sessions {
		if x.State == OK || x.State == Planned {
			continue
		}
		a, ok := s.cards[x.A]
		b, both := s.cards[x.B]
		if !ok || !both {
			continue
		}
		c.open("session-"+x.A+"-"+x.B, "session "+string(x.State), fmt.Sprintf("BGP between %s and %s: %s", x.A, x.B, x.Says))
		bend := 18 + math.Abs(a.midX()-b.midX())*0.08
		c.path(fmt.Sprintf("M%.1f %.1fQ%.1f %.1f %.1f %.1f", a.midX(), a.y+6, (a.midX()+b.midX())/2, min(a.y, b.y)-bend, b.midX(), b.y+6), "wire")
		c.shut()
	}
}

// plural writes a number of things.
func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
