package learn

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
)

// Progress is what a reader has done. It is his, and not the lab's: it stays when the lab is destroyed.
type Progress struct {
	Done map[string]time.Time `json:"done"` // by chapter: when he came to its end
	At   map[string]int       `json:"at"`   // by chapter that was left: the step to go on with
}

// progressFile is where it is kept: below the user's configuration directory, XDG_CONFIG_HOME or ~/.config.
func progressFile() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "calico-cni-lab", "learn.json"), nil
}

// ReadProgress reads what is kept. A reader who has begun nothing has the zero progress.
func ReadProgress() (Progress, error) {
	p := Progress{Done: map[string]time.Time{}, At: map[string]int{}}
	file, err := progressFile()
	if err != nil {
		return p, err
	}
	data, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return p, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &p)
	}
	if err != nil {
		return p, fmt.Errorf("%s: %w; it holds nothing but what you have read: remove it to begin anew", file, err)
	}
	if p.Done == nil {
		p.Done = map[string]time.Time{}
	}
	if p.At == nil {
		p.At = map[string]int{}
	}
	return p, nil
}

// Write keeps it.
func (p Progress) Write() error {
	file, err := progressFile()
	if err != nil {
		return err
	}
	data, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	return machine.WriteFile(file, append(data, '\n'), 0o644)
}
