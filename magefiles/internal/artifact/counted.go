package artifact

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/module"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/progress"
)

// build compiles with a go command, and counts: first what is fetched, then the packages that have to be compiled.
func (m *Maker) build(ctx context.Context, c command.Cmd, flags []string, more ...string) error {
	list := c
	list.Args = append(append([]string{"go", "list", "-deps", "-f", "{{if .Stale}}{{.ImportPath}}{{end}}"}, flags...), more[len(more)-1])
	stale, err := m.fetch(ctx, list)
	if err != nil {
		return err
	}
	one := progress.Counter(ctx, len(strings.Fields(stale)), "packages")
	c.Args = append(append([]string{"go", "build", "-v"}, flags...), more...)
	c.Said = func(line string) bool {
		name := line != "" && !strings.ContainsAny(line, " :#\t")
		if name {
			one()
		}
		return name
	}
	_, err = m.Run.Run(ctx, c)
	return err
}

// fetchPoll is how often it is looked how much has been fetched.
const fetchPoll = 500 * time.Millisecond

// fetch runs a go command that fetches modules, the named ones and those that it says, and reports how many megabytes it has. How many it
// is going to have nobody knows.
func (m *Maker) fetch(ctx context.Context, c command.Cmd, modules ...string) (string, error) {
	cache, err := m.Run.Output(ctx, "go", "env", "GOMODCACHE")
	if err != nil {
		return "", err
	}
	d := downloads{dir: filepath.Join(cache, "cache", "download")}
	for _, name := range modules {
		d.add(name)
	}
	c.Said = func(line string) bool {
		name, ok := strings.CutPrefix(line, "go: downloading ")
		if ok {
			d.add(strings.Replace(name, " ", "@", 1))
		}
		return false
	}
	ended := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(fetchPoll)
		defer tick.Stop()
		for {
			select {
			case <-ended:
				return
			case <-tick.C:
				if bytes := d.size(); bytes > 0 {
					progress.Report(ctx, progress.Count{Done: int(bytes / 1e6), What: "MB fetched"})
				}
			}
		}
	})
	out, err := m.Run.Run(ctx, c)
	close(ended)
	wg.Wait()
	return out, err
}

// downloads are modules in the go command's cache, there or on their way (https://go.dev/ref/mod#module-cache).
type downloads struct {
	dir string

	mu      sync.Mutex
	fetched int64    // bytes of those that are there
	coming  []string // files of the others
}

// add adds a module, PATH@VERSION, unless it is there already.
func (d *downloads) add(name string) {
	path, version, _ := strings.Cut(name, "@")
	path, perr := module.EscapePath(path)
	version, verr := module.EscapeVersion(version)
	file := filepath.Join(d.dir, path, "@v", version+".zip")
	if _, err := os.Stat(file); perr != nil || verr != nil || err == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.coming = append(d.coming, file)
}

// size is how many bytes have been fetched.
func (d *downloads) size() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	var parts int64
	var coming []string
	for _, file := range d.coming {
		if info, err := os.Stat(file); err == nil {
			d.fetched += info.Size()
			continue
		}
		coming = append(coming, file)
		temps, _ := filepath.Glob(file + "*.tmp") // the pattern is well-formed: an escaped path has none of its characters
		for _, temp := range temps {
			if info, err := os.Stat(temp); err == nil {
				parts += info.Size()
			}
		}
	}
	d.coming = coming
	return d.fetched + parts
}

// aptProgress counts by what apt and dpkg say.
type aptProgress struct {
	ctx      context.Context
	packages int     // to be installed
	need     float64 // bytes to be fetched
	got      float64
	unpacked int
	setUp    int
}

var (
	aptNeed = regexp.MustCompile(`^Need to get (?:[0-9.,]+ [kMG]?B/)?([0-9.,]+) ([kMG]?)B of archives`)
	aptNew  = regexp.MustCompile(`^\d+ upgraded, (\d+) newly installed`)
	aptGet  = regexp.MustCompile(`^Get:\d+ .* \[([0-9.,]+) ([kMG]?)B\]$`)
)

// said reads a line, and says whether it told nothing but how far they are.
func (a *aptProgress) said(line string) bool {
	const unpacking, settingUp = "Unpacking ", "Setting up "
	if f := aptNew.FindStringSubmatch(line); f != nil {
		a.packages, _ = strconv.Atoi(f[1]) // digits
		a.need, a.got, a.unpacked, a.setUp = 0, 0, 0, 0
		return true
	}
	if f := aptNeed.FindStringSubmatch(line); f != nil {
		a.need = aptBytes(f[1], f[2])
		return true
	}
	if f := aptGet.FindStringSubmatch(line); f != nil {
		if a.got += aptBytes(f[1], f[2]); a.need > 0 {
			a.report(int(a.got/1e6), int(a.need/1e6), "MB fetched")
		}
		return true
	}
	switch {
	case strings.HasPrefix(line, unpacking):
		a.unpacked++
		a.report(a.unpacked, a.packages, "packages unpacked")
	case strings.HasPrefix(line, settingUp):
		a.setUp++
		a.report(a.setUp, a.packages, "packages set up")
	}
	for _, told := range []string{unpacking, settingUp, "Selecting previously unselected package ", "Preparing to unpack ", "/usr/bin/dpkg --status-fd ", "(Reading database ", "Processing triggers for "} {
		if strings.HasPrefix(line, told) {
			return true
		}
	}
	return false
}

func (a *aptProgress) report(done, total int, what string) {
	progress.Report(a.ctx, progress.Count{Done: min(done, total), Total: total, What: what})
}

func aptBytes(number, unit string) float64 {
	n, _ := strconv.ParseFloat(strings.ReplaceAll(number, ",", ""), 64) // digits, by the patterns
	return n * map[string]float64{"": 1, "k": 1e3, "M": 1e6, "G": 1e9}[unit]
}
