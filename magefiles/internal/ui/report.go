package ui

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf16"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
)

// Report shows what holds and what doesn't. A stage of which everything holds is a line; verbose shows each condition.
func (c *Console) Report(r check.Report, verbose bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range stagesOf(r) {
		part := r.Of(name)
		text := conditions(len(part.Results))
		switch {
		case part.Count(check.Unknown) == len(part.Results):
			text = "nothing can be seen"
		case !part.OK:
			text = fmt.Sprintf("%d of %s", part.Count(check.Holds), text)
		}
		c.line("%s %-11s %s", c.sign(part), name, text)
		if verbose {
			for _, res := range part.Results {
				if res.OK() {
					c.line("    %s %s: %s", c.paint(green, "✓"), res.ID, c.paint(dim, indent(res.Found)))
				}
			}
		}
		c.unmet(part)
	}
	if r.OK {
		c.works(r)
		return
	}
	text := r.Tally()
	if n := r.Count(check.Unknown); n > 0 {
		text += fmt.Sprintf(", %d of them unknown", n)
	}
	c.line("%s", c.paint(bold, fmt.Sprintf("%s (%s)", text, seconds(r.Took))))
}

func conditions(n int) string {
	if n == 1 {
		return "1 condition holds"
	}
	return fmt.Sprintf("%d conditions hold", n)
}

// mark is ✓ where everything holds, ? where nothing is known to be broken, and ✗ elsewhere.
func mark(results ...check.Result) string {
	m := "✓"
	for _, res := range results {
		switch res.State {
		case check.Holds:
		case check.Unknown:
			m = "?"
		default:
			return "✗"
		}
	}
	return m
}

func (c *Console) sign(part check.Report) painted {
	m := mark(part.Results...)
	return c.paint(map[string]string{"✓": green, "?": dim, "✗": red}[m], m)
}

// unmet shows what doesn't hold of a stage: what is broken in full, what couldn't be looked at in a line for each reason.
func (c *Console) unmet(part check.Report) {
	var unknown []check.Result
	var broken []check.Result
	for _, res := range part.Unmet() {
		if res.State == check.Unknown {
			unknown = append(unknown, res)
		} else {
			broken = append(broken, res)
		}
	}
	for _, g := range check.Grouped(broken) {
		where := g.ID
		if len(g.Machines) > 1 {
			kind, _, _ := strings.Cut(g.ID, "/")
			where = kind + " on " + check.Names(g.Machines)
		}
		c.line("  %s: %s", c.paint(red, where), g.About())
		c.line("      found: %s", indent(g.Found))
		c.line("      try:   %s", g.Try)
		if g.Left != "" {
			c.line("      yours: %s", indent(g.Left))
		}
	}
	for _, line := range unseenLines(unknown) {
		c.line("  %s", c.paint(dim, "? "+line))
	}
}

// unseenLines are a line for all that couldn't be looked at on the same machines for one reason.
func unseenLines(results []check.Result) []string {
	var reasons []string
	kinds := map[string][]string{} // by reason
	for _, g := range check.Grouped(results) {
		kind, _, _ := strings.Cut(g.ID, "/")
		reason := ": " + firstLine(g.Found)
		if len(g.Machines) > 0 {
			reason = " on " + check.Names(g.Machines) + reason
		}
		if !slices.Contains(reasons, reason) {
			reasons = append(reasons, reason)
		}
		if !slices.Contains(kinds[reason], kind) {
			kinds[reason] = append(kinds[reason], kind)
		}
	}
	lines := make([]string, 0, len(reasons))
	for _, reason := range reasons {
		lines = append(lines, check.Names(kinds[reason])+reason)
	}
	return lines
}

func stagesOf(r check.Report) []string {
	var names []string
	for _, res := range r.Results {
		if len(names) == 0 || names[len(names)-1] != res.Stage {
			names = append(names, res.Stage)
		}
	}
	return names
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

func indent(s string) string { return strings.ReplaceAll(s, "\n", "\n             ") }

// Plan shows what verify would do: first, because the cache hasn't got it, and then stage by stage.
func (c *Console) Plan(stages, first []string, r check.Report) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.Count(check.Refused) > 0 {
		for _, res := range r.Unmet() {
			if res.State == check.Refused {
				c.line("%s: %s", c.paint(bold, res.Stage), res.Found)
			}
		}
		return
	}
	if r.OK {
		c.line("nothing to do: go tool mage verify would find everything done")
		return
	}
	if len(first) > 0 {
		c.line("%s %s", c.paint(bold, "»"), c.paint(bold, "first"))
		for _, what := range first {
			c.line("    %s", what)
		}
		c.line("      %s", c.paint(dim, "because that isn't in the cache yet"))
	}
	for _, name := range stages {
		part := r.Of(name)
		switch {
		case part.OK:
			c.line("  %-11s nothing", name)
		case part.Count(check.Unknown) == len(part.Results):
			c.line("%s %s looks again; nothing can be seen yet: %s", c.paint(bold, "»"), c.paint(bold, fmt.Sprintf("%-11s", name)), firstLine(part.Results[0].Found))
		default:
			c.line("%s %s", c.paint(bold, "»"), c.paint(bold, name))
			c.steps(part)
		}
	}
	if slices.ContainsFunc(r.Unmet(), check.Result.Mendable) {
		c.line("do it with: go tool mage verify")
	} else {
		c.line("there is nothing that go tool mage verify could do about it")
	}
}

