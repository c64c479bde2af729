package picture

import (
	"math"
	"strings"
)

// Measures of the drawings, in pixels.
const (
	margin     = 28.0
	gutter     = 34.0 // between cards
	railAbove  = 30.0 // from a rail of the underlay down to the cards that hang on it
	lane       = 20.0 // from a card's right edge to where packets go up and down
	roomyCards = 12   // more nodes than that get small cards
	oneRow     = 4    // so many nodes stand side by side, with their sessions below

	memberWidth = 186.0 // of a member of etcd's
	keptWidth   = 374.0 // of what Calico keeps there
)

// scene is where everything stands in the topology.
type scene struct {
	w, h      float64
	small     bool
	etcd      rect // of all members, and of what Calico keeps there
	members   int
	cards     map[string]rect
	workloads map[string]rect
	rails     []rail
	rowOf     map[string]int
	below     float64 // where the cards of a single row end
}

// rail is the underlay above a row of cards.
type rail struct{ x1, x2, y float64 }

// rows of a roomy card.
const (
	headHeight  = 58.0
	nodeHeight  = 62.0
	blockHeight = 34.0
	chipHeight  = 34.0
	chipGap     = 8.0
	mostBlocks  = 3
	mostChips   = 4
)

func (p *Picture) layout() *scene {
	nodes := p.Nodes()
	s := &scene{cards: map[string]rect{}, workloads: map[string]rect{}, rowOf: map[string]int{}, small: len(nodes) > roomyCards}
	columns, w := min(len(nodes), oneRow), 292.0
	if s.small {
		columns, w = int(math.Ceil(math.Sqrt(float64(len(nodes))*1.35))), 140.0
	}
	columns = max(columns, 1)
	gap := gutter
	if s.small {
		gap = 16
	}
	members := p.members()
	inner := max(float64(columns)*w+float64(columns-1)*gap, float64(len(members))*memberWidth+keptWidth)
	left := margin + 18
	if free := inner - (float64(columns)*w + float64(columns-1)*gap); free > 0 {
		left += free / 2
	}
	s.w = inner + 2*margin + 18
	s.etcd = rect{margin + 18, margin, inner, 104 + 24*float64(max(0, min(len(p.Pools), 3)-1))}
	y := s.etcd.y + s.etcd.h + 2*railAbove + 6
	for from := 0; from < len(nodes); from += columns {
		row := nodes[from:min(from+columns, len(nodes))]
		h := p.rowHeight(row, s.small)
		rail := rail{margin, margin + 18 + inner, y - railAbove}
		s.rails = append(s.rails, rail)
		for i, m := range row {
			card := rect{left + float64(i)*(w+gap), y, w, h}
			s.cards[m.Name], s.rowOf[m.Name] = card, len(s.rails)-1
			p.chips(s, m, card)
		}
		y += h + railAbove + gap
	}
	s.below = y - railAbove - gap
	s.h = s.below + margin
	s.members = len(members)
	for i, m := range members {
		card := s.etcd
		if len(members) > 1 {
			card = rect{s.etcd.x + float64(i)*memberWidth, s.etcd.y, memberWidth - 12, s.etcd.h}
		}
		s.cards[m.Name] = card
	}
	return s
}

// rowHeight is that of the fullest card.
func (p *Picture) rowHeight(row []Machine, small bool) float64 {
	if small {
		return 92
	}
	blocks, chips := 1, 1
	for _, m := range row {
		blocks = max(blocks, min(len(p.blocksOf(m.Name)), mostBlocks))
		chips = max(chips, min(len(m.Workloads), mostChips))
	}
	return headHeight + nodeHeight + 12 + blockHeight*float64(blocks) + (chipHeight+chipGap)*float64(chips) + 10
}

// chips places a machine's workloads at the bottom of its card.
func (p *Picture) chips(s *scene, m Machine, card rect) {
	n := len(m.Workloads)
	if s.small {
		const size, most = 12.0, 8
		for i, w := range m.Workloads[:min(n, most)] {
			s.workloads[w.Name] = rect{card.x + 10 + float64(i)*(size+3), card.y + card.h - size - 8, size, size}
		}
		return
	}
	for i, w := range m.Workloads[:min(n, mostChips)] {
		up := float64(min(n, mostChips)-i)*(chipHeight+chipGap) + 4
		s.workloads[w.Name] = rect{card.x + 14, card.y + card.h - up, card.w - 28, chipHeight}
	}
}

// laneX is where packets go up and down on a card; the way back is beside the way there.
func (s *scene) laneX(machine string, back bool) float64 {
	c := s.cards[machine]
	x := c.x + c.w - lane
	if back {
		x -= 18
	}
	return x
}

// at is where a packet is at a hop.
func (s *scene) at(h Hop, ends []string) [2]float64 {
	x := s.laneX(h.Machine, h.Back)
	card := s.cards[h.Machine]
	if h.Workload != "" {
		if chip, ok := s.workloads[h.Workload]; ok {
			return [2]float64{x, chip.midY()}
		}
		return [2]float64{x, card.y + card.h - 10}
	}
	if strings.HasPrefix(h.Link, "cali") {
		for _, name := range ends {
			if chip, ok := s.workloads[name]; ok && strings.HasPrefix(name, h.Machine+"/") {
				return [2]float64{x, chip.y - 6}
			}
		}
		return [2]float64{x, card.midY()}
	}
	if _, hangs := s.rowOf[h.Machine]; !hangs { // a member of etcd's stands on the underlay
		return [2]float64{x, card.y + card.h}
	}
	return [2]float64{x, card.y}
}

// way is how a packet gets from one hop to the next: on a machine straight, between machines along the underlay.
func (s *scene) way(from, to Hop, ends []string) [][2]float64 {
	a, b := s.at(from, ends), s.at(to, ends)
	if from.Machine == to.Machine {
		return [][2]float64{a, b}
	}
	off := 0.0
	if to.Back {
		off = 5
	}
	ra, rb := s.rails[s.rowOf[from.Machine]].y+off, s.rails[s.rowOf[to.Machine]].y+off
	way := [][2]float64{a, {a[0], ra}}
	if ra != rb {
		way = append(way, [2]float64{margin + off, ra}, [2]float64{margin + off, rb})
	}
	return append(way, [2]float64{b[0], rb}, b)
}
