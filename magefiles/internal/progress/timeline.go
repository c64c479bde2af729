package progress

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// span is a task that has ended.
type span struct {
	kind       Kind
	path       []string
	start, end time.Time
}

// whole is the section of what concerns no stage alone.
const whole = "the whole lab"

// Timeline writes what was begun since a time, and has ended, as a Gantt chart in Mermaid, a section for each stage in the order of their
// beginning; times are from the first beginning on (https://mermaid.js.org/syntax/gantt.html).
func (t *Tree) Timeline(w io.Writer, since time.Time) error {
	t.mu.Lock()
	spans := slices.DeleteFunc(slices.Clone(t.spans), func(s span) bool { return s.start.Before(since) || s.kind == Stage })
	t.mu.Unlock()
	slices.SortStableFunc(spans, func(a, b span) int { return cmp.Or(a.start.Compare(b.start), -a.end.Compare(b.end)) })
	var order []string
	sections := map[string]*strings.Builder{}
	for _, s := range spans {
		section, what := whole, s.path
		if len(s.path) > 1 {
			section, what = s.path[0], s.path[1:]
		}
		b := sections[section]
		if b == nil {
			b = &strings.Builder{}
			sections[section] = b
			order = append(order, section)
		}
		ms := func(at time.Time) int64 { return at.Sub(spans[0].start).Milliseconds() }
		fmt.Fprintf(b, "    %s (%.2f s) :%d, %d\n", strings.Join(what, " "), s.end.Sub(s.start).Seconds(), ms(s.start), max(ms(s.end), ms(s.start)+1))
	}
	if _, err := fmt.Fprint(w, "```mermaid\ngantt\n    dateFormat x\n    axisFormat %M:%S\n"); err != nil {
		return err
	}
	for _, name := range order {
		if _, err := fmt.Fprintf(w, "    section %s\n%s", name, sections[name]); err != nil {
			return err
		}
	}
	_, err := fmt.Fprint(w, "```\n")
	return err
}
