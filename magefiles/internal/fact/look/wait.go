//go:build linux

package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

// pause between two questions: short against what is waited for, long against what a question costs (1 ms). Where many machines wait
// for one another, they don't take the CPU from what they wait for: it grows with the time that has passed.
const pause = 50 * time.Millisecond

func pauseAfter(waited time.Duration) time.Duration { return min(max(pause, waited/16), time.Second) }

// wait returns when everything holds, or says what doesn't when time is over.
func wait(r fact.Request) string {
	return waitFor(r.Until.Within, func() string { return lacking(*r.Until, r.Etcd, r.BIRD) })
}

// waitFor asks what is missing until nothing is, or time is over.
func waitFor(within time.Duration, ask func() string) string {
	start := time.Now()
	deadline := start.Add(within)
	for {
		missing := ask()
		if missing == "" {
			return ""
		}
		if time.Now().After(deadline) {
			return fmt.Sprintf("not after %s: %s", within, missing)
		}
		time.Sleep(pauseAfter(time.Since(start)))
	}
}

// lacking says what doesn't hold yet; socket is BIRD's.
func lacking(u fact.Until, e *fact.Etcd, socket string) string {
	if u.Docker {
		if err := newEngine(dockerSocket, 1).get("/version", &struct{}{}); err != nil {
			return "Docker Engine doesn't answer"
		}
	}
	if u.Etcd && e != nil {
		if h := etcd(e); !h.Value.OK {
			return h.Value.Said
		}
	}
	if len(u.Peers) > 0 {
		b := bird(socket)
		if b.Unknown != "" {
			return b.Unknown
		}
		if down := notEstablished(b.Value, u.Peers); len(down) > 0 {
			return "BGP is not Established with " + strings.Join(down, ", ")
		}
	}
	if len(u.Routes) > 0 {
		if missing := notRouted(routes().Value, u.Routes); len(missing) > 0 {
			return "no route to " + strings.Join(missing, ", ")
		}
	}
	if u.Felix {
		if h := felix(); !h.Value.OK {
			return "Felix isn't ready: " + h.Value.Said
		}
	}
	return ""
}

func notEstablished(b fact.BIRD, peers []netip.Addr) []string {
	up := map[netip.Addr]bool{}
	for _, p := range b.Protocols {
		if p.Established() {
			up[p.Peer()] = true
		}
	}
	var down []string
	for _, a := range peers {
		if !up[a] {
			down = append(down, a.String())
		}
	}
	return down
}

func notRouted(have []fact.Route, want []fact.Via) []string {
	to := map[netip.Prefix][]fact.Route{}
	for _, r := range have {
		to[r.To] = append(to[r.To], r)
	}
	var missing []string
	for _, w := range want {
		if !slices.ContainsFunc(to[w.To], w.Is) {
			missing = append(missing, w.String())
		}
	}
	return missing
}
