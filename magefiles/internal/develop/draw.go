package develop

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/run"
)

// Files: two in the directory docs, and a page of the project.
const (
	plotFile  = "benchmark.svg"
	tableFile = "benchmark.md"
	speedFile = "docs/speed.md"
)

// Between these lines docs/speed.md has the medians.
const (
	mediansFrom = "<!-- benchmark -->\n"
	mediansTo   = "<!-- benchmark's end -->\n"
)

// Numbers reads a list of numbers: 10,20,50. An empty one has none.
func Numbers(text string) (all []int, err error) {
	if text == "" {
		return nil, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(part)
		if err != nil || n < 2 {
			return nil, fmt.Errorf("-nodes=%s: %q is no number of nodes; write for example: -nodes=10,20,50", text, part)
		}
		all = append(all, n)
	}
	return all, nil
}

// draw writes what was measured into docs, as a plot over the number of nodes and as a table, and the medians into docs/speed.md.
func draw(r *run.Run, all []*bench) error {
	var svg, table bytes.Buffer
	panels := panelsOf(all)
	plot(&svg, panels)
	fmt.Fprintf(&table, "# Times and CPU over the number of nodes\n\nWritten by `go tool mage dev:benchmark -nodes=...`; [speed](speed.md) says on which computer.\n\n![plot](%s)\n\n", plotFile)
	markdown(&table, all)
	page, err := os.ReadFile(filepath.Join(r.Root, speedFile))
	if err != nil {
		return err
	}
	if page, err = withMedians(page, all); err != nil {
		return err
	}
	for name, data := range map[string][]byte{"docs/" + plotFile: svg.Bytes(), "docs/" + tableFile: table.Bytes(), speedFile: page} {
		if err := os.WriteFile(filepath.Join(r.Root, name), data, 0o644); err != nil {
			return err
		}
	}
	r.Console.Notice("plot and table: docs/%s, docs/%s; the medians are in %s", plotFile, tableFile, speedFile)
	return nil
}

// withMedians returns that page with what was measured last.
func withMedians(page []byte, all []*bench) ([]byte, error) {
	before, rest, ok := bytes.Cut(page, []byte(mediansFrom))
	_, after, closed := bytes.Cut(rest, []byte(mediansTo))
	if !ok || !closed {
		return nil, fmt.Errorf(speedFile+" has no lines %q and %q, between which the medians go", strings.TrimSpace(mediansFrom), strings.TrimSpace(mediansTo))
	}
	var b bytes.Buffer
	writeRows(&b, []string{"machines", "BGP", "destroyed to verified", "CPU-s", "`verify` again", "`check`", "`destroy`", "memory"}, medians(all))
	return slices.Concat(before, []byte(mediansFrom), b.Bytes(), []byte(mediansTo), after), nil
}

// medians has a row for each lab: wall times, and of the way to a lab that works the CPU time too.
func medians(all []*bench) (rows [][]string) {
	for _, b := range all {
		wall, cpu := map[string]string{}, map[string]string{}
		for _, s := range b.series {
			var walls, cpus []time.Duration
			for _, c := range s.costs {
				walls, cpus = append(walls, c.wall), append(cpus, c.cpu)
			}
			wall[s.what], cpu[s.what] = seconds(median(walls)), cpuSeconds(median(cpus))
		}
		memory := ""
		if len(b.memories) > 0 {
			memory = megabytes(median(b.memories))
		}
		rows = append(rows, []string{fmt.Sprint(len(b.lab.Machines)), b.bgp(), wall[whatFull], cpu[whatFull], wall[whatAgain], wall[whatCheck], wall[whatDestroy], memory})
	}
	return rows
}

func writeRows(w io.Writer, head []string, rows [][]string) {
	for _, cells := range append([][]string{head, slices.Repeat([]string{"---"}, len(head))}, rows...) {
		fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | "))
	}
}

// markdown writes the benchmark's table, and what each further node costs.
func markdown(w io.Writer, all []*bench) {
	var rows [][]string
	for _, b := range all {
		rows = append(rows, b.rows()...)
	}
	writeRows(w, columns, rows)
	fmt.Fprintf(w, "\nWhat a further node costs, destroyed to verified:\n\n| BGP | from | to | sessions then | wall a node | CPU-s a node |\n| --- | --- | --- | --- | --- | --- |\n")
	for _, kind := range []string{"mesh", fmt.Sprintf("%d reflectors", reflectors)} {
		points := curve(all, kind, whatFull)
		for i := 1; i < len(points); i++ {
			a, b := points[i-1], points[i]
			n := float64(b.nodes - a.nodes)
			fmt.Fprintf(w, "| %s | %d | %d | %d | %.2f s | %.2f |\n", kind, a.nodes, b.nodes, sessions(kind, b.nodes), (b.wall-a.wall)/n, (b.cpu-a.cpu)/n)
		}
	}
}

// sessions is how many BGP sessions there are among n nodes: each with each, or each with the reflectors.
func sessions(kind string, n int) int {
	if kind == "mesh" {
		return n * (n - 1) / 2
	}
	return reflectors*(n-reflectors) + reflectors*(reflectors-1)/2
}

