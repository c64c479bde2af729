package target

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/baseline"
	"github.com/calico-cni-lab/lab/magefiles/internal/challenge"
	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/run"
	"github.com/calico-cni-lab/lab/magefiles/internal/stage"
	"github.com/calico-cni-lab/lab/magefiles/internal/ui"
)

// How a learner goes on.
const (
	goOn   = "mend it on the machines (go tool mage ssh MACHINE), then: go tool mage solved"
	stuck  = "stuck? go tool mage hint, and in the end: go tool mage answer\ngive up: go tool mage reset"
	within = "go on with it: go tool mage challenge; give it up: go tool mage reset"
)

// ChallengeName returns the challenge that is named behind `challenge` on a command line, "" where none is.
func ChallengeName(args []string) (string, error) { return named(args, "challenge", "challenge") }

// Challenge lists the challenges, with the score sheet and the one that is on; with a name it begins one. A seed decides what is broken, and
// where; nil is any.
func Challenge(ctx context.Context, r *run.Run, name string, seed *int) error {
	s, there, err := challenge.Read(r.StateDir)
	if err != nil {
		return err
	}
	if name == "" {
		return sheet(ctx, r, s)
	}
	c, err := challenge.Find(name)
	if err != nil {
		return err
	}
	switch {
	case s.On() && s.Name == name && seed == nil:
		return sheet(ctx, r, s)
	case s.On():
		return fmt.Errorf("challenge %s is on, and there is one at a time; %s", s.Name, within)
	case !there || s.Name != name || seed != nil:
		s = challenge.New(name, rand.Uint64())
	}
	if seed != nil {
		s.Seed = uint64(*seed)
	}
	return begin(ctx, r, c, s, there)
}

// begin breaks the lab. begun says that a set-up was interrupted before: then that is taken back first.
func begin(ctx context.Context, r *run.Run, c challenge.Challenge, s challenge.State, begun bool) error {
	l, b, err := resettable(ctx, r)
	if err != nil {
		return err
	}
	if l.Provider.Capabilities().Undo {
		return errors.New("a challenge breaks machines, and these existed before the lab: challenges are for nspawn, docker and vagrant")
	}
	if lesson, underWay, err := baseline.ReadLesson(r.StateDir); err != nil || underWay {
		return cmp.Or(err, fmt.Errorf("%s; leave it first: go tool mage reset", lesson))
	}
	k, err := challenge.Open(caseLab(l, b), s)
	if err != nil {
		return err
	}
	if begun {
		if _, err := restore(ctx, r, l, b, silent{}); err != nil { // what it says would give the cause away
			return err
		}
	}
	if err := well(ctx, l, b); err != nil {
		return err
	}
	if err := k.State.Write(r.StateDir); err != nil {
		return err
	}
	r.Console.Notice("the lab is being broken ...")
	if err := k.Break(ctx); err != nil {
		if ctx.Err() != nil {
			r.Console.Notice("finish it: go tool mage challenge %s; take it back: go tool mage reset", c.Name)
			return interrupted(ctx)
		}
		_, rerr := restore(ctx, r, l, b, news{r.Console})
		return fmt.Errorf("challenge %s can't be set up, and is taken back: %w", c.Name, errors.Join(err, rerr, challenge.End(r.StateDir)))
	}
	if err := k.State.Write(r.StateDir); err != nil {
		return err
	}
	story(r, k)
	return nil
}

// well refuses a lab that isn't as verify left it, or doesn't work, with what to do.
func well(ctx context.Context, l *run.Lab, b *baseline.Baseline) error {
	f := deepLook(ctx, l)
	if found := baseline.Condition(b).Test(&f); found.State != check.Holds {
		return fmt.Errorf("the lab isn't as it was after verify: %s; bring it back first: go tool mage reset", found.Found)
	}
	report, err := l.Viewer().Peek(ctx, everything)
	if err == nil && !report.OK {
		err = errors.New("the lab doesn't work as it should; see: go tool mage check; mend it: go tool mage verify")
	}
	if ctx.Err() != nil {
		return interrupted(ctx)
	}
	return err
}

