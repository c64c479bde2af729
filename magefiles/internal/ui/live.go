package ui

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/mattn/go-runewidth"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/progress"
)

// What is drawn begins with an empty line, and that is where the cursor rests. So whoever else writes to the terminal, Mage on Ctrl-C
// say, does so on a line of its own; to erase takes no counting of rows, which another width of the terminal would make wrong; and as no mode
// of the terminal is changed, there is none to be put back by a process that is killed.

const (
	redraw    = 200 * time.Millisecond
	mostTasks = 10 // lines
)

// Watch returns a context whose tasks are drawn while they run. Ctrl-C ends the drawing: what is still to be said comes as lines.
func (c *Console) Watch(ctx context.Context) context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.live && !c.moving {
		c.moving = true
		interrupted := make(chan os.Signal, 1)
		signal.Notify(interrupted, os.Interrupt)
		go c.move(interrupted)
	}
	return progress.In(ctx, c.Tasks)
}

// move draws until something is interrupted.
func (c *Console) move(interrupted <-chan os.Signal) {
	tick := time.NewTicker(redraw)
	defer tick.Stop()
	for {
		select {
		case <-interrupted:
			c.mu.Lock()
			c.erase()
			c.live = false
			c.mu.Unlock()
			return
		case <-tick.C:
			c.mu.Lock()
			c.draw()
			c.mu.Unlock()
		}
	}
}

func (c *Console) erase() {
	if c.area != "" {
		fmt.Fprint(c.out, "\r\x1b[J")
		c.area = ""
	}
}

// draw draws what runs now, if that is not what is there. The caller holds mu.
func (c *Console) draw() {
	if !c.live {
		return
	}
	lines := c.tasks()
	if len(lines) == 0 {
		c.erase()
		return
	}
	area := fmt.Sprintf("\n%s\x1b[%dA\r", strings.Join(lines, "\n"), len(lines))
	if area != c.area {
		c.erase()
		fmt.Fprint(c.out, area) // from the empty line down, and back
		c.area = area
	}
}

// tasks are what runs, as lines that the terminal has room for.
func (c *Console) tasks() []string {
	running := c.Tasks.Running()
	if len(running) == 0 {
		return nil
	}
	width, height := c.size()
	var lines []string
	add := func(text string) { lines = append(lines, string(c.paint(dim, cut(text, width-1)))) }
	for _, t := range running {
		if t.Kind != progress.Stage {
			continue
		}
		add(fmt.Sprintf("… %-11s %5s  %s", t.Name, elapsed(time.Since(t.Begun)), strings.Join(doing(t.Parts), ", ")))
		c.makings(t.Parts, add)
	}
	for _, t := range running { // what is of no stage
		switch t.Kind {
		case progress.Making:
			c.makings([]progress.Task{t}, add)
		case progress.Step:
			add(fmt.Sprintf("… %-11s %5s", verbs[t.Name], elapsed(time.Since(t.Begun))))
		}
	}
	most := max(min(mostTasks, height-4), 1)
	if len(lines) > most {
		more := len(lines) - most + 1
		lines = lines[:most-1]
		add(fmt.Sprintf("  and %d more", more))
	}
	if left := c.Tasks.Left(); left > 0 {
		add(fmt.Sprintf("  about %s left", elapsed(left)))
	}
	return lines
}

// makings adds a line for each artifact that is being made below some tasks.
func (c *Console) makings(tasks []progress.Task, add func(string)) {
	for _, t := range tasks {
		if t.Kind == progress.Making {
			share := "    "
			if t.Count.Total > 0 {
				share = fmt.Sprintf("%3d%%", 100*t.Count.Done/t.Count.Total)
			}
			took := time.Since(t.Begun)
			text := fmt.Sprintf("  %s %s, %s", share, t.Name, elapsed(took))
			if t.Left > 0 {
				text += " of ~" + elapsed(took+t.Left)
			}
			if n := counted(t.Count); n != "" {
				text += ", " + n
			}
			add(text)
		}
		c.makings(t.Parts, add)
	}
}

// verbs are what stages do in their steps.
var verbs = map[string]string{"look": "looking", "apply": "applying", "prepare": "preparing", "wait": "waiting for what it needs"}

// doing is what a stage does in its steps, and on which machines.
func doing(steps []progress.Task) []string {
	var all []string
	for _, s := range steps {
		if s.Kind != progress.Step {
			continue
		}
		text := verbs[s.Name]
		var machines []string
		for _, p := range s.Parts {
			if p.Kind == progress.Machine {
				machines = append(machines, p.Name)
			}
		}
		if len(machines) > 0 {
			text += " on " + check.Names(machines)
		}
		if n := counted(s.Count); n != "" {
			text += ": " + n
		}
		all = append(all, text)
	}
	return all
}

func counted(c progress.Count) string {
	switch {
	case c.What == "":
		return ""
	case c.Total == 0:
		return fmt.Sprintf("%d %s", c.Done, c.What)
	}
	return fmt.Sprintf("%d of %d %s", c.Done, c.Total, c.What)
}

// elapsed is a time that goes on: 12s, 3m05s.
func elapsed(d time.Duration) string {
	s := int(d.Seconds())
	if s < 60 {
		return fmt.Sprintf("%ds", s)
	}
	return fmt.Sprintf("%dm%02ds", s/60, s%60)
}

// cut is as much of a text, on one line, as so many columns have room for.
func cut(text string, columns int) string {
	return runewidth.Truncate(strings.ReplaceAll(command.Printable(text), "\n", " "), max(columns, 1), "…")
}
