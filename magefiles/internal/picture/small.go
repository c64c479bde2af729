package picture

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mattn/go-runewidth"

	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
)

const (
	mostBoxes = 4 // machines that are drawn as boxes; more are lines
	mostLines = 6 // machines of a larger lab that are shown; of the others it is said how many there are
)

// Small is the lab in a few lines for a terminal, however large the lab is: the machines on the underlay with their addresses, the nodes'
// blocks and workloads. It is boxes where so many columns have room for them, and a line for each machine where they haven't.
func (p *Picture) Small(columns int) string {
	if len(p.Machines) <= mostBoxes {
		if drawn := p.boxes(); runewidth.StringWidth(drawn[1]) <= columns {
			return strings.Join(drawn, "\n")
		}
	}
	lines := p.list()
	for i, l := range lines {
		lines[i] = runewidth.Truncate(l, columns, "…")
	}
	return strings.Join(lines, "\n")
}

// about is what is said of a machine below its name.
func (p *Picture) about(m Machine) []string {
	lines := []string{m.Address.String()}
	if m.Role == string(lab.RoleCalico) {
		return append(append(lines, few(held(p.blocksOf(m.Name)))...), few(plumbed(m))...)
	}
	for _, part := range m.Parts {
		lines = append(lines, part.Name)
	}
	return lines
}

// plumbed are a machine's workloads with their addresses.
func plumbed(m Machine) []string {
	var all []string
	for _, w := range m.Workloads {
		if w.Address.IsValid() {
			all = append(all, w.Short()+" "+w.Address.String())
		}
	}
	return all
}

// few is the first of several, and how many more there are.
func few(all []string) []string {
	if len(all) > 1 {
		return []string{fmt.Sprintf("%s, %d more", all[0], len(all)-1)}
	}
	return all
}

// boxes draws the machines side by side, hanging on the underlay.
func (p *Picture) boxes() []string {
	height := 0
	for _, m := range p.Machines {
		height = max(height, 1+len(p.about(m)))
	}
	rows := make([]string, height+3) // the underlay, the boxes with top and bottom
	for i, m := range p.Machines {
		text := append([]string{m.Name}, p.about(m)...)
		width := 0
		for _, t := range text {
			width = max(width, runewidth.StringWidth(t))
		}
		left, right := strings.Repeat("─", (width+2)/2), strings.Repeat("─", width+1-(width+2)/2)
		gap, rail := "", ""
		if i > 0 {
			gap, rail = " ", "─"
		}
		rows[0] += rail + "─" + left + "┬" + right + "─"
		rows[1] += gap + "┌" + left + "┴" + right + "┐"
		for j := range height {
			line := ""
			if j < len(text) {
				line = text[j]
			}
			rows[2+j] += gap + "│ " + runewidth.FillRight(line, width) + " │"
		}
		rows[2+height] += gap + "└" + left + "─" + right + "┘"
	}
	return slices.Insert(rows, 0, p.ground())
}

func (p *Picture) ground() string { return "underlay " + p.Underlay.String() }

// list has a line for each machine, of a large lab for the first ones and the last.
func (p *Picture) list() []string {
	shown := p.Machines
	more := len(shown) - mostLines
	if more > 0 {
		shown = append(slices.Clone(shown[:mostLines-1]), shown[len(shown)-1])
	}
	name, address := 0, 0
	for _, m := range shown {
		name, address = max(name, runewidth.StringWidth(m.Name)), max(address, len(m.Address.String()))
	}
	lines := []string{p.ground()}
	for i, m := range shown {
		corner := "├"
		if i == len(shown)-1 {
			if more > 0 {
				lines = append(lines, fmt.Sprintf("│ ... %d more", more))
			}
			corner = "└"
		}
		about := p.about(m)
		line := fmt.Sprintf("%s %s  %-*s  %s", corner, runewidth.FillRight(m.Name, name), address, about[0], strings.Join(about[1:], ", "))
		lines = append(lines, strings.TrimRight(line, " "))
	}
	return lines
}
