package ui

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/calico"
	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
)

// Report shows what was proved and what was not.
func (c *Console) Report(r check.Report) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, res := range r.Results {
		mark := c.paint(green, "✓")
		if !res.OK {
			mark = c.paint(red, "✗")
		}
		c.line("%s %s", mark, res.Name)
		if res.OK {
			c.line("    %s", c.paint(dim, res.Seen))
			continue
		}
		c.line("    seen: %s", indent(res.Seen))
		c.line("    look: %s", res.Hint)
	}
	failed := len(r.Failed())
	if failed == 0 {
		c.line("%s", c.paint(bold, fmt.Sprintf("the lab works: %d of %d conditions hold (%s)", len(r.Results), len(r.Results), seconds(r.Took))))
		return
	}
	c.line("%s", c.paint(bold, fmt.Sprintf("%d of %d conditions do not hold (%s)", failed, len(r.Results), seconds(r.Took))))
}

func indent(s string) string {
	return string(bytes.ReplaceAll([]byte(s), []byte("\n"), []byte("\n    ")))
}

// Plumbed shows what the tutorial's reader looks at after plumbing: the CNI result, the pair of interfaces, the
// address and its block.
func (c *Console) Plumbed(workloads []calico.Plumbed) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range workloads {
		var result bytes.Buffer
		if json.Indent(&result, w.Result, "    ", "  ") != nil {
			result.Write(w.Result)
		}
		c.line("\n%s", c.paint(bold, "workload on "+w.Node.Name))
		c.line("  address      %s, from block %s of %s", w.Address, block(w.Block), w.Node.Name)
		c.line("  interfaces   %s on %s <-> %s in the workload", w.HostInterface(), w.Node.Name, w.IfName)
		c.line("  sandbox key  %s", w.SandboxKey)
		c.line("  CNI result   %s", result.String())
	}
}

func block(p netip.Prefix) string {
	if !p.IsValid() {
		return "(no route for it yet)"
	}
	return p.String()
}

// Status shows what exists.
func (c *Console) Status(name, hardware string, machines []machine.Status, more [][2]string) {
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "MACHINE\tROLE\tADDRESS\tSTATE\tMEMORY")
	for _, m := range machines {
		memory := "-"
		if m.Memory > 0 {
			memory = fmt.Sprintf("%d MB", m.Memory>>20)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", m.Machine, m.Role, m.Address, m.State, memory)
	}
	w.Flush()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.line("lab %s on %s\n\n%s", c.paint(bold, name), hardware, b.String())
	for _, kv := range more {
		c.line("%-10s %s", kv[0], kv[1])
	}
}

// Table shows measurements as a Markdown table.
func (c *Console) Table(header []string, rows [][]string) {
	var b bytes.Buffer
	Table(&b, header, rows)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.line("%s", b.String())
}

// Table writes a Markdown table.
func Table(out io.Writer, header []string, rows [][]string) {
	write := func(cells []string) {
		for _, cell := range cells {
			fmt.Fprintf(out, "| %s ", strings.ReplaceAll(cell, "|", "\\|"))
		}
		fmt.Fprintln(out, "|")
	}
	write(header)
	rule := make([]string, len(header))
	for i := range rule {
		rule[i] = "---"
	}
	write(rule)
	for _, r := range rows {
		write(r)
	}
}

// Markdown writes a report for a page.
func Markdown(out io.Writer, r check.Report) {
	var rows [][]string
	for _, res := range r.Results {
		mark := "✓"
		if !res.OK {
			mark = "✗"
		}
		rows = append(rows, []string{mark, res.Name, strings.ReplaceAll(res.Seen, "\n", " ")})
	}
	fmt.Fprintf(out, "%d of %d conditions hold\n\n", len(r.Results)-len(r.Failed()), len(r.Results))
	Table(out, []string{"", "condition", "seen"}, rows)
}

// Finished ends a run with how long it took and what to type next.
func (c *Console) Finished(took time.Duration, next string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.line("finished in %s; next: %s", seconds(took), next)
}
