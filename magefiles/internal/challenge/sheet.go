package challenge

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/keep"
)

// Sheet is the learner's score sheet, by challenge. It is his, and not the lab's: it stays when the lab is destroyed.
type Sheet map[string]Score

// Score is what a learner has made of a challenge.
type Score struct {
	Solved  time.Time     `json:"solved,omitzero"` // the best time of all; zero: never
	Took    time.Duration `json:"took,omitempty"`
	Hints   int           `json:"hints,omitempty"`
	Told    bool          `json:"told,omitempty"`    // whether he had seen the answer
	GivenUp int           `json:"givenUp,omitempty"` // how often
}

// sheetFile is below the user's configuration directory, XDG_CONFIG_HOME or ~/.config.
func sheetFile() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "calico-cni-lab", "challenges.json"), nil
}

// ReadSheet reads what is kept.
func ReadSheet() (Sheet, error) {
	file, err := sheetFile()
	if err != nil {
		return nil, err
	}
	all := Sheet{}
	if _, err := keep.ReadJSON(file, &all); err != nil {
		return nil, fmt.Errorf("%w; it holds nothing but your scores: remove it to begin anew", err)
	}
	return all, nil
}

// changeScore changes the score of a challenge.
func changeScore(name string, change func(*Score)) error {
	all, err := ReadSheet()
	if err != nil {
		return err
	}
	score := all[name]
	change(&score)
	all[name] = score
	file, err := sheetFile()
	if err != nil {
		return err
	}
	return keep.WriteJSON(file, all, 0o644)
}

// KeepSolved notes that a challenge was solved. Of several times the best one stays: without the answer, with fewer hints, faster.
func KeepSolved(s State, at time.Time) error {
	return changeScore(s.Name, func(score *Score) {
		now := Score{Solved: at, Took: at.Sub(s.Begun), Hints: s.Hints, Told: s.Told, GivenUp: score.GivenUp}
		if score.Solved.IsZero() || now.better(*score) {
			*score = now
		}
	})
}

// KeepGivenUp notes that a challenge was given up.
func KeepGivenUp(s State) error { return changeScore(s.Name, func(score *Score) { score.GivenUp++ }) }

func (s Score) better(than Score) bool {
	switch {
	case s.Told != than.Told:
		return than.Told
	case s.Hints != than.Hints:
		return s.Hints < than.Hints
	}
	return s.Took < than.Took
}

func (s Score) String() string {
	var parts []string
	if !s.Solved.IsZero() {
		parts = append(parts, "solved in "+Lasted(s.Took), hints(s.Hints, s.Told))
	}
	if s.GivenUp > 0 {
		parts = append(parts, fmt.Sprintf("given up %s", times(s.GivenUp)))
	}
	return strings.Join(parts, ", ")
}

// hints says how much help there was.
func hints(n int, told bool) string {
	switch {
	case told:
		return "with the answer"
	case n == 0:
		return "no hint"
	case n == 1:
		return "1 hint"
	}
	return fmt.Sprintf("%d hints", n)
}

func times(n int) string {
	switch n {
	case 1:
		return "once"
	case 2:
		return "twice"
	}
	return fmt.Sprintf("%d times", n)
}

// Lasted writes how long somebody thought: "45s", "12m", "3h05m".
func Lasted(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	}
	return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
}

// Lines are the sheet for people, a line for each challenge; on is the one that is, "" for none.
func (all Sheet) Lines(on string) []string {
	width := 0
	for _, c := range All() {
		width = max(width, len(c.Name))
	}
	var lines []string
	for _, c := range All() {
		score, mark := all[c.Name], " "
		note := score.String()
		switch {
		case c.Name == on:
			mark, note = "…", strings.TrimPrefix(note+", on", ", ")
		case !score.Solved.IsZero():
			mark = "✓"
		}
		line := fmt.Sprintf("%s %-*s  %s", mark, width, c.Name, c.Title)
		if note != "" {
			line += " (" + note + ")"
		}
		lines = append(lines, line)
	}
	return lines
}

// Summary is the sheet in a line.
func (all Sheet) Summary() string {
	solved := 0
	for _, c := range All() {
		if !all[c.Name].Solved.IsZero() {
			solved++
		}
	}
	return fmt.Sprintf("%d of %d challenges solved", solved, len(All()))
}

// Next is the first that isn't solved; the first of all where all are.
func (all Sheet) Next() string {
	for _, c := range All() {
		if all[c.Name].Solved.IsZero() {
			return c.Name
		}
	}
	return All()[0].Name
}
