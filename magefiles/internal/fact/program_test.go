package fact

import "testing"

// TestUnlisted: a container that has started since Docker was asked isn't somebody else's for that.
func TestUnlisted(t *testing.T) {
	docker := Known(Docker{Containers: []Container{{ID: "listed"}}})
	in := func(id string) Process { return Process{PID: 1, Container: id} }
	for name, c := range map[string]struct {
		m    Machine
		want bool
	}{
		"no processes":          {Machine{Docker: docker}, false},
		"in no container":       {Machine{Docker: docker, Listeners: Known([]Listener{{Process: in("")}})}, false},
		"in one of Docker's":    {Machine{Docker: docker, Rivals: Known([]Rival{{Process: in("listed")}})}, false},
		"a rival in another":    {Machine{Docker: docker, Rivals: Known([]Rival{{Process: in("new")}})}, true},
		"a listener in another": {Machine{Docker: docker, Listeners: Known([]Listener{{Process: in("new")}})}, true},
		"Docker doesn't answer": {Machine{Docker: Unknown[Docker]("no"), Rivals: Known([]Rival{{Process: in("new")}})}, false},
	} {
		if got := c.m.Unlisted(); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
