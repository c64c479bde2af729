package fact

import (
	"net/netip"
	"time"
)

// TraceRequest is the first line that `look trace` reads at its standard input. The program then opens its captures and prints
// Ready. One that has something to send waits for another line, sends, and prints a Trace; one that only watches prints it
// when its input ends.
type TraceRequest struct {
	Sandboxes []string     `json:"sandboxes,omitempty"` // network namespaces to capture in, beside the machine's
	Of        []netip.Addr `json:"of"`                  // packets from and to these are captured, and ARP
	Ask       []Decision   `json:"ask,omitempty"`       // where the kernel would send a packet; without an answer yet
	Send      *Send        `json:"send,omitempty"`
}

// Ready is the line that `look trace` prints when everything is captured from now on.
const Ready = "ready"

// Send is what to send: echo requests, or a TCP connection where there is a port.
type Send struct {
	Sandbox string        `json:"sandbox,omitempty"` // the network namespace to send from; "" is the machine's
	To      netip.Addr    `json:"to"`
	Port    uint16        `json:"port,omitempty"`
	Tries   int           `json:"tries"` // echo requests, each a flow of its own, the next when one is answered or overdue
	Within  time.Duration `json:"within"`
}

// Decision is what the kernel says where a packet would go: `ip route get`.
type Decision struct {
	From  netip.Addr `json:"from,omitzero"`
	To    netip.Addr `json:"to"`
	In    string     `json:"in,omitempty"` // the interface that it came in by; "" is a packet of the machine's own
	Route Route      `json:"route,omitzero"`
	Why   string     `json:"why,omitempty"` // nowhere: the kernel's error
}

// Trace is what was seen on one machine while packets were sent.
type Trace struct {
	Frames     []Frame           `json:"frames"` // in the order of their times
	Lost       uint32            `json:"lost,omitempty"`
	Hits       Seen[[]Rule]      `json:"hits"` // rules that counted packets, with how many
	Counts     map[string]uint64 `json:"counts,omitempty"`
	Decisions  []Decision        `json:"decisions,omitempty"`
	Neighbours Seen[[]Neighbour] `json:"neighbours"` // afterwards
	Sent       *Sent             `json:"sent,omitempty"`
}

// Frame is a frame as an interface had it.
type Frame struct {
	At      time.Time `json:"at"`                // by the machine's clock
	Sandbox string    `json:"sandbox,omitempty"` // "" is the machine's own namespace
	Link    string    `json:"link"`
	Out     bool      `json:"out,omitempty"` // it left by the interface
	Data    []byte    `json:"data"`          // from the Ethernet header on, its beginning
}

// Sent is what came of sending.
type Sent struct {
	Echoes  []uint16      `json:"echoes,omitempty"` // sequence numbers of the echo requests, each of which is of another ID, too
	Replies int           `json:"replies,omitempty"`
	RTT     time.Duration `json:"rtt,omitempty"` // of the last reply
	Said    string        `json:"said,omitempty"`
	Error   string        `json:"error,omitempty"` // what the sender was told: by the kernel, or by an ICMP error
}
