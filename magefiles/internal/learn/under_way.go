package learn

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/baseline"
	"github.com/calico-cni-lab/lab/magefiles/internal/learn/lesson"
)

// begin returns the step to begin a chapter with: at, if the lab is in that lesson; else the first, and then the lab must be well
// and as it was. Nothing is changed.
func (r *Room) begin(ctx context.Context, c lesson.Chapter, at int) (int, error) {
	l, underWay, err := baseline.ReadLesson(r.run.StateDir)
	if err != nil {
		return 0, err
	}
	if underWay && l.Chapter == c.Name {
		return min(at, len(c.Steps)-1), nil
	}
	if underWay {
		return 0, fmt.Errorf("%s; go on with it: go tool mage learn %s, or leave it first: go tool mage reset", l, l.Chapter)
	}
	lines, unseen := r.Differs(ctx)
	switch {
	case unseen != "":
		return 0, fmt.Errorf("whether the lab is as it was can't be seen: %s; try: go tool mage verify", unseen)
	case len(lines) > 0:
		return 0, fmt.Errorf("the lab isn't as it was after verify: %s; bring it back first: go tool mage reset", strings.Join(lines, "; "))
	}
	if report, _ := r.report(ctx); !report.OK {
		return 0, errors.New("the lab doesn't work as it should; see: go tool mage check; mend it: go tool mage verify")
	}
	return 0, nil
}

// Keep says that a lesson is under way, for every other target.
func (r *Room) Keep(c lesson.Chapter, step int) error {
	l, underWay, err := baseline.ReadLesson(r.run.StateDir)
	if err != nil || !underWay || l.Chapter != c.Name {
		l = baseline.Lesson{Chapter: c.Name, Started: time.Now()}
	}
	l.Step = step + 1
	return l.Write(r.run.StateDir)
}

// end ends a lesson whose reader came to its end. What it left behind all the same is brought back.
func (r *Room) end(ctx context.Context, c lesson.Chapter) error {
	made, err := r.lab.Made(ctx)
	if err != nil || !made { // the last chapter destroys the lab
		return err
	}
	if lines, unseen := r.Differs(ctx); len(lines) > 0 || unseen != "" {
		if err := r.Reset(ctx); err != nil {
			return fmt.Errorf("after %s: %w", c.Name, err)
		}
	}
	return baseline.EndLesson(r.run.StateDir)
}
