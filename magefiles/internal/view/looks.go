package view

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"sync"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/explain"
	"github.com/calico-cni-lab/lab/magefiles/internal/picture"
)

const (
	// pause is between two looks; where a look takes longer, so does the pause: the machines have other things to do.
	pause       = time.Second
	mostChanges = 60 // that are remembered
)

// frame is what the page shows.
type frame struct {
	Lab       string                  `json:"lab"`
	At        time.Time               `json:"at"`
	Error     string                  `json:"error,omitempty"` // why nothing was seen
	Concealed string                  `json:"concealed,omitempty"`
	Drawings  map[picture.What]string `json:"drawings"` // those that the page hasn't got yet
	OK        bool                    `json:"ok"`
	Verdict   string                  `json:"verdict"`
	Stages    []stagePart             `json:"stages"`
	Machines  []picture.Machine       `json:"machines"`
	Changes   []change                `json:"changes"` // the newest first
	Fresh     []string                `json:"fresh"`   // ids of what changed in the last look
	hashes    map[picture.What]string
}

type stagePart struct {
	Name  string         `json:"name"`
	OK    bool           `json:"ok"`
	Count int            `json:"count"`
	Unmet []check.Result `json:"unmet"`
}

type change struct {
	picture.Change
	At time.Time `json:"at"`
}

// without returns the frame without the drawings that were sent already, and notes those that are sent now.
func (f *frame) without(sent map[picture.What]string) *frame {
	some := *f
	some.Drawings = map[picture.What]string{}
	for w, hash := range f.hashes {
		if sent[w] != hash {
			sent[w], some.Drawings[w] = hash, f.Drawings[w]
		}
	}
	return &some
}

// looks looks at the lab while somebody watches.
type looks struct {
	lab  Lab
	woke chan struct{} // somebody came

	mu       sync.Mutex
	watchers map[chan *frame]bool
	last     *frame
	picture  *picture.Picture
	changes  []change
}

func newLooks(l Lab) *looks {
	return &looks{lab: l, woke: make(chan struct{}, 1), watchers: map[chan *frame]bool{}}
}

// watch returns what is seen from now on, the newest only, beginning with what was seen last.
func (k *looks) watch() (frames <-chan *frame, leave func()) {
	c := make(chan *frame, 1)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.watchers[c] = true
	if k.last != nil {
		c <- k.last
	}
	select {
	case k.woke <- struct{}{}:
	default:
	}
	return c, func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		delete(k.watchers, c)
	}
}

func (k *looks) watched() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.watchers) > 0
}

// run looks until the context ends. While nobody watches it waits.
func (k *looks) run(ctx context.Context) {
	for {
		if !k.watched() {
			select {
			case <-k.woke:
			case <-ctx.Done():
				return
			}
			continue
		}
		start := time.Now()
		k.look(ctx)
		wait := time.NewTimer(max(pause, time.Since(start)))
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return
		}
	}
}

// look looks once and tells everybody.
func (k *looks) look(ctx context.Context) {
	seen, err := k.lab.Look(ctx)
	if ctx.Err() != nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if err != nil {
		f := frame{Lab: k.lab.Name, Stages: []stagePart{}, Machines: []picture.Machine{}, Changes: []change{}}
		if k.last != nil {
			f = *k.last
		}
		f.Error, f.At, f.Fresh = err.Error(), time.Now(), []string{}
		k.tell(&f)
		return
	}
	concealed := k.lab.Conceal()
	p := picture.Of(seen.Lab, &seen.Facts, &seen.Report)
	if concealed != "" {
		p.Conceal()
	}
	f := &frame{Lab: k.lab.Name, At: seen.Facts.At, Concealed: concealed, Stages: []stagePart{}, Machines: p.Machines, Fresh: []string{}}
	if concealed == "" {
		f.judge(&seen.Report)
		k.compare(&p, f)
		k.picture = &p
	} else {
		k.picture = nil // what it was before isn't compared with what it is after
		k.changes = nil
	}
	f.Changes = append([]change{}, k.changes...)
	f.draw(&p)
	k.tell(f)
}

// tell gives a frame to everybody; who hasn't taken the one before gets only this one.
func (k *looks) tell(f *frame) {
	k.last = f
	for c := range k.watchers {
		newest := f
		select {
		case old := <-c:
			newest = f.after(old)
		default:
		}
		c <- newest
	}
}

// after keeps what was fresh in a frame that nobody has seen.
func (f *frame) after(old *frame) *frame {
	if len(old.Fresh) == 0 {
		return f
	}
	both := *f
	both.Fresh = append(slices.Clone(old.Fresh), f.Fresh...)
	return &both
}

func (f *frame) judge(r *check.Report) {
	f.OK, f.Verdict = r.OK, r.Tally()
	if r.OK {
		f.Verdict = "all conditions hold"
	}
	for _, res := range r.Results {
		if n := len(f.Stages); n == 0 || f.Stages[n-1].Name != res.Stage {
			part := r.Of(res.Stage)
			f.Stages = append(f.Stages, stagePart{res.Stage, part.OK, len(part.Results), part.Unmet()})
		}
	}
}

func (k *looks) compare(p *picture.Picture, f *frame) {
	if k.picture == nil {
		return
	}
	now := p.Changes(k.picture)
	for _, c := range now {
		if c.ID != "" {
			f.Fresh = append(f.Fresh, c.ID)
		}
	}
	var all []change
	for _, c := range now {
		all = append(all, change{c, f.At})
	}
	k.changes = slices.Concat(all, k.changes)
	k.changes = k.changes[:min(len(k.changes), mostChanges)]
}

// draw draws the pictures anew.
func (f *frame) draw(p *picture.Picture) {
	f.Drawings, f.hashes = map[picture.What]string{}, map[picture.What]string{}
	for _, w := range []picture.What{picture.Topology, picture.BGP, picture.Blocks} {
		f.Drawings[w] = p.Draw(w)
		sum := sha256.Sum256([]byte(f.Drawings[w]))
		f.hashes[w] = hex.EncodeToString(sum[:])
	}
}

// travel is a packet's way in the picture that is shown now.
func (k *looks) travel(s explain.Story) *picture.Journey {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.picture == nil {
		return nil
	}
	p := *k.picture
	p.Travel(s)
	return p.Packet
}
