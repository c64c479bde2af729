package shell

import (
	"context"
	"errors"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func open(t *testing.T) *Shell {
	t.Helper()
	s, err := Open(t.Context(), Options{
		Where: "here", Args: []string{"bash", "--norc"}, Dir: t.TempDir(), Env: []string{"GIVEN=from outside"}, Setup: "SET=first",
		Kill: func(ctx context.Context, session int) error {
			return exec.CommandContext(ctx, "pkill", "-KILL", "-s", strconv.Itoa(session)).Run()
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestRun(t *testing.T) {
	s := open(t)
	for _, c := range []struct {
		command, printed string
		status           int
	}{
		{"echo $GIVEN, $SET", "from outside, first\n", 0},
		{"X=5", "", 0},
		{"echo $X", "5\n", 0},
		{"printf 'no line break'", "no line break", 0},
		{"printf 'a\\n\\n'", "a\n\n", 0},
		{"echo out; echo err >&2; false", "out\nerr\n", 1},
		{"cat", "", 0}, // has no input to wait for
		{"cat <<EOF\none 'two'\nEOF", "one 'two'\n", 0},
		{"echo \"it's\" '\"quoted\"' \\$X", "it's \"quoted\" $X\n", 0},
		{"if", "bash: eval: line 2: syntax error: unexpected end of file\n", 2},
		{"cd /; pwd", "/\n", 0},
		{"pwd", "/\n", 0},
		{"exit() { echo no; }; exit", "no\n", 0},
	} {
		got, err := s.Run(t.Context(), c.command, 10*time.Second, nil)
		printed := got.Printed
		if c.status == 2 { // bash's versions count lines otherwise
			printed, c.printed = printed[strings.LastIndex(printed, ":")+1:], c.printed[strings.LastIndex(c.printed, ":")+1:]
		}
		if err != nil || printed != c.printed || got.Status != c.status {
			t.Errorf("%s: %q, %d, %v; want %q, %d", c.command, got.Printed, got.Status, err, c.printed, c.status)
		}
	}
}

// TestLive: what a command prints can be seen line by line while it runs, and nothing else.
func TestLive(t *testing.T) {
	s := open(t)
	var live []string
	if _, err := s.Run(t.Context(), "echo a; echo; echo b; printf c", 10*time.Second, func(l string) { live = append(live, l) }); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(live, "|"); got != "a\n|\n|b\n|c\n" {
		t.Errorf("%q", got)
	}
}

// TestSlow: a command that hangs is ended with what it started, and the shell says that it is of no use any more.
func TestSlow(t *testing.T) {
	s := open(t)
	got, err := s.Run(t.Context(), "echo begun; sleep 4711 & sleep 4711", 3*time.Second, nil)
	if !errors.Is(err, ErrSlow) || got.Printed != "begun\n" {
		t.Errorf("%q, %v", got.Printed, err)
	}
	if !s.Broken() {
		t.Error("the shell isn't broken")
	}
	gone(t, s.session)
	if _, err := s.Run(t.Context(), "true", time.Second, nil); err == nil {
		t.Error("a broken shell runs commands")
	}
}

func TestCancelled(t *testing.T) {
	s := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := s.Run(ctx, "echo now; sleep 4711", time.Minute, func(string) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// TestExit: a reader's command may end the shell.
func TestExit(t *testing.T) {
	s := open(t)
	if got, err := s.Run(t.Context(), "echo bye; exit 3", 10*time.Second, nil); err == nil || got.Printed != "bye\n" {
		t.Errorf("%q, %v", got.Printed, err)
	}
	if !s.Broken() {
		t.Error("the shell isn't broken")
	}
}

// TestState: a shell goes on where another one was.
func TestState(t *testing.T) {
	s := open(t)
	for _, c := range []string{
		"KEY='a  b\n\"$HOME\"'; export OUT=\"it's\nhere\"; LIST=(1 '2 3')", "greet() { echo \"hello $1\"; false; }", "mkdir 'a b'; cd 'a b'", "[[ x =~ (x) ]]; true | true; readonly FIXED=1",
	} {
		if got, err := s.Run(t.Context(), c, 10*time.Second, nil); err != nil || got.Printed != "" {
			t.Fatalf("%s: %q, %v", c, got.Printed, err)
		}
	}
	const ask = `printf '%s|' "$KEY" "${LIST[@]}" "$FIXED" "${PWD##*/}"; greet you; env | grep -A1 ^OUT=`
	want, err := s.Run(t.Context(), ask, 10*time.Second, nil)
	if err != nil {
		t.Fatal(err)
	}
	state, err := s.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(state, "GIVEN") || strings.Contains(state, "SET=") {
		t.Errorf("it has what every shell is given:\n%s", state)
	}
	for range 2 { // what was given on once is given on again
		next, err := Open(t.Context(), Options{Where: "here", Args: []string{"bash", "--norc"}, State: state})
		if err != nil {
			t.Fatal(err)
		}
		defer next.Close()
		if got, err := next.Run(t.Context(), ask, 10*time.Second, nil); err != nil || got.Printed != want.Printed || !strings.Contains(got.Printed, "|1|2 3|1|a b|hello you\nOUT=it's\nhere") {
			t.Errorf("%q, %v\nbefore: %q", got.Printed, err, want.Printed)
		}
		if state, err = next.State(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLeftOver: what a command left running ends with the shell, whether or not that has ended before.
func TestLeftOver(t *testing.T) {
	for name, commands := range map[string][]string{
		"a shell that is closed": {"sleep 4712 >/dev/null 2>&1 &"},
		"one that has ended":     {"(trap '' HUP; exec sleep 4712) >/dev/null 2>&1 & exit"},
	} {
		s := open(t)
		for _, c := range commands {
			_, _ = s.Run(t.Context(), c, 10*time.Second, nil)
		}
		if err := s.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		gone(t, s.session)
	}
}

// TestGone: a shell that has ended with its machine is closed, whatever nobody has read of it; one that is there and can't be reached is an
// error.
func TestGone(t *testing.T) {
	for printed, fails := range map[string]bool{"(read -rt 0.1 <> <(:); echo late; kill -KILL $$) &": false, "true": true} {
		s := open(t)
		if _, err := s.Run(t.Context(), printed, 10*time.Second, nil); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(5 * time.Second); !fails && !s.gone() && time.Now().Before(deadline); {
		}
		s.kill = func(context.Context, int) error { return context.DeadlineExceeded }
		err := s.Close()
		if fails != (err != nil) || fails && !strings.Contains(err.Error(), "here doesn't answer") {
			t.Errorf("%s: %v", printed, err)
		}
	}
}

// TestHeldOpen: a process that has left the session and holds the shell's output doesn't keep it from being closed.
func TestHeldOpen(t *testing.T) {
	s := open(t)
	got, err := s.Run(t.Context(), "setsid sleep 4713 & echo $!", 10*time.Second, nil)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(got.Printed))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
	s.cmd.WaitDelay = 100 * time.Millisecond
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it is still waited for")
	}
}

func TestOpenFails(t *testing.T) {
	for _, args := range [][]string{{"/nonexistent"}, {"bash", "-c", "echo why >&2; exit 1"}} {
		s, err := Open(t.Context(), Options{Where: "there", Args: args})
		if err == nil {
			_ = s.Close()
			t.Fatalf("%v: opened", args)
		}
		if !strings.Contains(err.Error(), "a shell on there") || len(args) > 1 && !strings.Contains(err.Error(), "why") {
			t.Errorf("%v: %v", args, err)
		}
	}
}

// gone waits until nothing of a session runs.
func gone(t *testing.T, session int) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; {
		alive := running(session)
		if alive == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("something of it still runs: %s", alive)
		}
	}
}

// running are the states of a session's processes, without the dead ones that nobody has waited for.
func running(session int) string {
	out, _ := exec.Command("ps", "-o", "stat=", "-s", strconv.Itoa(session)).Output()
	return strings.Join(slices.DeleteFunc(strings.Fields(string(out)), func(s string) bool { return s[0] == 'Z' }), " ")
}
