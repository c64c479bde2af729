// Package vuln reads what govulncheck finds, and the list of findings that are accepted for a while.
package vuln

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// Finding is a known vulnerability of a module that is used.
type Finding struct {
	ID      string // GO-2025-1234
	Module  string
	Have    string // release
	FixedIn string // "" where there is no fixed release
	Summary string
}

// message is one of those that `govulncheck -format json` writes (golang.org/x/vuln/internal/govulncheck).
type message struct {
	OSV *struct {
		ID      string `json:"id"`
		Summary string `json:"summary"`
	} `json:"osv"`
	Finding *struct {
		OSV     string `json:"osv"`
		FixedIn string `json:"fixed_version"`
		Trace   []struct {
			Module   string `json:"module"`
			Version  string `json:"version"`
			Package  string `json:"package"`
			Function string `json:"function"`
		} `json:"trace"`
	} `json:"finding"`
}

// Level is how near a vulnerability must be to count.
type Level int

// The levels.
const (
	Imported Level = iota // a package that has it is compiled in
	Called                // a function that has it can be called
)

// Parse reads the findings of a run at a level or nearer, each once for a module, in the order of their IDs.
func Parse(r io.Reader, level Level) ([]Finding, error) {
	summaries := map[string]string{}
	found := map[[2]string]Finding{}
	for dec := json.NewDecoder(r); ; {
		var m message
		err := dec.Decode(&m)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("govulncheck's report: %w", err)
		}
		if m.OSV != nil {
			summaries[m.OSV.ID] = m.OSV.Summary
		}
		if m.Finding == nil || len(m.Finding.Trace) == 0 {
			continue
		}
		at := m.Finding.Trace[0]
		if at.Package == "" || level == Called && at.Function == "" {
			continue
		}
		found[[2]string{m.Finding.OSV, at.Module}] = Finding{ID: m.Finding.OSV, Module: at.Module, Have: at.Version, FixedIn: m.Finding.FixedIn}
	}
	var all []Finding
	for _, f := range found {
		f.Summary = summaries[f.ID]
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b Finding) int { return strings.Compare(a.ID+a.Module, b.ID+b.Module) })
	return all, nil
}

// Exception is a finding that no pin can cure, and until when that is believed.
type Exception struct {
	ID     string    `yaml:"id"`
	Module string    `yaml:"module"`
	Reason string    `yaml:"reason"`
	Until  time.Time `yaml:"until"` // a day; from then on it counts again
}

// ReadExceptions reads a list of exceptions. One that isn't whole is an error.
func ReadExceptions(file string) ([]Exception, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	dec := yaml.NewDecoder(f)
	dec.KnownFields(true)
	var all []Exception
	if err := dec.Decode(&all); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	for i, e := range all {
		if e.ID == "" || e.Module == "" || e.Reason == "" || e.Until.IsZero() {
			return nil, fmt.Errorf("%s: entry %d needs id, module, reason and until", file, i+1)
		}
	}
	return all, nil
}

// Faults returns what is wrong: findings that are not excepted or no longer, and exceptions that nothing needs.
func Faults(findings []Finding, exceptions []Exception, now time.Time) []error {
	var faults []error
	used := make([]bool, len(exceptions))
	for _, f := range findings {
		i := slices.IndexFunc(exceptions, func(e Exception) bool { return e.ID == f.ID && e.Module == f.Module })
		if i >= 0 {
			used[i] = true
			if now.Before(exceptions[i].Until) {
				continue
			}
		}
		text := fmt.Sprintf("%s in %s %s: %s", f.ID, f.Module, f.Have, f.Summary)
		if f.FixedIn != "" {
			text += "; fixed in " + f.FixedIn
		}
		if i >= 0 {
			text += fmt.Sprintf("; its exception ended on %s", exceptions[i].Until.Format(time.DateOnly))
		}
		faults = append(faults, errors.New(text))
	}
	for i, e := range exceptions {
		if !used[i] {
			faults = append(faults, fmt.Errorf("%s in %s is excepted, but not found any more; remove the exception", e.ID, e.Module))
		}
	}
	return faults
}
