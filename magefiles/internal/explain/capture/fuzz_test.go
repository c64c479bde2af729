package capture

import (
	"testing"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

// FuzzRead: a frame is what anybody on a machine sends.
func FuzzRead(f *testing.F) {
	t := &testing.T{}
	about := icmp(t, from, to, 1, 8, 0, 500, 500, nil)[14:]
	for _, data := range [][]byte{
		nil, icmp(t, from, to, 64, 8, 0, 500, 500, nil), icmp(t, host, from, 64, 3, 1, 0, 0, about), icmp(t, host, from, 64, 11, 0, 0, 0, about[:21]), arp(t, 1, from, to),
	} {
		f.Add(data, uint16(0))
		f.Add(data, uint16(80))
	}
	f.Fuzz(func(t *testing.T, data []byte, port uint16) {
		for _, s := range Read("calico1", []fact.Frame{{Link: "host0", Data: data}}, Probe{From: from, To: to, Port: port, Echoes: []uint16{500}}) {
			if s.Kind == "" || !s.Src.IsValid() || !s.Dst.IsValid() {
				t.Errorf("%+v", s)
			}
			_ = s.String()
		}
	})
}
