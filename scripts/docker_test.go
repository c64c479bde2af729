package scripts

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestUndoDocker: a Docker that was stopped is started to take the lab's containers back, and stopped again, also when that fails. One
// that runs is left alone.
func TestUndoDocker(t *testing.T) {
	for name, c := range map[string]struct {
		runs, fails bool
		want        string
	}{
		"stopped":           {false, false, "start docker, stop docker.socket docker.service"},
		"stopped, it fails": {false, true, "start docker, stop docker.socket docker.service"},
		"running":           {true, false, "start docker"},
	} {
		dir := t.TempDir()
		write := func(file, text string) {
			t.Helper()
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o755); err != nil { //nolint:gosec // programs
				t.Fatal(err)
			}
		}
		write("mark", "ours\n")
		write("systemctl", `#!/bin/sh
case "$*" in
*containerd.service) ;;
is-active*) [ -e "$0.runs" ] ;;
*) echo "$*" >>"$0.said" ;;
esac
`)
		write("docker", "#!/bin/sh\n! [ -e \"$0.fails\" ]\n")
		if c.runs {
			write("systemctl.runs", "")
		}
		if c.fails {
			write("docker.fails", "")
		}
		script := Text("note-original.sh") + Text("restore-originals.sh") + "remove_traces() { :; }\n" + Text("machine-undo.sh")
		cmd := exec.Command("bash", "-c", strings.ReplaceAll(script, "/var/lib/calico-cni-lab", dir), "machine-undo.sh", "ours")
		cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
		if out, err := cmd.CombinedOutput(); (err != nil) != c.fails {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		said, err := os.ReadFile(filepath.Join(dir, "systemctl.said"))
		if got := strings.ReplaceAll(strings.TrimSpace(string(said)), "\n", ", "); got != c.want || err != nil {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
}
