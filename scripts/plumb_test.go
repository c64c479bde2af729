package scripts

import (
	"os/exec"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestPlumb: an add that met Felix' file while it was empty is tried again, another one that fails is not; each is followed by its del. A
// sandbox is cleaned first where an earlier add may have been cut off in it.
func TestPlumb(t *testing.T) {
	const said = "failed to read MTU file: strconv.Atoi"
	for name, c := range map[string]struct{ script, want string }{
		"fresh":   {`fails=0 says=; plumb w`, "add /key\nit is done\n"},
		"cut off": {`fails=0 says=; plumb w /key`, "del /key\nadd /key\nit is done\n"},
		"another": {`fails=0 says=; plumb w /old`, "add /key\nit is done\n"},
		"MTU":     {`fails=2 says="` + said + `"; plumb w`, "add /key\ndel /key\nadd /key\ndel /key\nadd /key\nit is done\n"},
		"for ever": {`fails=9 says="` + said + `"; plumb w`,
			"add /key\ndel /key\nadd /key\ndel /key\nadd /key\ndel /key\n" + said + "\n"},
		"stopped":     {`fails=0 says= sandbox=; plumb w ""`, "w has no sandbox: its container doesn't run\n"},
		"other fault": {`fails=1 says="no pool"; plumb w`, "add /key\ndel /key\nno pool\n"},
	} {
		t.Run(name, func(t *testing.T) {
			// Calls are written to descriptor 3: what cnitool prints the script keeps. The count is a file: the script asks in a subshell.
			cmd := exec.Command("bash", "-c", `set -euo pipefail
exec 3>&1
network=n count=$PWD/count
docker() { echo "${sandbox-/key}"; }
cnitool() {
	echo "$1 $3" >&3
	if [ "$1" = add ]; then
		echo x >>"$count"
		if [ "$(wc -l <"$count")" -le "$fails" ]; then echo "$says" >&2; return 1; fi
	fi
}
`+Text("plumb-workload.sh")+c.script+`
echo it is done`)
			cmd.Dir = t.TempDir()
			out, _ := cmd.CombinedOutput() // what it ended with is what it said last
			if diff := cmp.Diff(c.want, string(out)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
