package baseline

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/keep"
)

// lessonFile is where a lab's state directory says that a lesson is under way.
const lessonFile = "lesson.json"

// Lesson is the lesson that is under way: while it is, the lab differs from its baseline on purpose.
type Lesson struct {
	Chapter  string            `json:"chapter"`
	Step     int               `json:"step"`               // from 1: the one to go on with
	Captures map[string]string `json:"captures,omitempty"` // what the steps before it captured, by name
	Shells   map[string]string `json:"shells,omitempty"`   // by machine: commands that make a shell what theirs had become
	Started  time.Time         `json:"started"`
}

// ReadLesson returns the lesson that is under way; ok is false where none is.
func ReadLesson(stateDir string) (l Lesson, ok bool, err error) {
	ok, err = keep.ReadJSON(filepath.Join(stateDir, lessonFile), &l)
	if err != nil {
		return l, false, fmt.Errorf("%w; end the lesson with: go tool mage reset", err)
	}
	return l, ok, nil
}

// Write says that the lesson is under way.
func (l Lesson) Write(stateDir string) error {
	return keep.WriteJSON(filepath.Join(stateDir, lessonFile), l, 0o644)
}

// EndLesson ends the lesson that is under way, if any.
func EndLesson(stateDir string) error { return keep.Remove(filepath.Join(stateDir, lessonFile)) }

func (l Lesson) String() string {
	return fmt.Sprintf("lesson %q is under way (step %d, since %s)", l.Chapter, l.Step, l.Started.Format("15:04"))
}
