package picture

import (
	"fmt"
	"strings"
)

// mermaid writes a picture for Markdown (https://mermaid.js.org/syntax/flowchart.html).
func (p *Picture) mermaid(w What) string {
	if w == Packet {
		return p.sequence()
	}
	return "flowchart LR\n" + p.graph(w, mermaidSyntax{}) + mermaidStyle
}

// dot writes a picture for Graphviz (https://graphviz.org/doc/info/lang.html).
func (p *Picture) dot(w What) string {
	return fmt.Sprintf("graph %q {\n  rankdir=LR\n  node [shape=box, style=rounded, fontname=\"sans-serif\"]\n  edge [fontname=\"sans-serif\"]\n%s}\n", p.Lab, p.graph(w, dotSyntax{}))
}

// syntax is how a language of graphs writes things.
type syntax interface {
	open(id, label string) string
	shut() string
	node(id string, lines []string, s State) string
	edge(a, b, label string, s State) string
}

const mermaidStyle = "  classDef bad stroke:#c4312b,stroke-width:3px\n  classDef unknown stroke-dasharray:5 4\n"

type mermaidSyntax struct{}

func (mermaidSyntax) open(id, label string) string {
	return fmt.Sprintf("  subgraph %s[\"%s\"]\n", id, quoted(label))
}
func (mermaidSyntax) shut() string { return "  end\n" }

func (mermaidSyntax) node(id string, lines []string, s State) string {
	class := ""
	if s == Bad || s == Unknown {
		class = ":::" + string(s)
	}
	for i, l := range lines {
		lines[i] = quoted(l)
	}
	return fmt.Sprintf("    %s[\"%s\"]%s\n", id, strings.Join(lines, "<br/>"), class)
}

func (mermaidSyntax) edge(a, b, label string, s State) string {
	line := "---"
	if s == Bad || s == Unknown {
		line = "-.-"
	}
	if label != "" {
		line += fmt.Sprintf(`|"%s"|`, quoted(label))
	}
	return fmt.Sprintf("  %s %s %s\n", a, line, b)
}

// quoted is a text as Mermaid takes it between quotation marks.
func quoted(s string) string {
	return strings.NewReplacer(`"`, "#quot;", "<", "#lt;", ">", "#gt;").Replace(s)
}

type dotSyntax struct{}

func (dotSyntax) open(id, label string) string {
	return fmt.Sprintf("  subgraph cluster_%s {\n    label=%q\n", id, label)
}
func (dotSyntax) shut() string { return "  }\n" }

func (dotSyntax) node(id string, lines []string, s State) string {
	style := map[State]string{Bad: ", color=\"#c4312b\", penwidth=2", Unknown: ", style=\"rounded,dashed\""}[s]
	return fmt.Sprintf("    %s [label=%q%s]\n", id, strings.Join(lines, "\n"), style)
}

func (dotSyntax) edge(a, b, label string, s State) string {
	style := map[State]string{Bad: ", color=\"#c4312b\", style=dashed", Unknown: ", style=dashed"}[s]
	return fmt.Sprintf("  %s -- %s [label=%q%s]\n", a, b, label, style)
}

// name is a thing's name as both languages take it.
func name(kind, s string) string {
	return kind + "_" + strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, s)
}

func (p *Picture) graph(w What, x syntax) string {
	switch w {
	case BGP:
		return p.graphBGP(x)
	case Blocks:
		return p.graphBlocks(x)
	case Packet:
		return p.graphPacket(x)
	}
	var b strings.Builder
	b.WriteString(x.node("underlay", []string{"underlay", p.Underlay.String()}, OK))
	for _, m := range p.Machines {
		id := name("m", m.Name)
		b.WriteString(x.open(id+"_all", m.Name))
		var parts []string
		for _, part := range m.Parts {
			text := part.Name
			if part.State == Bad {
				text += " (down)"
			}
			parts = append(parts, text)
		}
		b.WriteString(x.node(id, append([]string{m.Address.String(), strings.Join(parts, ", ")}, held(p.blocksOf(m.Name))...), m.State))
		for _, wl := range m.Workloads {
			lines := []string{wl.Short()}
			if wl.Address.IsValid() {
				lines = append(lines, wl.Address.String())
			}
			b.WriteString(x.node(name("w", wl.Name), lines, wl.State))
		}
		b.WriteString(x.shut())
		b.WriteString(x.edge("underlay", id, "", OK))
		for _, wl := range m.Workloads {
			b.WriteString(x.edge(id, name("w", wl.Name), wl.Interface, wl.State))
		}
	}
	return b.String()
}