// caseLab is a lab as challenges work with it.
func caseLab(l *run.Lab, b *baseline.Baseline) *challenge.Lab {
	return &challenge.Lab{
		Lab: l.Lab, Baseline: b, Slow: l.Slow, Host: l.Engine().Env.Host, Send: l.Observer().Send,
		Look:  func(ctx context.Context) fact.Lab { return deepLook(ctx, l) },
		Order: writer(l),
		Peek: func(ctx context.Context, packets bool) (check.Report, error) {
			return l.Viewer().Peek(ctx, stage.Goal{Stages: everything.Stages, Probe: packets})
		},
	}
}

// current opens the challenge that is on.
func current(ctx context.Context, r *run.Run) (*challenge.Case, *run.Lab, *baseline.Baseline, error) {
	s, there, err := challenge.Read(r.StateDir)
	switch {
	case err != nil:
		return nil, nil, nil, err
	case !there:
		return nil, nil, nil, errors.New("no challenge is on; begin one: go tool mage challenge")
	case !s.On():
		return nil, nil, nil, fmt.Errorf("the set-up of challenge %s was interrupted; finish it: go tool mage challenge %[1]s; take it back: go tool mage reset", s.Name)
	}
	l, b, err := resettable(ctx, r)
	if err != nil {
		return nil, nil, nil, err
	}
	k, err := challenge.Open(caseLab(l, b), s)
	if err != nil {
		return nil, nil, nil, err
	}
	k.See(ctx)
	return k, l, b, nil
}

// story shows the symptom.
func story(r *run.Run, k *challenge.Case) {
	r.Console.Notice("challenge %s: %s\n\n%s\n\n%s\n%s", k.Name, k.Title, k.Story(), goOn, stuck)
}

// sheet shows the score sheet, and the challenge that is on.
func sheet(ctx context.Context, r *run.Run, s challenge.State) error {
	scores, err := challenge.ReadSheet()
	if err != nil {
		return err
	}
	for _, line := range scores.Lines(s.Name) {
		r.Console.Notice("%s", line)
	}
	if s.Name == "" {
		r.Console.Notice("%s; begin one: go tool mage challenge %s", scores.Summary(), scores.Next())
		return nil
	}
	k, _, _, err := current(ctx, r)
	if err != nil {
		return err
	}
	r.Console.Notice("")
	story(r, k)
	return nil
}

// listScores shows the challenges that were tried.
func listScores(r *run.Run) error {
	scores, err := challenge.ReadSheet()
	if err != nil {
		return err
	}
	for _, line := range scores.Lines("") {
		if strings.HasSuffix(line, ")") { // it was tried
			r.Console.Notice("%s", line)
		}
	}
	r.Console.Notice("%s: go tool mage challenge", scores.Summary())
	return nil
}

// Hint shows the hints so far, and one more.
func Hint(ctx context.Context, r *run.Run) error {
	k, _, _, err := current(ctx, r)
	if err != nil {
		return err
	}
	if k.State.Hints < len(k.Hints) {
		k.State.Hints++
		if err := k.State.Write(r.StateDir); err != nil {
			return err
		}
	}
	for n := range k.State.Hints {
		r.Console.Notice("hint %d of %d\n%s\n", n+1, len(k.Hints), k.Hint(n+1))
	}
	if k.State.Hints == len(k.Hints) {
		r.Console.Notice("these are all; the answer: go tool mage answer")
	}
	return nil
}

// Solved says whether the challenge is solved, and ends it then; if not, what is wrong, and nothing of the cause.
func Solved(ctx context.Context, r *run.Run) error {
	k, l, b, err := current(ctx, r)
	if err != nil {
		return err
	}
	v, err := k.Judge(ctx)
	if ctx.Err() != nil {
		return interrupted(ctx)
	}
	if err != nil {
		return err
	}
	if !v.Solved() {
		for _, line := range v.Lines() {
			r.Console.Notice("%s", line)
		}
		return fmt.Errorf("challenge %s isn't solved yet", k.Name)
	}
	now := time.Now()
	if err := errors.Join(challenge.KeepSolved(k.State, now), challenge.End(r.StateDir)); err != nil {
		return err
	}
	r.Console.Notice("✓ solved: %s, %s\n\n%s\n", challenge.Lasted(now.Sub(k.State.Begun)), k.State.Help(), k.Why())
	if _, err := restore(ctx, r, l, b, silent{}); err != nil {
		return fmt.Errorf("the challenge is solved, but the lab isn't as it was: %w; go tool mage reset", err)
	}
	scores, err := challenge.ReadSheet()
	if err == nil {
		r.Console.Notice("the lab is as it was before; %s; next: go tool mage challenge %s", scores.Summary(), scores.Next())
	}
	return err
}

