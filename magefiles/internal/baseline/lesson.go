package baseline

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
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
	path := filepath.Join(stateDir, lessonFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return l, false, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &l)
	}
	if err != nil {
		return l, false, fmt.Errorf("%s: %w; end the lesson with: go tool mage reset", path, err)
	}
	return l, true, nil
}

// Write says that the lesson is under way.
func (l Lesson) Write(stateDir string) error {
	data, err := json.Marshal(l)
	if err != nil {
		return err
	}
	return machine.WriteFile(filepath.Join(stateDir, lessonFile), append(data, '\n'), 0o644)
}

// EndLesson ends the lesson that is under way, if any.
func EndLesson(stateDir string) error {
	err := os.Remove(filepath.Join(stateDir, lessonFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (l Lesson) String() string {
	return fmt.Sprintf("lesson %q is under way (step %d, since %s)", l.Chapter, l.Step, l.Started.Format("15:04"))
}
