package develop

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bitfield/script"
)

// cost is what something took.
type cost struct {
	wall time.Duration
	cpu  time.Duration // of the whole computer; 0 where that isn't known
}

// measure runs do and returns what it took.
func measure(do func() error) (cost, error) {
	before, err := cpuTime()
	if err != nil {
		return cost{}, err
	}
	start := time.Now()
	if err := do(); err != nil {
		return cost{}, err
	}
	wall := time.Since(start)
	after, err := cpuTime()
	return cost{wall, after - before}, err
}

// cpuTime is how long all of this computer's CPUs have worked since it booted: the first line of /proc/stat, see
// proc_stat(5). Unlike the times that wait4(2) gives for a process and its children, it has the machines' work too. It is 0 on
// a system without /proc.
func cpuTime() (time.Duration, error) {
	line, err := script.File("/proc/stat").First(1).String()
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("CPU time: %w", err)
	}
	return parseCPU(line)
}

// tick is USER_HZ, the unit of /proc/stat: 100 a second on every architecture that the lab runs on.
const tick = time.Second / 100

// parseCPU adds up user, nice, system, irq and softirq of a line "cpu USER NICE SYSTEM IDLE IOWAIT IRQ SOFTIRQ STEAL ...".
// What guests use is part of user and nice; IDLE and IOWAIT are no work, and STEAL is another computer's.
func parseCPU(line string) (time.Duration, error) {
	f := strings.Fields(line)
	if len(f) < 8 || f[0] != "cpu" {
		return 0, fmt.Errorf("the first line of /proc/stat is %q, not what proc_stat(5) says", line)
	}
	var sum time.Duration
	for _, i := range []int{1, 2, 3, 6, 7} {
		n, err := strconv.ParseInt(f[i], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/stat: %w", err)
		}
		sum += time.Duration(n) * tick
	}
	return sum, nil
}

// spread is minimum, median and maximum of values, each as show writes it.
func spread[T cmp.Ordered](values []T, show func(T) string) []string {
	return []string{show(slices.Min(values)), show(median(values)), show(slices.Max(values))}
}

// median of an even number of values is the upper of the two in the middle.
func median[T cmp.Ordered](values []T) T {
	return slices.Sorted(slices.Values(values))[len(values)/2]
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

func atLeastOne(rounds int) error {
	if rounds < 1 {
		return fmt.Errorf("-rounds=%d: at least one is needed", rounds)
	}
	return nil
}