// steps shows what a stage would do, and why. What can't be looked at yet is a line, with the first reason.
func (c *Console) steps(part check.Report) {
	unseen := ""
	for _, g := range check.Grouped(part.Unmet()) {
		if g.State == check.Unknown {
			unseen = cmp.Or(unseen, firstLine(g.Found))
			continue
		}
		what := g.Mend
		if g.Left != "" {
			what = "nothing, that is yours: " + firstLine(g.Left)
		}
		where := ""
		if len(g.Machines) > 0 {
			where = check.Names(g.Machines) + ": "
		}
		c.line("    %s%s", where, what)
		c.line("      %s", c.paint(dim, "because "+firstLine(g.Found)))
	}
	if n := part.Count(check.Unknown); n > 0 {
		c.line("    %s", c.paint(dim, fmt.Sprintf("looks again at what can't be seen yet (%d of %d conditions)", n, len(part.Results))))
		c.line("      %s", c.paint(dim, "because "+unseen))
	}
}

// Works is the last line of a report on a lab of which everything holds.
func (c *Console) Works(r check.Report) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.works(r)
}

func (c *Console) works(r check.Report) {
	c.line("%s", c.paint(bold, fmt.Sprintf("the lab works: all %d conditions hold (%s)", len(r.Results), seconds(r.Took))))
}

// Plumbed shows what the tutorial's reader looks at after plumbing: the CNI result, the pair of interfaces, the address and
// its block.
func (c *Console) Plumbed(node string, w fact.Workload, blocks []netip.Prefix) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := w.Attachment
	var result bytes.Buffer
	if json.Indent(&result, a.Result, "    ", "  ") != nil {
		result.Write(a.Result)
	}
	block := "of no block"
	for _, b := range blocks {
		if b.Contains(a.Address()) {
			block = "from block " + b.String()
		}
	}
	c.line("\n%s", c.paint(bold, w.Name+" on "+node))
	c.line("  address      %s, %s of %s", a.Address(), block, node)
	c.line("  interfaces   %s on %s <-> %s in the workload", a.HostInterface(), node, a.IfName)
	c.line("  sandbox key  %s", w.Container.NetworkSettings.SandboxKey)
	c.line("  CNI result   %s", result.String())
}

// Status shows what exists: machines, a line for each stage, and more.
func (c *Console) Status(name, hardware string, machines []machine.Status, stages []string, r check.Report, more [][2]string) {
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
	for _, s := range stages {
		part := r.Of(s)
		switch {
		case len(part.Results) == 0:
		case part.OK:
			c.line("%s %-11s %s", c.sign(part), s, c.paint(dim, conditions(len(part.Results))))
		default:
			c.line("%s %-11s %s", c.sign(part), s, check.Summary(part.Unmet()))
		}
	}
	if len(r.Results) > 0 {
		c.line("")
	}
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
			fmt.Fprintf(out, "| %s ", strings.ReplaceAll(command.Printable(cell), "|", "\\|"))
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
		rows = append(rows, []string{mark(res), res.ID, res.Expected, strings.ReplaceAll(res.Found, "\n", " ")})
	}
	fmt.Fprintf(out, "%d of %d conditions hold\n\n", r.Count(check.Holds), len(r.Results))
	Table(out, []string{"", "condition", "expected", "found"}, rows)
}

// JSON writes a value for programs, and for a terminal: JSON itself lets through what begins an escape sequence beyond ASCII.
func JSON(out io.Writer, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	var b bytes.Buffer
	for _, r := range string(data) {
		if r == '\n' || unicode.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&b, `\u%04x`, unit)
		}
	}
	fmt.Fprintln(&b)
	_, err = b.WriteTo(out)
	return err
}

// Error is an error as it may be printed, whoever wrote what it quotes.
func Error(err error) error {
	if err == nil {
		return nil
	}
	return shown{err}
}

type shown struct{ error }

func (e shown) Error() string { return command.Printable(e.error.Error()) }

func (e shown) Unwrap() error { return e.error }

// Summarize adds to the summary of a job of GitHub Actions, where there is one
// (https://docs.github.com/actions/reference/workflow-commands-for-github-actions#adding-a-job-summary).
func Summarize(write func(io.Writer)) error {
	file := os.Getenv("GITHUB_STEP_SUMMARY")
	if file == "" {
		return nil
	}
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	write(f)
	return f.Close()
}

// Finished ends a run with how long it took and what to type next.
func (c *Console) Finished(took time.Duration, next string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.line("finished in %s; next: %s", seconds(took), next)
}

// Next ends a run with how long it took and what may be typed next, each command with what it is for where there is room.
func (c *Console) Next(took time.Duration, commands [][2]string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	width := 0
	for _, command := range commands {
		width = max(width, len(c.asTyped(command[0])))
	}
	columns, _ := c.size()
	c.line("finished in %s; next:", seconds(took))
	for _, command := range commands {
		if text := fmt.Sprintf("  %-*s  # %s", width, c.asTyped(command[0]), command[1]); len(text) <= columns {
			c.line("%s", text)
		} else {
			c.line("  %s", command[0])
		}
	}
}
