package check

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func on(machine string, s State, found string) Result {
	return Result{ID: "kind/" + machine, Stage: "calico", Machine: machine, State: s, Expected: "calico-node of " + machine + " runs", Found: found}
}

func TestGrouped(t *testing.T) {
	whole := Result{ID: "mesh", Stage: "calico", State: Broken, Expected: "the mesh is on", Found: "it is off"}
	other := on("calico4", Broken, "no container")
	other.Stage = "plumb"
	for _, c := range []struct {
		name    string
		results []Result
		want    []string // ID and machines of each group
	}{
		{"none", nil, nil},
		{"the same on all", []Result{on("calico1", Broken, "no container"), on("calico2", Broken, "no container")}, []string{"kind/calico1 [calico1 calico2]"}},
		{
			"the machine's own name in the text", []Result{on("calico1", Broken, "calico1 is not registered"), on("calico2", Broken, "calico2 is not registered")},
			[]string{"kind/calico1 [calico1 calico2]"},
		},
		{
			"another machine's name in the text", []Result{on("calico1", Broken, "not Established with calico2"), on("calico2", Broken, "not Established with calico3")},
			[]string{"kind/calico1 [calico1]", "kind/calico2 [calico2]"},
		},
		{
			"a longer name in the text", []Result{on("calico1", Broken, "not Established with calico10"), on("calico2", Broken, "not Established with calico20")},
			[]string{"kind/calico1 [calico1]", "kind/calico2 [calico2]"},
		},
		{
			"a name that is a part of other words", []Result{on("e", Broken, "there is no route"), on("f", Broken, "there is no route")},
			[]string{"kind/e [e f]"},
		},
		{"another finding", []Result{on("calico1", Broken, "no container"), on("calico2", Broken, "it is exited")}, []string{"kind/calico1 [calico1]", "kind/calico2 [calico2]"}},
		{"another state", []Result{on("calico1", Broken, "no container"), on("calico2", Unknown, "no container")}, []string{"kind/calico1 [calico1]", "kind/calico2 [calico2]"}},
		{"another stage", []Result{on("calico1", Broken, "no container"), other}, []string{"kind/calico1 [calico1]", "kind/calico4 [calico4]"}},
		{
			"not side by side", []Result{on("calico1", Broken, "a"), on("calico2", Broken, "b"), on("calico3", Broken, "a")},
			[]string{"kind/calico1 [calico1 calico3]", "kind/calico2 [calico2]"},
		},
		{"of the whole lab, twice", []Result{whole, on("calico1", Broken, "a"), whole}, []string{"mesh []", "kind/calico1 [calico1]", "mesh []"}},
	} {
		var got []string
		for _, g := range Grouped(c.results) {
			got = append(got, fmt.Sprint(g.ID, " ", g.Machines))
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestNames(t *testing.T) {
	var names []string
	for i, want := range []string{"", "calico1", "calico1, calico2", "calico1, calico2, calico3", "calico1 ... calico4 (4)", "calico1 ... calico5 (5)"} {
		if got := Names(names); got != want {
			t.Errorf("%v: %q, want %q", names, got, want)
		}
		names = append(names, fmt.Sprintf("calico%d", i+1))
	}
}

func TestSummary(t *testing.T) {
	var many []Result
	for i := range 6 {
		many = append(many, on(fmt.Sprintf("calico%d", i+1), Broken, fmt.Sprintf("fault %c", 'a'+i)))
	}
	hidden := on("calico9", Unknown, "Docker doesn't answer")
	for _, c := range []struct {
		name    string
		results []Result
		want    string
	}{
		{"nothing", nil, ""},
		{"one", many[:1], "calico1: fault a"},
		{"the same on several", []Result{on("calico1", Broken, "x"), on("calico2", Broken, "x")}, "calico1, calico2: x"},
		{"of the whole lab", []Result{{ID: "mesh", State: Broken, Found: "it is off"}}, "it is off"},
		{"the first line of several", []Result{{ID: "pool", State: Refused, Found: "overlaps\nwhat to do: ..."}}, "overlaps"},
		{"three fit", many[:3], "calico1: fault a; calico2: fault b; calico3: fault c"},
		{"more don't", many, "calico1: fault a; calico2: fault b; and 4 more"},
		{"what is unknown is a consequence", []Result{hidden, many[0]}, "calico1: fault a"},
		{"but where nothing is broken", []Result{hidden}, "calico9: Docker doesn't answer"},
	} {
		if got := Summary(c.results); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	if many[0].State != Broken || hidden.State != Unknown {
		t.Error("the results were changed")
	}
}
