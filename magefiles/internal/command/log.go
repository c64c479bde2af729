package command

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/secret"
)

// Log is a run's full log: every command, here and on the machines, with what it wrote. Standard input is never in it, and what
// looks like a secret is masked. A nil Log discards everything.
type Log struct {
	mu   sync.Mutex
	w    io.WriteCloser
	path string
}

// OpenLog starts a log in a new file.
func OpenLog(path string) (*Log, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	return &Log{w: f, path: path}, nil
}

// Path of the log's file, "" without one.
func (l *Log) Path() string {
	if l == nil {
		return ""
	}
	return l.path
}

// Printf adds one line, with the time of day.
func (l *Log) Printf(format string, args ...any) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.w, "%s %s\n", time.Now().Format("15:04:05.000"), Printable(secret.Mask(fmt.Sprintf(format, args...))))
}

// Command adds a command that has ended, and what it wrote.
func (l *Log) Command(where string, args []string, took time.Duration, stdout, stderr string, err error) {
	if l == nil {
		return
	}
	result := "ok"
	if err != nil {
		result = err.Error()
	}
	text := fmt.Sprintf("%s$ %s\n    %s in %s", where, Line(args...), result, took.Round(time.Millisecond))
	for _, out := range []struct{ mark, text string }{{"out", stdout}, {"err", stderr}} {
		for _, line := range tail(out.text, 200) {
			text += "\n    " + out.mark + "| " + line
		}
	}
	l.Printf("%s", text)
}

// Close ends the log.
func (l *Log) Close() error {
	if l == nil {
		return nil
	}
	return l.w.Close()
}
