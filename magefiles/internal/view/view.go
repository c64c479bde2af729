// Package view serves a page that shows a lab live. Its pictures are package picture's, its verdicts check's, its answers explain's; the
// page itself only shows them. Whoever watches shares the looks, and nobody looks while nobody watches.
package view

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"crypto/subtle"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/explain"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/picture"
)

// Seen is a lab as it was seen once, and as its definition was then.
type Seen struct {
	Lab    *lab.Lab
	Facts  fact.Lab
	Report check.Report
}

// Lab is what is shown.
type Lab struct {
	Name string
	// Look looks once at the whole lab, and compares.
	Look func(context.Context) (Seen, error)
	// Ask answers a question as `explain` does.
	Ask func(ctx context.Context, words []string) (explain.Story, error)
	// Conceal says why causes aren't to be told now, "" where they may: a challenge is on. Then the page shows what anybody sees who
	// looks at the machines, but no verdict, no finding and no explanation.
	Conceal func() string
}

// Server serves the page to those who may see it.
type Server struct {
	lab   Lab
	looks *looks
	token string // "": only this computer is listened to
	asked chan struct{}
}

// New makes a server; a token is wanted where others than this computer can reach it.
func New(l Lab, token string) *Server {
	return &Server{lab: l, looks: newLooks(l), token: token, asked: make(chan struct{}, 1)}
}

//go:embed page
var page embed.FS

// policy lets the page have nothing but its own files (https://www.w3.org/TR/CSP3/).
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Handler answers the page's requests.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { s.file(w, "index.html") })
	for _, name := range []string{"view.css", "view.js", "icon.svg"} {
		mux.HandleFunc("GET /"+name, func(w http.ResponseWriter, r *http.Request) { s.file(w, name) })
	}
	mux.HandleFunc("GET /picture.css", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/css; charset=utf-8")
		_, _ = w.Write([]byte(picture.Style)) // the browser that went away needs nothing more
	})
	mux.HandleFunc("GET /events", s.events)
	mux.HandleFunc("POST /explain", s.explain)
	return s.guard(mux)
}

func (s *Server) file(w http.ResponseWriter, name string) {
	data, err := page.ReadFile("page/" + name)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", mime.TypeByExtension(name[strings.LastIndexByte(name, '.'):]))
	_, _ = w.Write(data) // as above
}

const cookie = "lab-view"

// guard lets through only requests that were made for this server: a page from elsewhere whose name was bound to this address says
// another host, and one that makes the browser send something says another origin.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		switch {
		case !s.mine(r.Host):
			http.Error(w, "this server is asked by its address", http.StatusMisdirectedRequest)
			return
		case r.Header.Get("Origin") != "" && r.Header.Get("Origin") != "http://"+r.Host,
			!slices.Contains([]string{"", "same-origin", "none"}, r.Header.Get("Sec-Fetch-Site")):
			http.Error(w, "not from another page", http.StatusForbidden)
			return
		case s.token != "" && r.URL.Query().Get("token") != "":
			if !s.knows(r.URL.Query().Get("token")) {
				break
			}
			http.SetCookie(w, &http.Cookie{Name: cookie, Value: s.token, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode})
			http.Redirect(w, r, "/", http.StatusSeeOther)
			return
		case s.token == "":
			next.ServeHTTP(w, r)
			return
		default:
			if c, err := r.Cookie(cookie); err == nil && s.knows(c.Value) {
				next.ServeHTTP(w, r)
				return
			}
		}
		http.Error(w, "open the address that view printed, with its token", http.StatusUnauthorized)
	})
}

func (s *Server) knows(token string) bool {
	return subtle.ConstantTimeCompare([]byte(token), []byte(s.token)) == 1
}

// mine says whether a Host header names this server. No name but localhost does: names can be bound to any address. Without a token only
// this computer's own addresses do.
func (s *Server) mine(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	if name == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(strings.Trim(name, "[]"))
	return err == nil && (a.IsLoopback() || s.token != "")
}

const keepAlive = 15 * time.Second

// events tells a page what is new, as server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html).
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	out := http.NewResponseController(w)
	w.Header().Set("Content-Type", "text/event-stream")
	frames, leave := s.looks.watch()
	defer leave()
	sent := map[picture.What]string{}
	alive := time.NewTicker(keepAlive)
	defer alive.Stop()
	for {
		text := ": still here\n\n"
		select {
		case <-r.Context().Done():
			return
		case <-alive.C:
		case f := <-frames:
			data, err := json.Marshal(f.without(sent))
			if err != nil {
				return
			}
			text = "data: " + string(data) + "\n\n"
		}
		if _, err := w.Write([]byte(text)); err != nil || out.Flush() != nil {
			return
		}
	}
}

// answer is what a question comes to.
type answer struct {
	Story   *explain.Story   `json:"story,omitempty"`
	Journey *picture.Journey `json:"journey,omitempty"` // of a packet
	Error   string           `json:"error,omitempty"`
}

// questions are those that the page asks.
var questions = []string{"address", "policy", "packet", "route", "bgp", "cni"}

func (s *Server) explain(w http.ResponseWriter, r *http.Request) {
	var words []string
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "application/json" {
		http.Error(w, "a question is a list of words in JSON", http.StatusUnsupportedMediaType)
		return
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4<<10)).Decode(&words); err != nil || len(words) == 0 || !slices.Contains(questions, words[0]) {
		http.Error(w, "that can't be asked", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	var a answer
	if story, err := s.ask(r.Context(), words); err != nil {
		a.Error = err.Error()
	} else {
		story.Traces = nil // all frames: more than the page shows
		a.Story = &story
		if words[0] == "packet" {
			a.Journey = s.looks.travel(story)
		}
	}
	_ = json.NewEncoder(w).Encode(a) // the browser that went away needs no answer
}

// ask asks one question at a time: a packet is alone on its way.
func (s *Server) ask(ctx context.Context, words []string) (explain.Story, error) {
	if why := s.lab.Conceal(); why != "" {
		return explain.Story{}, errors.New(why)
	}
	select {
	case s.asked <- struct{}{}:
		defer func() { <-s.asked }()
	case <-ctx.Done():
		return explain.Story{}, context.Cause(ctx)
	}
	return s.lab.Ask(ctx, words)
}

// Serve serves until the context ends.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	server := &http.Server{Handler: s.Handler(), ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	looking := make(chan struct{})
	go func() {
		defer close(looking)
		s.looks.run(ctx)
	}()
	var err error
	select {
	case err = <-ended:
	case <-ctx.Done():
		err = server.Close()
	}
	cancel()
	<-looking
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("serving the page: %w", err)
	}
	return nil
}
