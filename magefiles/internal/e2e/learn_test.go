//go:build linux

package e2e

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
)

// TestLearn: every chapter of the tutorial says what happens, so does an experiment, and a reader is led through a chapter.
func TestLearn(t *testing.T) {
	if testing.Short() {
		t.Skip("needs real machines")
	}
	t.Parallel()
	l := newLab(t, "nspawn")
	l.env = []string{"XDG_CONFIG_HOME=" + t.TempDir()} // where a reader's progress is
	l.sub("without a lab", func(l *lab) {
		l.has(l.ok("learn"), "the-lab", "next: ", "go tool mage learn the-lab")
		l.has(l.ok("learn", "the-lab"), "# The lab and its machines") // there is no terminal
		l.has(l.fails("learn", "-play", "the-lab"), "go tool mage verify")
		l.has(l.fails("learn", "the-rout"), `there is no chapter or experiment "the-rout"`, "the-route")
		l.has(l.fails("learn", "the-lab", "-play"), "-play stands behind the chapter's name", "go tool mage learn -play the-lab")
		l.has(l.fails("learn", "the-lab", "the-route"), "learn takes one chapter, not 2", "go tool mage learn the-lab")
		l.has(l.fails("learn", "-to=bgp/2", "the-lab"), "-to names the chapter itself", "go tool mage learn -to=bgp/2")
	})
	l.ok("verify")
	l.sub("the README's walk", func(l *lab) { l.ok("learn", "-play", "README.md") })
	l.sub("a walk", walk)
	l.sub("another lab", anotherLab)
	l.sub("to a step", toStep)
	l.sub("experiments", func(l *lab) { l.ok("learn", "-play", "add-without-a-plugin") })
	l.sub("challenges", challenges)
	l.sub("all chapters", func(l *lab) {
		l.ok("learn", "-play")
		l.nothingLeft() // the last one destroys the lab
	})
}

// TestExperiments: every experiment says what happens, and leaves the lab as it was.
func TestExperiments(t *testing.T) {
	if os.Getenv("LAB_TEST_EXPERIMENTS") != "all" {
		t.Skip("takes minutes: go tool mage dev:testExperiments")
	}
	l := newLab(t, "nspawn")
	l.ok("verify")
	t.Log(l.ok("learn", "-play", "experiments"))
	l.has(l.ok("reset"), "nothing differed from the baseline")
}

// anotherLab: a lab that isn't as verify left it is said before anything is touched, with what to type.
func anotherLab(l *lab) {
	const names = "sudo ip netns list; sudo ls /etc/cni/net.d"
	l.ssh("calico1", "sudo ip netns add mine; echo '{}' | sudo tee /etc/cni/net.d/99-mine.conf")
	before := l.ssh("calico1", names)
	r := newReader(l, "learn", "the-route")
	r.sees("the lab isn't as it was after verify", "network namespace mine", "go tool mage reset")
	r.ends(false)
	if now := l.ssh("calico1", names); now != before {
		l.t.Errorf("%s\nis now\n%s", before, now)
	}
	if out := l.ok("status"); strings.Contains(out, "under way") {
		l.t.Errorf("a lesson is under way:\n%s", out)
	}
	l.has(l.ok("reset"), "took away network namespace mine", "kept as /var/lib/calico-cni-lab/kept/99-mine.conf", "2 things undone")
	l.has(l.ssh("calico1", "cat /var/lib/calico-cni-lab/kept/99-mine.conf"), "{}")
}

// toStep brings the lab to where a step begins; a reader goes on from there, interrupts the next step, and comes back, with what the steps
// before it set and captured.
func toStep(l *lab) {
	l.has(l.ok("learn", "-to=cni-by-hand/4"), "the lab is where cni-by-hand/4 begins")
	l.has(l.ssh("calico1", "sudo docker ps --format {{.Names}}"), "mine")
	l.has(l.ok("status"), `"cni-by-hand" is under way`, "go tool mage reset")
	l.has(l.ok("learn"), "(at step 4 of 7)", "next: ", "go tool mage learn cni-by-hand")
	l.has(l.fails("learn", "-play", "the-lab"), `lesson "cni-by-hand" is under way`, "go tool mage reset")

	r := newReader(l, "learn", "cni-by-hand")
	r.until("5 of 7")
	r.interrupts()
	r.sees("go tool mage learn cni-by-hand", "go tool mage reset")
	r.ends(true)
	l.has(l.ok("learn"), "(at step 5 of 7)")

	r = newReader(l, "learn", "cni-by-hand")
	r.sees("5 of 7", "cnitool add test-calico $KEY", "[Enter] run it") // which an earlier step has set
	r.types("s")
	r.sees("exit brings you back", "$ ")
	r.types(`echo "here the key is $KEY"; exit`)
	r.sees("here the key is /", "[Enter] run it")
	r.through()
	if strings.Contains(strings.ReplaceAll(r.all, "✗ You guessed", ""), "✗") {
		l.t.Errorf("something isn't as it should be:\n%s", r.all)
	}
	r.has("next: ")
	r.ends(true)
	l.holds()
	l.has(l.ok("reset"), "nothing differed from the baseline")
}

// walk leads a reader through a chapter: he predicts, runs, leaves in the middle, is refused another chapter, comes back.
func walk(l *lab) {
	r := newReader(l, "learn", "pools")
	r.sees(`there is no chapter or experiment "pools"`)
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
	r.through()
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

// interrupts types Ctrl-C.
func (r *reader) interrupts() {
	r.t.Helper()
	r.new = ""
	if _, err := r.terminal.WriteString("\x03"); err != nil {
		r.t.Fatal(err)
	}
}

// through agrees to everything until the end.
func (r *reader) through() { r.until("\x00") }

// until agrees to everything until he sees a text; what he guesses is 5.
func (r *reader) until(text string) {
	r.t.Helper()
	for r.sees(); !r.ended && !strings.Contains(r.new, text); r.sees() {
		if strings.Contains(r.asked(), "your guess") {
			r.types("5")
		} else {
			r.types("")
		}
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
