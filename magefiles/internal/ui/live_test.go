package ui

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mattn/go-runewidth"

	"github.com/calico-cni-lab/lab/magefiles/internal/progress"
)

// terminal is a console on a terminal of a size.
func terminal(out io.Writer, color bool, width, height int) *Console {
	c := &Console{Tasks: &progress.Tree{}, out: out, color: color, live: true, size: func() (int, int) { return width, height }}
	c.Tasks.Began, c.Tasks.Ended = c.making, c.made
	return c
}

// firstRun begins what a first run does at once, as it is after four minutes.
func firstRun(ctx context.Context, c *Console) {
	c.Tasks.Expect("nspawn, 3 machines", progress.Times{"nspawn, 3 machines, from up": 8, "compiling Calico": 300, "making the box": 1})
	up, _ := progress.Begin(ctx, progress.Stage, "up")
	apply, _ := progress.Begin(up, progress.Step, "apply")
	compiling, _ := progress.Begin(apply, progress.Making, "compiling Calico")
	progress.Report(compiling, progress.Count{Done: 1204, Total: 1523, What: "packages", Whole: true})
	box, _ := progress.Begin(apply, progress.Making, "making the box")
	progress.Report(box, progress.Count{Done: 60, Total: 80, What: "MB fetched"})
	modules, _ := progress.Begin(apply, progress.Making, "compiling etcd")
	progress.Report(modules, progress.Count{Done: 31, What: "MB fetched"})
	time.Sleep(4 * time.Minute)
	calico, _ := progress.Begin(ctx, progress.Stage, "calico")
	step, _ := progress.Begin(calico, progress.Step, "apply")
	for i := range 5 {
		progress.Begin(step, progress.Machine, fmt.Sprintf("calico%d", i+1))
	}
	progress.Report(step, progress.Count{Done: 2, Total: 7, What: "machines"})
	etcd, _ := progress.Begin(ctx, progress.Stage, "etcd")
	progress.Begin(etcd, progress.Step, "wait")
	time.Sleep(3 * time.Second)
}

// TestTasks: what a first run does at once, on a terminal of the usual size, on a narrow one and on one that is too low for it.
func TestTasks(t *testing.T) {
	for name, size := range map[string][2]int{"live-80": {80, 24}, "live-40": {40, 24}, "live-low": {80, 7}} {
		synctest.Test(t, func(t *testing.T) {
			c := terminal(io.Discard, false, size[0], size[1])
			firstRun(progress.In(t.Context(), c.Tasks), c)
			lines := c.tasks()
			for _, l := range lines {
				if n := runewidth.StringWidth(l); n >= size[0] {
					t.Errorf("%d columns: %s", n, l)
				}
			}
			if len(lines) > size[1]-2 {
				t.Errorf("%d lines", len(lines))
			}
			compare(t, name, []byte(strings.Join(lines, "\n")+"\n"))
		})
	}
}

// screen is a terminal that obeys what a console writes, and knows no more.
type screen struct {
	rows    []string
	at, col int
}

func (s *screen) Write(p []byte) (int, error) {
	text := string(p)
	for text != "" {
		for s.at >= len(s.rows) {
			s.rows = append(s.rows, "")
		}
		var up int
		switch {
		case strings.HasPrefix(text, "\x1b[J"):
			s.rows = append(s.rows[:s.at], s.rows[s.at][:s.col])
			text = text[3:]
		case strings.HasPrefix(text, "\x1b["):
			if n, _ := fmt.Sscanf(text, "\x1b[%dA", &up); n == 0 {
				return 0, fmt.Errorf("no terminal is told %q here", text)
			}
			s.at -= up
			text = text[strings.IndexByte(text, 'A')+1:]
		case text[0] == '\r':
			s.col, text = 0, text[1:]
		case text[0] == '\n':
			s.at, s.col, text = s.at+1, 0, text[1:]
		default:
			row := s.rows[s.at]
			s.rows[s.at] = row[:s.col] + text[:1] + row[min(s.col+1, len(row)):]
			s.col, text = s.col+1, text[1:]
		}
	}
	return len(p), nil
}

// TestDraw: what runs stands below the lines, moves, and goes without leaving anything; what another program writes in between stays whole.
func TestDraw(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &screen{}
		c := terminal(s, false, 80, 24)
		ctx := progress.In(t.Context(), c.Tasks)
		interrupted := make(chan os.Signal)
		go c.move(interrupted)
		shown := func(want ...string) {
			t.Helper()
			time.Sleep(redraw)
			synctest.Wait()
			if diff := cmp.Diff(want, slices.DeleteFunc(slices.Clone(s.rows), func(r string) bool { return r == "" })); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		}
		c.Notice("machines: nspawn")
		in, end := progress.Begin(ctx, progress.Stage, "etcd")
		c.Started("etcd", "why")
		apply, applied := progress.Begin(in, progress.Step, "apply")
		_, left := progress.Begin(apply, progress.Machine, "etcd-node")
		time.Sleep(2 * time.Second)
		shown("machines: nspawn", "… etcd           2s  applying on etcd-node")
		fmt.Fprint(s, "cancelling mage targets, waiting up to 5 seconds for cleanup...\n")
		left(nil)
		applied(nil)
		time.Sleep(time.Second)
		shown("machines: nspawn", "cancelling mage targets, waiting up to 5 seconds for cleanup...", "… etcd           3s  ")
		release := progress.Hold(ctx)
		shown("machines: nspawn", "cancelling mage targets, waiting up to 5 seconds for cleanup...")
		release()
		end(nil)
		c.Done("etcd", "etcd is healthy", 3*time.Second)
		shown("machines: nspawn", "cancelling mage targets, waiting up to 5 seconds for cleanup...", "✓ etcd        etcd is healthy (3.0s)")
		interrupted <- os.Interrupt
	})
}

// TestInterruptedDrawing: after Ctrl-C nothing is drawn any more, and what is still said comes as lines.
func TestInterruptedDrawing(t *testing.T) {
	var b bytes.Buffer
	c := terminal(&b, false, 80, 24)
	ctx := c.Watch(t.Context())
	_, end := progress.Begin(ctx, progress.Stage, "etcd")
	defer end(nil)
	c.Notice("begun") // draws too
	if err := syscall.Kill(os.Getpid(), syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		c.mu.Lock()
		live := c.live
		c.mu.Unlock()
		if !live {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("it draws on")
		}
		time.Sleep(time.Millisecond)
	}
	c.Notice("ended")
	if got := b.String(); !strings.HasSuffix(got, "\r\x1b[Jended\n") {
		t.Errorf("%q", got)
	}
}
