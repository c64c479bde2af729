package develop

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/calico-cni-lab/lab/magefiles/internal/run"
)

func TestBenchmarkRows(t *testing.T) {
	_, l := project(t)
	b := &bench{
		lab: &run.Lab{Lab: l},
		series: []*series{
			{whatFull, []cost{{5 * time.Second, 8 * time.Second}, {4 * time.Second, 7 * time.Second}, {9 * time.Second, 12 * time.Second}}},
			{whatCheck, []cost{{time.Second, 0}}},
		},
		memories: []int64{300 << 20, 310 << 20},
	}
	want := [][]string{
		{"3", "mesh", whatFull, "3", "4.0 s", "5.0 s", "9.0 s", "7.0", "8.0", "12.0"},
		{"3", "mesh", whatCheck, "1", "1.0 s", "1.0 s", "1.0 s", "-", "-", "-"},
		{"3", "mesh", "memory of 3 machines", "2", "300 MB", "310 MB", "310 MB", "", "", ""},
	}
	if diff := cmp.Diff(want, b.rows()); diff != "" {
		t.Error(diff)
	}
}

func TestAtLeastOneRound(t *testing.T) {
	for rounds, ok := range map[int]bool{-1: false, 0: false, 1: true, 5: true} {
		if err := atLeastOne(rounds); (err == nil) != ok {
			t.Errorf("%d rounds: %v", rounds, err)
		}
	}
}

func TestRaceRows(t *testing.T) {
	s := time.Second
	got := raceRows(flow{name: "targets", full: []time.Duration{2 * s}, again: []time.Duration{s}}, flow{name: "playbooks", full: []time.Duration{9 * s}, again: []time.Duration{8 * s}}, 1)
	want := [][]string{
		{"booted to checked", "targets", "1", "2.0 s", "2.0 s", "2.0 s", ""},
		{"booted to checked", "playbooks", "1", "9.0 s", "9.0 s", "9.0 s", "4.5 times"},
		{"again, nothing to do", "targets", "1", "1.0 s", "1.0 s", "1.0 s", ""},
		{"again, nothing to do", "playbooks", "1", "8.0 s", "8.0 s", "8.0 s", "8.0 times"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
