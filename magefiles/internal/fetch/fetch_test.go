package fetch

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
)

var content = []byte(strings.Repeat("0123456789", 30_000))

// breaking is a server that breaks off twice, each time after a third of what it has.
func breaking(t *testing.T, ranges bool) (url string, asked *atomic.Int32) {
	t.Helper()
	asked = new(atomic.Int32)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		third := int(asked.Add(1))
		if third == 1 && r.URL.Path == "/late" {
			panic(http.ErrAbortHandler)
		}
		from := 0
		if first, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes="); ok && ranges {
			first, _, _ = strings.Cut(first, "-")
			from, _ = strconv.Atoi(first)
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(content)-from))
		if from > 0 {
			w.WriteHeader(http.StatusPartialContent)
		}
		to := len(content) / 3 * third
		_, _ = w.Write(content[from:to])
		if to < len(content) {
			panic(http.ErrAbortHandler)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL, asked
}

// TestOpen: a whole file comes, whatever breaks off.
func TestOpen(t *testing.T) {
	for _, ranges := range []bool{true, false} {
		url, asked := breaking(t, ranges)
		f, err := Open(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		if f.Size() != int64(len(content)) {
			t.Errorf("size %d", f.Size())
		}
		got, err := io.ReadAll(f)
		if err != nil || !bytes.Equal(got, content) {
			t.Errorf("ranges %t: %d bytes, %v", ranges, len(got), err)
		}
		if asked.Load() != 3 {
			t.Errorf("ranges %t: asked %d times", ranges, asked.Load())
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestOpenLate: a server that hangs up before it answers is asked again; that is no end of what it has.
func TestOpenLate(t *testing.T) {
	url, _ := breaking(t, true)
	f, err := Open(t.Context(), url+"/late")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got, err := io.ReadAll(f); err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// TestOpenUnsized: what a server doesn't say the size of ends with the connection, and nothing is something, too.
func TestOpenUnsized(t *testing.T) {
	for _, want := range [][]byte{content, nil} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if len(want) > 0 {
				w.(http.Flusher).Flush() // no Content-Length any more
			}
			_, _ = w.Write(want)
		}))
		f, err := Open(t.Context(), server.URL)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(f)
		if err != nil || !bytes.Equal(got, want) || f.Size() != 0 {
			t.Errorf("%d bytes of %d, %v, size %d", len(got), len(want), err, f.Size())
		}
		_ = f.Close()
		server.Close()
	}
}

// TestOpenRefused: a server's no isn't asked for again, and who no longer wants it doesn't wait.
func TestOpenRefused(t *testing.T) {
	var asked atomic.Int32
	gone := errors.New("gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.URL.Path == "/hangs" {
			cancel(gone)
			<-r.Context().Done()
			return
		}
		http.NotFound(w, r)
	}))
	defer server.Close()
	if _, err := Open(t.Context(), server.URL); err == nil || err.Error() != "the server says 404 Not Found" || asked.Load() != 1 {
		t.Errorf("%v, asked %d times", err, asked.Load())
	}
	if _, err := Open(ctx, server.URL+"/hangs"); !errors.Is(err, gone) || asked.Load() != 2 {
		t.Errorf("%v, asked %d times", err, asked.Load())
	}
}
