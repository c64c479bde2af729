package ui

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"
)

// TestCause: what a run failed with is printed once, also where stages failed before with something else.
func TestCause(t *testing.T) {
	var b bytes.Buffer
	c := &Console{out: &b}
	lost, gone := errors.New("calico: calico1 does not answer SSH"), errors.New("docker ps\nwhat to do: start Docker")
	c.Failed("calico", lost, time.Second)
	c.Cause(lost)
	c.Cause(gone)
	if text := b.String(); strings.Count(text, lost.Error()) != 1 || !strings.Contains(text, "what to do: start Docker") {
		t.Errorf("%s", text)
	}
}
