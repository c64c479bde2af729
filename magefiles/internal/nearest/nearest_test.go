package nearest

import (
	"slices"
	"testing"
)

func TestOf(t *testing.T) {
	names := []string{"the-lab", "the-route", "ip-pools", "bgp", "calico1", "calico2"}
	for name, want := range map[string][]string{
		"the-rout": {"the-route"}, "The-Lab": {"the-lab"}, "calico3": {"calico1", "calico2"}, "calico2": {"calico2", "calico1"}, "bpg": {"bgp"}, "something else": nil, "": nil,
	} {
		if got := Of(name, names); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}
