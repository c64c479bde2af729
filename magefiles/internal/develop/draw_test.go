package develop

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/run"
)

// measured are benchmarks of labs of some sizes, 2 s and 4 CPU-s a node.
func measured(t *testing.T, sizes ...int) (all []*bench) {
	t.Helper()
	data, l := project(t)
	for _, n := range sizes {
		for _, r := range []int{0, reflectors} {
			made, err := withNodes(data, l, n, r)
			if err != nil {
				t.Fatal(err)
			}
			took := cost{time.Duration(2*n) * time.Second, time.Duration(4*n) * time.Second}
			all = append(all, &bench{lab: &run.Lab{Lab: parsed(t, made)}, series: []*series{{whatFull, []cost{took}}}})
		}
	}
	return all
}

func TestPlot(t *testing.T) {
	all := measured(t, 20, 10)
	var svg, table bytes.Buffer
	plot(&svg, panelsOf(all))
	lines := 0
	for d := xml.NewDecoder(&svg); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("no XML: %v", err)
		}
		e, ok := token.(xml.StartElement)
		if !ok || e.Name.Local != "polyline" {
			continue
		}
		// From 10 to 20 nodes it is twice as much: the line goes through the origin, on the left and below.
		if points := e.Attr[0].Value; points == "210.0,150.8 420.0,41.6" || points == "210.0,144.4 420.0,28.9" {
			lines++
		} else if points != "" {
			t.Errorf("a line at %s", points)
		}
	}
	if lines != 4 {
		t.Errorf("%d lines, of two panels for two ways", lines)
	}
	markdown(&table, all)
	for _, want := range []string{"| mesh | 10 | 20 | 190 | 2.00 s | 4.00 |", "| 2 reflectors | 10 | 20 | 37 | 2.00 s | 4.00 |"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("no %q in\n%s", want, table.String())
		}
	}
}

// TestMedians: what is measured takes the place of what was, in the page that the project has too.
func TestMedians(t *testing.T) {
	all := measured(t, 10)
	all[0].memories = []int64{1500 << 20}
	const head = "| machines | BGP | destroyed to verified | CPU-s | `verify` again | `check` | `destroy` | memory |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n"
	want := "a\n" + mediansFrom + head + "| 11 | mesh | 20.0 s | 40.0 |  |  |  | 1500 MB |\n| 11 | 2 reflectors | 20.0 s | 40.0 |  |  |  |  |\n" + mediansTo + "b\n"
	if got, err := withMedians([]byte("a\n"+mediansFrom+"old\n"+mediansTo+"b\n"), all); string(got) != want || err != nil {
		t.Errorf("%v\n%s", err, got)
	}
	if _, err := withMedians([]byte("a\n"+mediansTo+mediansFrom), all); err == nil {
		t.Error("no place, no error")
	}
	page, err := os.ReadFile("../../../docs/speed.md")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := withMedians(page, all); err != nil {
		t.Error(err)
	}
}

func TestNumbers(t *testing.T) {
	for text, want := range map[string][]int{"": nil, "10": {10}, "2,10,50": {2, 10, 50}} {
		if got, err := Numbers(text); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"1", "ten", "10,", "10 20"} {
		if _, err := Numbers(text); err == nil || !strings.Contains(err.Error(), "-nodes=10,20,50") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