func held(blocks []Block) []string {
	var all []string
	for _, b := range blocks {
		all = append(all, b.CIDR.String())
	}
	return all
}

func (p *Picture) graphBGP(x syntax) string {
	var b strings.Builder
	for _, m := range p.Nodes() {
		b.WriteString(x.node(name("m", m.Name), append([]string{m.Name, m.Address.String()}, held(p.blocksOf(m.Name))...), m.State))
	}
	strangers := map[string]bool{}
	for _, s := range p.Sessions {
		if _, ours := p.Machine(s.B); !ours && !strangers[s.B] {
			strangers[s.B] = true
			b.WriteString(x.node(name("m", s.B), []string{s.B}, Unknown))
		}
		b.WriteString(x.edge(name("m", s.A), name("m", s.B), s.Says, s.State))
	}
	return b.String()
}

func (p *Picture) graphBlocks(x syntax) string {
	var b strings.Builder
	for _, pool := range p.Pools {
		b.WriteString(x.node(name("pool", pool.Name), []string{"pool " + pool.Name, pool.CIDR.String(), fmt.Sprintf("blocks of /%d, %s", pool.BlockSize, pool.Carried)}, OK))
	}
	for _, m := range p.Nodes() {
		if m.Role != routerRole { // which has none
			b.WriteString(x.node(name("m", m.Name), []string{m.Name}, OK))
		}
	}
	for _, pool := range p.Pools {
		for _, block := range pool.Blocks {
			id := name("block", strings.ReplaceAll(block.CIDR.String(), "/", "_"))
			b.WriteString(x.node(id, []string{block.CIDR.String(), fmt.Sprintf("%d of %d in use", len(block.Used), block.size())}, OK))
			b.WriteString(x.edge(name("pool", pool.Name), id, "", OK))
			if block.Node != "" {
				b.WriteString(x.edge(id, name("m", block.Node), block.Affinity, OK))
			}
		}
	}
	return b.String()
}

func (p *Picture) graphPacket(x syntax) string {
	var b strings.Builder
	var seen []string
	declared := map[string]bool{}
	place := func(h Hop) string {
		label, kind := h.Machine, "m"
		if h.Workload != "" {
			label, kind = h.Workload, "w"
		}
		id := name(kind, label)
		if !declared[id] {
			declared[id] = true
			state := OK
			if h.Machine == p.Packet.Lost && kind == "m" {
				state = Bad
			}
			b.WriteString(x.node(id, []string{label}, state))
		}
		return id
	}
	at := ""
	for i, h := range p.Packet.Hops {
		here := place(h)
		if i > 0 && here != at && p.Packet.Hops[i-1].Back == h.Back {
			seen = append(seen, x.edge(at, here, fmt.Sprintf("%d: %s by %s, TTL %d", i+1, h.Says, h.Link, h.TTL), OK))
		}
		at = here
	}
	return b.String() + strings.Join(seen, "")
}

// sequence writes a packet's way as messages (https://mermaid.js.org/syntax/sequenceDiagram.html).
func (p *Picture) sequence() string {
	var b strings.Builder
	b.WriteString("sequenceDiagram\n")
	declared := map[string]bool{}
	place := func(h Hop) string {
		label, kind := h.Machine, "m"
		if h.Workload != "" {
			label, kind = h.Workload, "w"
		}
		id := name(kind, label)
		if !declared[id] {
			declared[id] = true
			fmt.Fprintf(&b, "  participant %s as %s\n", id, label)
		}
		return id
	}
	at := ""
	for i, h := range p.Packet.Hops {
		here := place(h)
		if i > 0 && here != at && p.Packet.Hops[i-1].Back == h.Back {
			fmt.Fprintf(&b, "  %s->>%s: %s by %s, TTL %d\n", at, here, h.Says, h.Link, h.TTL)
		}
		at = here
	}
	if at != "" {
		fmt.Fprintf(&b, "  Note over %s: %s\n", at, strings.NewReplacer(";", ",", "#", "").Replace(p.Packet.Answer))
	}
	return b.String()
}
