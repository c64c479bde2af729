package scripts_test

import (
	"errors"
	"fmt"
	"os/exec"
	"syscall"
)

// keep keeps everything as it is, and returns a function that brings it back.
func (m *machine) keep() (back func()) {
	m.t.Helper()
	dir := m.t.TempDir()
	sh := func(line string) {
		if out, err := exec.Command("bash", "-c", line, "bash", m.user, m.home, dir).CombinedOutput(); err != nil {
			m.t.Fatalf("%v\n%s", err, out)
		}
	}
	sh(`cp -a "$1" "$3/user"; if [ -e "$2" ]; then cp -a "$2" "$3/home"; fi`)
	return func() {
		sh(`rm -rf "$1" "$2"*; cp -a "$3/user" "$1"; if [ -e "$3/home" ]; then cp -a "$3/home" "$2"; fi`)
	}
}

// killAt kills a run with all that it started right before the n-th command that changes something on the disk.
func (m *machine) killAt(n int) string {
	return fmt.Sprintf(`echo 0 >%[1]s
set -o functrace
trap 'case $BASH_COMMAND in mv\ * | rm\ * | cp\ * | rmdir\ * | mkdir\ * | chmod\ * | sync\ * | *\>*)
	read -r step <%[1]s
	echo $((step + 1)) >%[1]s
	if [ $step = %[2]d ]; then kill -KILL 0; fi ;;
esac' DEBUG`, m.steps, n)
}

// killIn kills a run in the middle of its n-th copy or removal.
func (m *machine) killIn(n int) string {
	return fmt.Sprintf(`echo 0 >%[1]s
turn() {
	local step
	read -r step <%[1]s
	echo $((step + 1)) >%[1]s
	[ $step = %[2]d ]
}
half() { # PATH: without one half of what is in it
	if [ -d "$1" ] && [ ! -L "$1" ]; then find "$1" -mindepth 1 ! -type d | tail -n +2 | xargs -r -d '\n' rm -f; elif [ -f "$1" ]; then truncate -s 1 "$1"; fi
}
cp() { command cp "$@"; if turn; then half "${@: -1}"; kill -KILL 0; fi; }
rm() {
	if turn; then
		for p; do if [ -d "$p" ] && [ ! -L "$p" ]; then half "$p"; fi; done
		kill -KILL 0
	fi
	command rm "$@"
}`, m.steps, n)
}

// everywhere runs shell again and again, killed one step later each time, from the state that the machine has now; after calls
// what has to hold then.
func (m *machine) everywhere(shell string, after func(where string)) {
	m.t.Helper()
	back := m.keep()
	total := 0
	for name, kill := range map[string]func(int) string{"before": m.killAt, "in": m.killIn} {
		n := 0
		for ; ; n++ {
			back()
			out, err := m.run("sync() { :; }\n"+kill(n), shell)
			if err == nil {
				break
			}
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
				m.t.Fatalf("%s step %d: %v\n%s", name, n, err, out)
			}
			after(fmt.Sprintf("killed %s step %d", name, n))
			if m.t.Failed() {
				return
			}
		}
		total += n
	}
	if total < 10 {
		m.t.Errorf("killed only %d times: nothing was tried", total)
	}
	m.t.Logf("killed %d times", total)
}
