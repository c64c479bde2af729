package challenge

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/keep"
)

// stateFile is where a lab's state directory says that a challenge is on.
const stateFile = "challenge.json"

// version is that of the state file. One of another is not understood: what follows from a seed may be something else.
const version = 1

// State is the challenge that is on. What is broken, and where, follows from Seed; what the lab looked like when it was broken is
// there as digests. So nobody reads the cause there by accident. Whoever wants to can find it out: the file is no secret.
type State struct {
	Version int       `json:"version"`
	Name    string    `json:"challenge"`
	Seed    uint64    `json:"seed"`
	Begun   time.Time `json:"begun,omitzero"` // zero: its set-up isn't through yet
	Hints   int       `json:"hints,omitempty"`
	Told    bool      `json:"told,omitempty"`  // whether the answer was shown
	Scars   []scar    `json:"scars,omitempty"` // what differed from the baseline when it began
	Unmet   []string  `json:"unmet,omitempty"` // conditions that didn't hold then, as digests
}

// scar is a difference from the baseline, as digests of what differs and of how it is.
type scar struct {
	What string `json:"what"`
	Is   string `json:"is"`
}

// On says whether the learner has been shown the symptom: before that the set-up may be half done.
func (s State) On() bool { return !s.Begun.IsZero() }

// Read returns the challenge of a lab; ok is false where there is none.
func Read(stateDir string) (s State, ok bool, err error) {
	path := filepath.Join(stateDir, stateFile)
	ok, err = keep.ReadJSON(path, &s)
	if !ok {
		return s, false, err
	}
	if err == nil && s.Version != version {
		err = fmt.Errorf("%s: its version is %d, not %d", path, s.Version, version)
	}
	if err == nil {
		if _, err = Find(s.Name); err != nil {
			err = fmt.Errorf("%s: %w", path, err)
		}
	}
	if err != nil {
		err = fmt.Errorf("%w; end the challenge with: go tool mage reset", err)
	}
	return s, true, err
}

// Write keeps it.
func (s State) Write(stateDir string) error {
	return keep.WriteJSON(filepath.Join(stateDir, stateFile), s, 0o600)
}

// End ends the challenge that is on, if any.
func End(stateDir string) error { return keep.Remove(filepath.Join(stateDir, stateFile)) }

// digest is of a text in one challenge: with another seed it is another one.
func (s State) digest(text string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %s", s.Seed, text))
	return hex.EncodeToString(sum[:8])
}

// New is the state of a challenge that isn't set up yet.
func New(name string, seed uint64) State { return State{Version: version, Name: name, Seed: seed} }

// Help says how much of it the learner has had.
func (s State) Help() string { return hints(s.Hints, s.Told) }