// Answer explains what is broken, from the lab as it is, and how it is mended. It is left to the learner to do so.
func Answer(ctx context.Context, r *run.Run) error {
	k, _, _, err := current(ctx, r)
	if err != nil {
		return err
	}
	k.State.Told = true
	if err := k.State.Write(r.StateDir); err != nil {
		return err
	}
	r.Console.Notice("%s\n\nSeen now:", k.Why())
	shown, err := k.Evidence(ctx)
	for _, s := range shown {
		r.Console.Notice("  %s$ %s\n    %s", s.Machine, s.Command, strings.ReplaceAll(cmp.Or(s.Printed, "(nothing)"), "\n", "\n    "))
	}
	if ctx.Err() != nil {
		return interrupted(ctx)
	}
	if err != nil {
		return err
	}
	r.Console.Notice("\nThis mends it:")
	for _, s := range k.Fix() {
		r.Console.Notice("  %s$ %s", s.Machine, s.Command)
	}
	r.Console.Notice("then: go tool mage solved")
	return nil
}

// notDuringChallenge refuses what would mend what a challenge broke, tell it, or get in its way; why says how.
func notDuringChallenge(r *run.Run, why string) error {
	s, there, err := challenge.Read(r.StateDir)
	if err != nil || !there {
		return err
	}
	return fmt.Errorf("challenge %s is on, and %s; %s", s.Name, why, within)
}

// giveUp ends the challenge that is on, if any, and notes that it wasn't solved.
func giveUp(r *run.Run) error {
	s, there, err := challenge.Read(r.StateDir)
	if !there {
		return err
	}
	if err == nil && s.On() { // a state that can't be read is removed, too
		if err := challenge.KeepGivenUp(s); err != nil {
			return err
		}
		r.Console.Notice("challenge %s is given up", s.Name)
	}
	return challenge.End(r.StateDir)
}

// checkOutside is check while a challenge is on: it shows whether packets arrive, as anybody could see, and neither what else doesn't hold
// nor what to do about it.
func checkOutside(r *run.Run, s challenge.State, report check.Report, asJSON bool) error {
	report = outside(report)
	report.Challenge = s.Name
	if asJSON {
		return errors.Join(ui.JSON(os.Stdout, report), fmt.Errorf("challenge %s is on", s.Name))
	}
	r.Console.Notice("challenge %s is on; check shows no more than anybody sees:", s.Name)
	for _, res := range report.Results {
		mark := map[check.State]string{check.Holds: "✓", check.Broken: "✗"}[res.State]
		r.Console.Notice("%s %s\n    %s", cmp.Or(mark, "?"), res.Expected, res.Found)
	}
	r.Console.Notice("the symptom: go tool mage challenge; every condition, at the price of all hints: go tool mage check -spoil")
	return fmt.Errorf("challenge %s is on", s.Name)
}

// outside is what of a report can be seen from outside: packets that arrive, or not.
func outside(report check.Report) check.Report {
	out := report
	out.OK, out.Results = false, nil
	for _, res := range report.Results {
		if !res.Probe {
			continue
		}
		res.Try, res.Mend, res.Left = "", "", ""
		if res.State == check.Unknown {
			res.Found = "nothing could be sent"
		}
		out.Results = append(out.Results, res)
	}
	return out
}

// spoil notes that the learner has had every condition shown.
func spoil(r *run.Run, s challenge.State) error {
	s.Hints = challenge.MostHints
	return s.Write(r.StateDir)
}
