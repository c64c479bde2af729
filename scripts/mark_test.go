package scripts

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// here is a script whose home on the machine is ./home. It runs as one of its own, with arguments.
func here(name string) string {
	return "( " + strings.ReplaceAll(Text(name), "/var/lib/calico-cni-lab", "home") + "\n)\n"
}

// TestMark: the first lab's mark stays, with what was in the kernel before; another lab is refused, and undoes nothing.
func TestMark(t *testing.T) {
	out := traces(t, `
ip link add cali1 type veth peer name other1
set -- 'aaaa lab anna@laptop'
`+here("machine-mark.sh")+`
ip link add cali2 type veth peer name other2
`+here("machine-mark.sh")+`
set -- 'bbbb lab anna@laptop'
`+strings.Replace(here("machine-mark.sh"), "( ", "! ( ", 1)+`
mkdir home/undo
`+here("machine-undo.sh")+`
ls home; cat home/mark home/before; ip -o link show cali2 | wc -l`)
	want := `another lab's mark is in home/mark: aaaa lab anna@laptop
nothing was done here: the machine doesn't carry this lab's mark (home/mark)
before
mark
undo
aaaa lab anna@laptop
link cali1
1
`
	if diff := cmp.Diff(want, out); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestUndoUnmarked: a machine that nothing was done on stays as it is.
func TestUndoUnmarked(t *testing.T) {
	for _, mark := range []string{"", "aaaa lab anna@laptop"} {
		out := traces(t, "set -- '"+mark+"'\n"+here("machine-undo.sh")+"ls")
		if want := "nothing was done here: the machine doesn't carry this lab's mark (home/mark)\n"; out != want {
			t.Errorf("mark %q: %s", mark, out)
		}
	}
}
