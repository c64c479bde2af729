package learn

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/keep"
)

// Progress is what a reader has done. It is his, and not the lab's: it stays when the lab is destroyed. What he is at is the lab's
// (baseline.Lesson).
type Progress struct {
	Done map[string]time.Time `json:"done"` // by chapter: when he came to its end
}

// progressFile is where it is kept: below the user's configuration directory, XDG_CONFIG_HOME or ~/.config.
func progressFile() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "calico-cni-lab", "learn.json"), nil
}

// ReadProgress reads what is kept. A reader who has begun nothing has done nothing.
func ReadProgress() (Progress, error) {
	var p Progress
	file, err := progressFile()
	if err != nil {
		return p, err
	}
	if _, err := keep.ReadJSON(file, &p); err != nil {
		return p, fmt.Errorf("%w; it holds nothing but what you have read: remove it to begin anew", err)
	}
	return p, nil
}

// finish notes that a reader has come to a chapter's end.
func finish(chapter string) error {
	p, err := ReadProgress()
	if err != nil {
		return err
	}
	if p.Done == nil {
		p.Done = map[string]time.Time{}
	}
	p.Done[chapter] = time.Now()
	file, err := progressFile()
	if err != nil {
		return err
	}
	return keep.WriteJSON(file, p, 0o644)
}
