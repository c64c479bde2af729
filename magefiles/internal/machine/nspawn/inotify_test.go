package nspawn

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestInotifyFault(t *testing.T) {
	for _, c := range []struct {
		limit, used, starting int
		want                  string
	}{
		{128, 3, 3, ""},
		{128, 3, 11, ""},
		{128, 3, 14, "128 inotify instances: 3 are in use, and 14 machines take 8 each"},
		{128, 100, 2, "max_user_instances=1024"},
		{1024, 900, 51, "max_user_instances=2048"},
	} {
		err := inotifyFault(c.limit, c.used, c.starting)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// TestInstances: one that is there is counted.
func TestInstances(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("counts what is root's")
	}
	count := func() int {
		out, err := exec.CommandContext(t.Context(), "bash", "-c", instances).Output()
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.Atoi(strings.TrimSpace(string(out)))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	const some = 5
	before := count()
	for range some {
		fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
	}
	if after := count(); after < some || after < before-some { // other tests' machines may end meanwhile
		t.Errorf("%d before, %d after %d more", before, after, some)
	}
}
