package e2e

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
)

// TestLearn: every chapter of the tutorial says what happens, and a reader is led through one.
func TestLearn(t *testing.T) {
	if testing.Short() {
		t.Skip("needs real machines")
	}
	l := newLab(t, "nspawn")
	t.Setenv("XDG_CONFIG_HOME", t.TempDir()) // where a reader's progress is
	l.sub("without a lab", func(l *lab) {
		l.has(l.ok("learn"), "the-lab", "next: ", "go tool mage learn the-lab")
		l.has(l.ok("learn", "the-lab"), "# The lab and its machines") // there is no terminal
		l.has(l.fails("learn", "-play", "the-lab"), "go tool mage verify")
		l.has(l.fails("learn", "the-rout"), `there is no chapter "the-rout"`, "the-route")
	})
	l.ok("verify")
	l.sub("a walk", walk)
	l.sub("to a step", func(l *lab) {
		l.has(l.ok("learn", "-to=cni-by-hand/3"), "the lab is where cni-by-hand/3 begins")
		l.has(l.ssh("calico1", "sudo docker ps --format {{.Names}}"), "mine")
		l.has(l.ok("status"), `"cni-by-hand" is under way`, "go tool mage reset")
		l.has(l.ok("reset"), "undone")
		l.holds()
	})
	l.sub("all chapters", func(l *lab) {
		l.ok("learn", "-play")
		l.nothingLeft() // the last one destroys the lab
	})
}

// walk leads a reader through a chapter: he predicts, runs, leaves in the middle, is refused another chapter, comes back.
func walk(l *lab) {
	r := newReader(l, "learn", "pools")
	r.sees(`there is no chapter "pools"`)
	r.ends(false)

	r = newReader(l, "learn", "the-lab")
	r.sees("[Enter] go on")
	r.types("")
	r.sees("etcd-node$ ", "[Enter] run it")
	r.types("x") // no such key
	r.sees(`"x" is none of these`)
	r.types("q")
	r.sees("go tool mage learn the-lab", "go tool mage reset")
	r.ends(true)

	r = newReader(l, "learn", "the-route")
	r.sees(`lesson "the-lab" is under way`, "go tool mage learn the-lab", "go tool mage reset")
	r.ends(false)

	r = newReader(l, "learn", "the-lab")
	r.sees("The machines", "2 of ")
	for r.sees(); !r.ended; r.sees() {
		if strings.Contains(r.asked(), "your guess") {
			r.types("5")
		} else {
			r.types("")
		}
	}
	r.has("You guessed \"5\"; it is 2", "✓ ping calico1/workload 10.1.86.64", "✓ works", "next: ")
	r.ends(true)
}

// reader is a reader at a terminal of 80 columns.
type reader struct {
	*lab
	terminal *os.File
	done     chan error
	text     chan string
	all, new string // what was printed, and what since he typed last
	ended    bool
	err      error
}

func newReader(l *lab, args ...string) *reader {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	l.t.Cleanup(cancel)
	cmd := l.start(ctx, append([]string{l.mage}, args...)...)
	cmd.Env = append(cmd.Env, "TERM=xterm", "NO_COLOR=1")
	terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 40, Cols: 80})
	if err != nil {
		l.t.Fatal(err)
	}
	r := &reader{lab: l, terminal: terminal, done: make(chan error, 1), text: make(chan string)}
	l.t.Cleanup(func() { terminal.Close() })
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := terminal.Read(buf)
			if n > 0 {
				r.text <- strings.ReplaceAll(string(buf[:n]), "\r", "")
			}
			if err != nil { // EIO: nobody has the other end any more
				close(r.text)
				r.done <- cmd.Wait()
				return
			}
		}
	}()
	return r
}

// sees waits until all of parts were printed since he typed last, or, without any, until he is asked something or it is over.
func (r *reader) sees(parts ...string) {
	r.t.Helper()
	limit := time.After(time.Minute)
	for {
		enough := len(parts) > 0
		for _, p := range parts {
			enough = enough && strings.Contains(r.new, p)
		}
		if len(parts) == 0 {
			enough = strings.Contains(r.asked(), "[Enter]") || strings.Contains(r.asked(), "your guess")
		}
		if enough {
			return
		}
		select {
		case text, ok := <-r.text:
			if !ok {
				r.ended, r.err = true, <-r.done
				if len(parts) > 0 {
					for _, p := range parts {
						if !strings.Contains(r.new, p) {
							r.t.Fatalf("it ended without %q:\n%s", p, r.all)
						}
					}
				}
				return
			}
			r.all += text
			r.new += text
		case <-limit:
			r.t.Fatalf("nothing of %q in a minute; all that was printed:\n%s", parts, r.all)
		}
	}
}

func (r *reader) types(line string) {
	r.t.Helper()
	r.new = ""
	if _, err := r.terminal.WriteString(line + "\n"); err != nil {
		r.t.Fatal(err)
	}
}

// asked is the line that he is to type on.
func (r *reader) asked() string { return r.new[strings.LastIndex(r.new, "\n")+1:] }

func (r *reader) has(parts ...string) { r.lab.has(r.all, parts...) }

// ends waits for the end, which is good or bad.
func (r *reader) ends(well bool) {
	r.t.Helper()
	for limit := time.After(time.Minute); !r.ended; {
		select {
		case text, ok := <-r.text:
			r.all += text
			if !ok {
				r.ended, r.err = true, <-r.done
			}
		case <-limit:
			r.t.Fatalf("it doesn't end:\n%s", r.all)
		}
	}
	if (r.err == nil) != well {
		r.t.Errorf("it ended with %v:\n%s", r.err, r.all)
	}
}
