package report

import (
	"regexp"
	"strconv"
	"strings"
	"time"
)

// bar is a line of a Gantt chart as package progress writes it: what (0.42 s) :start, end in milliseconds.
var bar = regexp.MustCompile(`^\s+(.+) \([0-9.]+ s\) :(\d+), (\d+)$`)

// Timeline reads the Gantt chart of a run.
func Timeline(chart string) []Span {
	var all []Span
	section := ""
	for line := range strings.SplitSeq(chart, "\n") {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "section "); ok {
			section = name
			continue
		}
		m := bar.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		start, err := strconv.Atoi(m[2])
		end, err2 := strconv.Atoi(m[3])
		if err != nil || err2 != nil || end < start {
			continue
		}
		all = append(all, Span{section + ": " + m[1], time.Duration(start) * time.Millisecond, time.Duration(end-start) * time.Millisecond})
	}
	return all
}
