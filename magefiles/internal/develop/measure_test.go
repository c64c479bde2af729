package develop

import (
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseCPU(t *testing.T) {
	for _, c := range []struct {
		line string
		want time.Duration
		ok   bool
	}{
		{"cpu  100 20 300 9000 800 5 75 11 40 4\n", 5 * time.Second, true}, // no idle, iowait, steal or guest
		{"cpu  1 0 0 0 0 0 0\n", 10 * time.Millisecond, true},
		{"cpu0 100 20 300 9000 800 5 75\n", 0, false},
		{"cpu  100 20 300\n", 0, false},
		{"cpu  100 x 300 9000 800 5 75\n", 0, false},
		{"", 0, false},
	} {
		got, err := parseCPU(c.line)
		if got != c.want || (err == nil) != c.ok {
			t.Errorf("%q: %v, %v", c.line, got, err)
		}
	}
}

// TestMeasure: work is noticed.
func TestMeasure(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("there is no /proc/stat")
	}
	const busy = 200 * time.Millisecond
	got, err := measure(func() error {
		for start := time.Now(); time.Since(start) < busy; {
		}
		return nil
	})
	if err != nil || got.wall < busy || got.cpu < busy/2 {
		t.Errorf("%v of work took %+v, %v", busy, got, err)
	}
	failed := errors.New("failed")
	if _, err := measure(func() error { return failed }); !errors.Is(err, failed) {
		t.Errorf("the error becomes %v", err)
	}
}

func TestSpread(t *testing.T) {
	values := []time.Duration{5 * time.Second, time.Second, 2500 * time.Millisecond}
	if diff := cmp.Diff([]string{"1.0 s", "2.5 s", "5.0 s"}, spread(values, seconds)); diff != "" {
		t.Error(diff)
	}
	if values[0] != 5*time.Second {
		t.Error("the values are sorted")
	}
}
