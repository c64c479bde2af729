package target

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/explain"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/run"
	"github.com/calico-cni-lab/lab/magefiles/internal/stage"
	"github.com/calico-cni-lab/lab/magefiles/internal/view"
)

// View serves a page that shows the lab live, until it is interrupted. Without an address only this computer can see it. While a
// challenge is on the page conceals what the lab thinks of what it shows.
func View(ctx context.Context, r *run.Run, address string, open bool) error {
	l, err := r.Lab(ctx)
	if err != nil {
		return err
	}
	token := ""
	if address == "" {
		address = "127.0.0.1:0"
	} else if host, _, err := net.SplitHostPort(address); err != nil {
		return fmt.Errorf("-listen=%s: say an address and a port, such as 127.0.0.1:8080", address)
	} else if a := net.ParseIP(host); a == nil || !a.IsLoopback() {
		token = rand.Text()
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	url := "http://" + listener.Addr().String() + "/"
	if token != "" {
		url += "?token=" + token
		r.Console.Notice("others can reach it, and send packets in the lab with it: keep the address, which has a token, to yourself")
	}
	r.Console.Notice("the lab, live: %s (Ctrl-C ends it)", url)
	if err := l.AnyRuns(ctx); err != nil {
		r.Console.Notice("so far the page has only what lab.yaml says: %v", err)
	}
	if open {
		browse(ctx, url)
	}
	err = view.New(watched(r, l.Name), token).Serve(ctx, listener)
	if err == nil {
		r.Console.Notice("the page is gone")
	}
	return err
}

// browse opens a browser where there is a desktop. Where that fails the address has been printed.
func browse(ctx context.Context, url string) {
	opener := ""
	switch {
	case runtime.GOOS == "darwin":
		opener = "open"
	case os.Getenv("DISPLAY") != "" || os.Getenv("WAYLAND_DISPLAY") != "":
		opener = "xdg-open"
	}
	if opener == "" || os.Geteuid() == 0 { // root's browser is nobody's
		return
	}
	cmd := exec.CommandContext(ctx, opener, url)
	if cmd.Start() == nil {
		go func() { _ = cmd.Wait() }() // the address is printed all the same
	}
}

// probeEvery is how often packets are sent where nothing changes: they cost more than a look.
const probeEvery = 10 * time.Second

// mostDeep is up to how many machines a look has all that can be seen, confd too: of three it takes hardly longer.
const mostDeep = 8

// watched is the lab as the page asks about it.
func watched(r *run.Run, name string) view.Lab {
	w := &watcher{run: r}
	return view.Lab{
		Name: name,
		Look: func(ctx context.Context) (view.Seen, error) {
			l, engine, done, err := w.current(ctx)
			if err != nil {
				return view.Seen{}, err
			}
			defer done()
			report, err := engine.Peek(ctx, everything)
			return view.Seen{Lab: l.Lab, Facts: engine.Facts(), Report: report}, err
		},
		Ask: func(ctx context.Context, words []string) (explain.Story, error) {
			l, _, done, err := w.current(ctx)
			if err != nil {
				return explain.Story{}, err
			}
			defer done()
			topic, err := explain.Find(l.Lab, words)
			if err != nil {
				return explain.Story{}, err
			}
			asked, trouble, err := look(ctx, l)
			if err != nil {
				return explain.Story{}, err
			}
			story, err := topic.Answer(ctx, asked, words)
			story.Trouble = trouble
			return story, err
		},
		Conceal: func() string { return concealed(r) },
	}
}

// watcher follows the lab's definition while it is watched.
type watcher struct {
	run *run.Run

	using   sync.RWMutex   // read by those that use the lab, written by who reads it anew
	probing sync.WaitGroup // by those that still send packets in it
	lab     *run.Lab       // nil before it could be read
	text    string         // of the files that it was read from
	engine  *stage.Engine
}

// current returns the lab as its file has it now, and an engine that looks at it, both until done is called. The files are read each time:
// that takes no time, and an editor that puts another file in the place of one is followed, too.
func (w *watcher) current(ctx context.Context) (l *run.Lab, engine *stage.Engine, done func(), err error) {
	for {
		w.using.RLock()
		if w.unchanged() {
			return w.lab, w.engine, w.using.RUnlock, nil
		}
		w.using.RUnlock()
		if err := w.read(ctx); err != nil {
			return nil, nil, nil, err
		}
	}
}

func (w *watcher) unchanged() bool { return w.lab != nil && contents(w.lab.Files) == w.text }

// read reads the lab anew, once nobody uses it as it was.
func (w *watcher) read(ctx context.Context) error {
	w.using.Lock()
	defer w.using.Unlock()
	if w.unchanged() { // somebody else has
		return nil
	}
	if w.lab != nil {
		w.lab = nil
		w.probing.Wait()
		if err := w.run.Reset(); err != nil {
			return err
		}
	}
	l, err := w.run.Lab(ctx)
	if err != nil {
		return err
	}
	observer := l.Observer()
	if len(l.Machines) <= mostDeep {
		observer = observer.Deep()
	}
	w.lab, w.text, w.engine = l, contents(l.Files), l.Viewer()
	w.engine.Look = &sparing{Looker: observer, probing: &w.probing}
	return nil
}

// contents are those of files; of one that can't be read, why.
func contents(files []string) string {
	text := ""
	for _, file := range files {
		data, err := os.ReadFile(file)
		text += fmt.Sprintln(string(data), err)
	}
	return text
}

// sparing is a looker that sends packets anew only where routes or workloads have changed, or now and then, and doesn't wait for their
// answers: packets that are lost take longer than a look, and what came of them is seen by the next.
type sparing struct {
	stage.Looker
	probing *sync.WaitGroup
	mu      sync.Mutex
	sending bool
	at      time.Time
	of      string
	last    map[string]fact.Seen[[]fact.Probe]
}

// Probe implements stage.Looker.
func (s *sparing) Probe(ctx context.Context, f *fact.Lab) map[string]fact.Seen[[]fact.Probe] {
	s.mu.Lock()
	defer s.mu.Unlock()
	of := ways(f)
	switch {
	case s.sending, s.last != nil && of == s.of && time.Since(s.at) < probeEvery:
	case s.last == nil:
		s.last, s.of, s.at = s.Looker.Probe(ctx, f), of, time.Now()
	default:
		s.sending = true
		facts := f.Clone()
		s.probing.Go(func() {
			probes := s.Looker.Probe(ctx, &facts)
			s.mu.Lock()
			defer s.mu.Unlock()
			s.last, s.of, s.at, s.sending = probes, of, time.Now(), false
		})
	}
	return s.last
}

// ways is a text that is another one when packets may go other ways.
func ways(f *fact.Lab) string {
	text := fmt.Sprint(f.Datastore.Value.Policies)
	for _, name := range slices.Sorted(maps.Keys(f.Machines)) {
		m := f.Machines[name]
		text += fmt.Sprint(name, m.Routes.Value, m.Forwarding.Value)
		for _, a := range m.Attachments.Value {
			text += fmt.Sprint(a.NetNS, a.Live)
		}
	}
	return text
}

// concealed says why the page isn't to tell what is wrong: a challenge is on. "" where it may.
func concealed(r *run.Run) string {
	if err := notDuringChallenge(r, "the page would tell what it broke"); err != nil {
		return err.Error()
	}
	return ""
}
