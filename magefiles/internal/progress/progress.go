// Package progress has what a run does: a tree of tasks, which contexts carry. Who works says what it begins, how far it is, and when it has
// ended; who shows that to a person looks at the tree.
package progress

import (
	"context"
	"io"
	"slices"
	"sync"
	"time"
)

// Kind is what a task is.
type Kind int

// The kinds.
const (
	Stage   Kind = iota // of the lab
	Step                // of a stage: look, apply
	Machine             // what is done on a machine, in a step
	Making              // an artifact's
)

// Tree is what a run does and has done. The zero value is one of which nothing has begun.
type Tree struct {
	// Began and Ended, where they aren't nil, are told of each making.
	Began func(name string)
	Ended func(name string, took time.Duration, err error)

	mu    sync.Mutex
	roots []*task
	spans []span
	held  int
	expectation
}

type task struct {
	kind   Kind
	name   string
	begun  time.Time
	parent *task
	parts  []*task
	count  Count
	since  time.Time // what is counted now has been
}

// Count is how far a task is.
type Count struct {
	Done, Total int // Total is 0 where it isn't known
	What        string
	Whole       bool // with the last one the task is done
}

// Task is a task that runs, as it was at one moment.
type Task struct {
	Kind  Kind
	Name  string
	Begun time.Time
	Count Count // What is "" where nothing is counted
	Parts []Task
	Left  time.Duration // 0 where nobody knows
}

type key struct{}

// place is where in a tree what a context is for is done.
type place struct {
	tree *Tree
	task *task // nil: at the root
}

// In returns a context in which tasks are a tree's.
func In(ctx context.Context, t *Tree) context.Context {
	return context.WithValue(ctx, key{}, place{tree: t})
}

// Begin begins a task within the one that the context is for. end ends it; err says how it went. Without a tree nothing happens.
func Begin(ctx context.Context, k Kind, name string) (in context.Context, end func(err error)) {
	p, ok := ctx.Value(key{}).(place)
	if !ok {
		return ctx, func(error) {}
	}
	t := &task{kind: k, name: name, begun: time.Now(), parent: p.task}
	p.tree.begin(t)
	return context.WithValue(ctx, key{}, place{p.tree, t}), func(err error) { p.tree.end(t, err) }
}

// Do does f as a task.
func Do(ctx context.Context, k Kind, name string, f func(context.Context) error) error {
	ctx, end := Begin(ctx, k, name)
	err := f(ctx)
	end(err)
	return err
}

// Report says how far the task is that the context is for.
func Report(ctx context.Context, c Count) {
	p, ok := ctx.Value(key{}).(place)
	if !ok || p.task == nil {
		return
	}
	p.tree.mu.Lock()
	defer p.tree.mu.Unlock()
	if c.What != p.task.count.What {
		p.task.since = time.Now()
	}
	p.task.count = c
}

// Counter returns what counts one more of a task's parts, which are all of it, each time that it is called.
func Counter(ctx context.Context, total int, what string) (one func()) {
	var mu sync.Mutex
	c := Count{Total: total, What: what, Whole: true}
	Report(ctx, c)
	return func() {
		mu.Lock()
		defer mu.Unlock()
		c.Done++
		Report(ctx, c)
	}
}

// Hold says that the terminal is another program's, which asks for a password, say, until release is called.
func Hold(ctx context.Context) (release func()) {
	p, ok := ctx.Value(key{}).(place)
	if !ok {
		return func() {}
	}
	add := func(n int) {
		p.tree.mu.Lock()
		defer p.tree.mu.Unlock()
		p.tree.held += n
	}
	add(1)
	return func() { add(-1) }
}

func (t *Tree) begin(k *task) {
	t.mu.Lock()
	*t.siblings(k.parent) = append(*t.siblings(k.parent), k)
	t.began(k)
	t.mu.Unlock()
	if k.kind == Making && t.Began != nil {
		t.Began(k.name)
	}
}

func (t *Tree) end(k *task, err error) {
	now := time.Now()
	t.mu.Lock()
	all := t.siblings(k.parent)
	*all = slices.DeleteFunc(*all, func(other *task) bool { return other == k })
	for _, p := range k.parts { // who began it has gone, others wait for it
		p.parent = k.parent
		*all = append(*all, p)
	}
	t.spans = append(t.spans, span{k.kind, k.path(), k.begun, now})
	t.ended(k, now, err)
	t.mu.Unlock()
	if k.kind == Making && t.Ended != nil {
		t.Ended(k.name, now.Sub(k.begun), err)
	}
}

func (t *Tree) siblings(parent *task) *[]*task {
	if parent == nil {
		return &t.roots
	}
	return &parent.parts
}

// path are the names from the root on.
func (k *task) path() []string {
	if k.parent == nil {
		return []string{k.name}
	}
	return append(k.parent.path(), k.name)
}

// Running are the tasks that run, at the root; nothing while the terminal is another program's.
func (t *Tree) Running() []Task {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.held > 0 {
		return nil
	}
	return t.copied(t.roots, time.Now())
}

func (t *Tree) copied(tasks []*task, now time.Time) []Task {
	var all []Task
	for _, k := range tasks {
		all = append(all, Task{k.kind, k.name, k.begun, k.count, t.copied(k.parts, now), t.left(k, now)})
	}
	return all
}

// Megabytes is a reader that reports how many megabytes of total bytes have been read from r.
func Megabytes(ctx context.Context, r io.Reader, total int64) io.Reader {
	return io.TeeReader(r, Written(ctx, total))
}

// Written is a writer that keeps nothing, and reports how many megabytes of total bytes were written to it.
func Written(ctx context.Context, total int64) io.Writer {
	return &megabytes{ctx: ctx, total: int(total / megabyte)}
}

const megabyte = 1e6

type megabytes struct {
	ctx   context.Context
	n     int // bytes
	total int
}

// Write implements io.Writer.
func (m *megabytes) Write(p []byte) (int, error) {
	if before := m.n / megabyte; (m.n+len(p))/megabyte > before {
		Report(m.ctx, Count{Done: (m.n + len(p)) / megabyte, Total: m.total, What: "MB"})
	}
	m.n += len(p)
	return len(p), nil
}