// point is what something took with so many nodes: medians, in seconds.
type point struct {
	nodes     int
	wall, cpu float64
}

// curve is what something took over the number of nodes.
func curve(all []*bench, bgp, what string) (points []point) {
	for _, b := range all {
		for _, s := range b.series {
			if b.bgp() != bgp || s.what != what {
				continue
			}
			p := point{nodes: b.nodes()}
			var walls, cpus []float64
			for _, c := range s.costs {
				walls, cpus = append(walls, c.wall.Seconds()), append(cpus, c.cpu.Seconds())
			}
			p.wall, p.cpu = median(walls), median(cpus)
			points = append(points, p)
		}
	}
	slices.SortFunc(points, func(a, b point) int { return a.nodes - b.nodes })
	return points
}

// panel is a diagram: seconds over nodes.
type panel struct {
	title string
	lines []plotted
}

type plotted struct {
	name   string
	points []point
	value  func(point) float64
}

func panelsOf(all []*bench) []panel {
	wall, cpu := func(p point) float64 { return p.wall }, func(p point) float64 { return p.cpu }
	var panels []panel
	for _, side := range []struct {
		title string
		value func(point) float64
	}{{"wall, seconds", wall}, {"CPU-seconds of the whole computer", cpu}} {
		p := panel{title: side.title}
		for _, kind := range []string{"mesh", fmt.Sprintf("%d reflectors", reflectors)} {
			for _, what := range []string{whatFull, whatAgain, whatCheck} {
				p.lines = append(p.lines, plotted{kind + ": " + strings.ReplaceAll(what, "`", ""), curve(all, kind, what), side.value})
			}
		}
		panels = append(panels, p)
	}
	return panels
}

// The plot's measures, in pixels.
const (
	width, height = 420, 260
	left, top     = 50, 40
	panelWidth    = width + left + 30
	legend        = 130
)

// colours are readable on white and on black; the reflectors' lines are dashed.
var colours = []string{"#d1495b", "#3a86c8", "#5b9a3c"}

// plot draws panels beside each other (https://www.w3.org/TR/SVG2/).
func plot(w io.Writer, panels []panel) {
	fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12" fill="#888">`+"\n",
		panelWidth*len(panels), top+height+legend)
	for i, p := range panels {
		fmt.Fprintf(w, `<g transform="translate(%d,%d)">`+"\n", i*panelWidth+left, top)
		p.draw(w)
		fmt.Fprintln(w, "</g>")
	}
	fmt.Fprintln(w, "</svg>")
}

func (p panel) draw(w io.Writer) {
	mostNodes, most := 1, 1.0
	for _, l := range p.lines {
		for _, pt := range l.points {
			mostNodes, most = max(mostNodes, pt.nodes), max(most, l.value(pt))
		}
	}
	x := func(nodes int) float64 { return float64(nodes) / float64(mostNodes) * width }
	step := niceStep(most)
	most = step * float64(int(most/step)+1)
	y := func(v float64) float64 { return height - v/most*height }
	fmt.Fprintf(w, `<text x="0" y="-20" font-weight="bold">%s</text>`+"\n", p.title)
	for v := 0.0; v <= most; v += step {
		fmt.Fprintf(w, `<line x1="0" x2="%d" y1="%.1f" y2="%.1[2]f" stroke="#888" stroke-opacity="0.3"/><text x="-6" y="%.1f" text-anchor="end">%g</text>`+"\n", width, y(v), y(v)+4, v)
	}
	for n := 0; n <= mostNodes; n += 10 {
		fmt.Fprintf(w, `<text x="%.1f" y="%d" text-anchor="middle">%d</text>`+"\n", x(n), height+16, n)
	}
	fmt.Fprintf(w, `<text x="%d" y="%d" text-anchor="middle">Calico nodes</text>`+"\n", width/2, height+32)
	for i, l := range p.lines {
		style := fmt.Sprintf(`stroke="%s" stroke-width="2" fill="none"`, colours[i%len(colours)])
		if i >= len(colours) {
			style += ` stroke-dasharray="6 4"`
		}
		var path []string
		for _, pt := range l.points {
			path = append(path, fmt.Sprintf("%.1f,%.1f", x(pt.nodes), y(l.value(pt))))
		}
		fmt.Fprintf(w, `<polyline points="%s" %s/>`+"\n", strings.Join(path, " "), style)
		at := height + 50 + i*14
		fmt.Fprintf(w, `<line x1="0" x2="30" y1="%d" y2="%[1]d" %s/><text x="38" y="%d">%s</text>`+"\n", at, style, at+4, l.name)
	}
}

// niceStep is 1, 2 or 5 times a power of ten, so that there are five to ten of it.
func niceStep(most float64) float64 {
	for step := 1.0; ; step *= 10 {
		for _, s := range []float64{step, 2 * step, 5 * step} {
			if most/s <= 10 {
				return s
			}
		}
	}
}
