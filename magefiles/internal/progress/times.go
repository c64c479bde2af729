package progress

import (
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/keep"
)

// Times are how long things took in earlier runs on this computer, in seconds.
type Times map[string]float64

// ReadTimes reads what WriteFile wrote. A file that can't be read is as good as none: nobody knows then how long something takes.
func ReadTimes(file string) Times {
	t := Times{}
	if _, err := keep.ReadJSON(file, &t); err != nil {
		return Times{}
	}
	return t
}

// WriteFile keeps the times, as a whole or not at all.
func (t Times) WriteFile(file string) error { return keep.WriteJSON(file, t, 0o644) }

// expectation is how long a run is going to take. Machines and stages take as long as on the last run of the same kind, which is one on the
// same machines that began with the same stage; artifacts that have to be made come on top.
type expectation struct {
	times Times
	of    string    // what runs of a kind have in common: layer and number of machines
	first string    // the stage that it began with
	from  time.Time // its beginning, or when the last artifact was made
	made  map[string]float64
}

// Expect begins a run of a kind, about which earlier ones may tell.
func (t *Tree) Expect(of string, times Times) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expectation = expectation{times: times, of: of, made: map[string]float64{}}
}

// Reached ends a run that came to its end, and returns all times with its own. changed says whether there is anything new.
func (t *Tree) Reached() (times Times, changed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.times == nil {
		return nil, false
	}
	for name, took := range t.made {
		t.times[name], changed = took, true
	}
	if _, known := t.times[t.kind()]; t.first != "" && (len(t.made) == 0 || !known) { // beside compilers everything takes longer
		t.times[t.kind()], changed = time.Since(t.from).Seconds(), true
	}
	return t.times, changed
}

func (e *expectation) kind() string { return e.of + ", from " + e.first }

func (e *expectation) began(k *task) {
	if k.kind == Stage && e.first == "" {
		e.first, e.from = k.name, k.begun
	}
}

func (e *expectation) ended(k *task, now time.Time, err error) {
	if k.kind != Making {
		return
	}
	e.from = now
	if e.made != nil && err == nil {
		e.made[k.name] = now.Sub(k.begun).Seconds()
	}
}

// enough is after how much of a task what is left is told by what is done.
const enough = 5 * time.Second

// left is how long a making is going to take: as long as the last time, or as what it has done says. 0 where nobody knows.
func (e *expectation) left(k *task, now time.Time) time.Duration {
	if k.kind != Making {
		return 0
	}
	took := now.Sub(k.begun)
	if last := seconds(e.times[k.name]); last > took {
		return last - took
	}
	counted := now.Sub(k.since)
	if c := k.count; c.Whole && c.Total > c.Done && c.Done*20 > c.Total && counted > enough {
		return time.Duration(float64(counted) * float64(c.Total-c.Done) / float64(c.Done))
	}
	return 0
}

// Left is how long the run is going to take from now on; 0 where nobody knows.
func (t *Tree) Left() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := seconds(t.times[t.kind()])
	if all == 0 || t.first == "" {
		return 0
	}
	now := time.Now()
	var longest time.Duration
	makes, known := false, true
	var walk func([]*task)
	walk = func(tasks []*task) {
		for _, k := range tasks {
			if k.kind == Making {
				left := t.left(k, now)
				makes, known, longest = true, known && left > 0, max(longest, left)
			}
			walk(k.parts)
		}
	}
	walk(t.roots)
	switch {
	case !known:
		return 0
	case makes:
		return longest + all
	}
	return max(all-now.Sub(t.from), 0)
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
